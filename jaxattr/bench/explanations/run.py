"""The explanation benchmark: every method's maps against the truth of held-out scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxattr import metrics, scenes
from jaxattr.bench.explanations import maps as explaining
from jaxattr.bench.explanations import trials as asking
from jaxattr.bench.explanations.maps import LOSSES
from jaxattr.bench.explanations.trials import Trials
from jaxattr.bench.store import FORMAT, Parts, Receipt, open_store
from jaxattr.errors import JaxattrError
from jaxattr.methods import CHEAP, Method, MethodLike, checked, in_order, own
from jaxattr.scenes.models import check_model
from jaxattr.vit import Model, initialize
from jaxattr.vit.provenance import fingerprint

Maps = Float[np.ndarray, "trial row column"]
Scores = dict[str, Any]

MEASURES = {
    "two objects": (
        "sign_accuracy",
        "positive_in_target",
        "negative_in_rival",
        "pointing_positive",
        "pointing_negative",
        "background_share",
        "likeness",
    ),
    "one object": (
        "sign_accuracy",
        "positive_in_target",
        "pointing_positive",
        "iou_best",
        "iou_zero",
        "background_share",
    ),
    "twins": ("part_hit", *(f"part_hit {first} / {second}" for first, second, _ in scenes.PAIRS)),
}
"""What is measured on which scenes, in the order of the tables."""
SEEN = "two objects, both recognised"


class Score(NamedTuple):
    """One number of the benchmark with its 95 % interval; NaN where undefined."""

    scenes: str
    method: str
    model: str
    """`trained`, `random weights`, or `none` for a map that uses no model."""
    loss: str
    """`logit`, `difference`, `log-odds`, or `any` where the map does not depend on the loss."""
    measure: str
    value: float
    low: float
    high: float
    defined: int
    """Scenes for which the measure is defined."""


def run(
    model: Model,
    *,
    count: int = 200,
    seed: int = 0,
    methods: Sequence[MethodLike] = CHEAP,
    output: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[Score]:
    """Score methods and baselines on `count` scenes of each kind.

    Args:
        model: one that knows `scenes.CLASSES`; its architecture with random weights is scored too.
        seed: of the scenes, the random weights, the random map and the intervals.
        output: a folder that keeps the maps, so that a killed run resumes there.
        report: called with a line before each step.

    Raises:
        JaxattrError: no scene, an unknown method, or a model that does not fit.
        LedgerError: the folder holds another run.
    """
    if count < 1:
        raise JaxattrError(f"{count} scenes asked for; the benchmark needs at least 1 of a kind.")
    # In the order of the table, so that the same methods are compiled once.
    chosen = in_order(checked(methods, model))
    size, _ = check_model(model)
    untrained = initialize(
        model.config,
        jax.random.key(seed),
        labels=model.labels,
        preprocessing=model.preprocessing,
        name="random weights",
    )
    store = None if output is None else open_store(output, _receipt(model, count, seed, chosen))
    scores: list[Score] = []
    for draw in (asking.two_objects, asking.one_object, asking.twins):
        report(f"Drawing {count} scenes: {draw.__name__.replace('_', ' ')}")
        trials = draw(count, seed, size, model.config.grid)
        for name, one in (("trained", model), ("random weights", untrained)):
            report(f"Explaining {len(trials.label)} targets, model with {name}")
            parts = store and Parts(store, f"{trials.name}/{name}")
            explained = explaining.explain(one, trials, chosen, parts)
            seen = recognised(trials, explained.logits) if name == "trained" else None
            for method in chosen:
                scores += rows(trials, explained.maps[method.name], method, name, seed, seen)
        baselines = (
            ("random map", True, explaining.random_maps(trials, seed)),
            ("centred blob", False, explaining.centred_blob(trials)),
        )
        for method, signed, found in baselines:
            scores += rows(trials, found, _Baseline(method, signed), "none", seed)
    return scores


def _receipt(model: Model, count: int, seed: int, methods: Sequence[Method]) -> Receipt:
    return Receipt(
        format=FORMAT,
        version=version("jaxattr"),
        model=model.name,
        parameters=fingerprint(model),
        preprocessing=model.preprocessing.record(),
        images="scenes",
        index=f"drawn, seed {seed}",
        count=count,
        methods=[one.name for one in methods],
        seed=seed,
        guide=None,
        own_methods=own(methods),
    )


class _Baseline(NamedTuple):
    name: str
    signed: bool
    target_dependent: bool = False


def rows(
    trials: Trials,
    found: Float[np.ndarray, "trial loss row column"],
    method: Any,
    model: str,
    seed: int,
    seen: Bool[np.ndarray, " scene"] | None = None,
) -> list[Score]:
    """The scores of one method (with `name`, `signed`, `target_dependent`) on one kind of scene.

    Where `seen` is given, two-object scenes are scored once more: those that it marks.
    """
    result = []
    for index, loss in enumerate(LOSSES if method.target_dependent else ("any",)):
        scored = per_scene(trials, measure(trials, found[:, index], signed=method.signed))
        for measured in MEASURES[trials.name]:
            values = scored[measured]
            interval = metrics.interval(values, seed=seed)
            result.append(Score(trials.name, method.name, model, loss, measured, *interval))
            if seen is not None and trials.name == "two objects" and seen.any():
                interval = metrics.interval(values[seen], seed=seed)
                result.append(Score(SEEN, method.name, model, loss, measured, *interval))
    return result


def recognised(
    trials: Trials, logits: Float[np.ndarray, "trial class"]
) -> Bool[np.ndarray, " scene"]:
    """Which scenes of two objects have both in the top two; for other scenes, which are right."""
    depth = 2 if trials.name == "two objects" else 1
    best = np.argsort(-logits, axis=1)[:, :depth]
    right = (best == trials.label[:, None]).any(axis=1)
    return np.array([right[trials.scene == one].all() for one in np.unique(trials.scene)])


def measure(trials: Trials, maps: Maps, *, signed: bool) -> Scores:
    """One score per trial for every measure of its kind of scene; NaN where a sign is missing."""
    nothing = np.full(len(maps), np.nan)
    if trials.name == "twins":
        hits = metrics.part_hit(maps, trials.part)
        pairs = {f"part_hit {a} / {b}": f"{a} / {b}" for a, b, _ in scenes.PAIRS}
        group = np.array(trials.group)
        return {
            "part_hit": hits,
            **{name: np.where(group == pair, hits, np.nan) for name, pair in pairs.items()},
        }
    scores = {
        "positive_in_target": metrics.positive_share(maps, trials.target),
        "pointing_positive": metrics.pointing_game(maps, trials.target),
        "background_share": 1 - metrics.absolute_share(maps, trials.objects),
        "sign_accuracy": nothing,
    }
    if trials.name == "two objects":
        first, second = maps[0::2], maps[1::2]
        scores["likeness"] = np.repeat(metrics.likeness(first, second), 2)
        scores |= {"negative_in_rival": nothing, "pointing_negative": nothing}
        if signed:
            scores |= {
                "sign_accuracy": metrics.sign_accuracy(maps, trials.target, trials.opponent),
                "negative_in_rival": metrics.negative_share(maps, trials.opponent),
                "pointing_negative": metrics.pointing_game(-maps, trials.opponent),
            }
        return scores
    overlaps = metrics.overlap(maps, trials.target)
    scores["iou_best"] = overlaps[:, overlaps.mean(axis=0).argmax()]
    scores["iou_zero"] = nothing
    if signed:
        scores["sign_accuracy"] = metrics.sign_accuracy(maps, trials.target)
        scores["iou_zero"] = metrics.overlap(maps, trials.target, np.zeros(1))[:, 0]
    return scores


def per_scene(trials: Trials, scores: Scores) -> Scores:
    """Mean over the trials of each scene for which a score is defined: scenes are independent."""
    count = int(trials.scene.max()) + 1
    result = {}
    for name, values in scores.items():
        defined = np.isfinite(values)
        sums = np.bincount(trials.scene, np.where(defined, values, 0), count)
        counts = np.bincount(trials.scene, defined, count)
        result[name] = np.divide(sums, counts, out=np.full(count, np.nan), where=counts > 0)
    return result
