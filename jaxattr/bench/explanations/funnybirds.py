"""The FunnyBirds protocols on scenes: parts and clutter are left out by drawing the scene again.

Hesse et al. 2023 evaluate explanations on drawn birds whose parts can be left out. Theirs are the
six protocols, thresholds and the choice of each method's threshold (`jaxattr.metrics.funnybirds`);
ours is what they are asked of, `funnybirds-v1`:

* The object is one of the scene's classes, its parts are the drawing's own (four to six), and the
  background's things are clutter and occluders. Scenes are held out from training.
* **CSDC**: classes of theirs differ in combinations of five parts. Of ours, a class with a twin
  differs from it in one part, which no other class has: that part suffices. Any part of a class
  without a twin is drawn in no other class, so each suffices.
* **TS**: theirs compares the parts that a bird shares with one class with those that it shares with
  another. Classes of ours share parts with their twin only, so the scene holds two objects, and the
  parts of each are its class's own.
* A part's mask is not grown, see `metrics.funnybirds.part_importance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxattr import metrics, scenes
from jaxattr.bench.explanations import maps as explaining
from jaxattr.bench.explanations import trials as asking
from jaxattr.bench.explanations.maps import LOSSES
from jaxattr.bench.explanations.run import Score
from jaxattr.bench.explanations.trials import Trials
from jaxattr.data import images
from jaxattr.errors import JaxattrError
from jaxattr.methods import CHEAP, MethodLike, checked, in_order
from jaxattr.metrics import funnybirds as protocols
from jaxattr.scenes.models import check_model
from jaxattr.vit import Model

NAME = "funnybirds-v1"
MEASURES = ("csdc", "pc", "dc", "distractibility", "sd", "ts", "threshold")
"""In the order of the published tables, and the threshold that was chosen for the first four."""

Maps = Float[np.ndarray, "trial row column"]


class Parts(NamedTuple):
    """What leaving out each part of one scene of one object does; no method is asked for it."""

    label: int
    """Into `scenes.CLASSES`, as all classes here."""
    predicted: np.ndarray
    """Top class with only some parts drawn, over all sets, see `metrics.funnybirds`."""
    drop: Float[np.ndarray, " part"]
    """Of the label's logit without each part."""
    unimportant: Bool[np.ndarray, " thing"]
    """Of the parts, then of the background's things that are visible."""
    regions: Float[np.ndarray, "thing row column"]
    """Where each part is visible, then each thing of the background."""
    sufficient: Bool[np.ndarray, "set part"]


def run(
    model: Model,
    *,
    count: int = 100,
    seed: int = 0,
    methods: Sequence[MethodLike] = CHEAP,
    report: Callable[[str], None] = lambda line: None,
) -> list[Score]:
    """Score methods, a random map and a centred blob on `count` scenes of one and of two objects.

    Every method is scored for every loss of `maps.LOSSES`; intervals are over scenes, with the
    method's threshold held fixed.

    Args:
        model: one that knows `scenes.CLASSES`.
        seed: of the scenes, the random map and the intervals.
        report: called with a line before each step.

    Raises:
        JaxattrError: no scene, an unknown method, or a model that does not fit.
    """
    if count < 1:
        raise JaxattrError(f"{count} scenes asked for; the benchmark needs at least 1 of a kind.")
    chosen = in_order(checked(methods, model))
    size, _ = check_model(model)
    report(f"Drawing {count} scenes of one object without each set of their parts")
    one = asking.one_object(count, seed, size, model.config.grid)
    parts = [leave_out(model, asking.scene_of_one(i, seed, size)) for i in range(count)]
    report(f"Drawing {count} scenes of two objects without either")
    two = asking.two_objects(count, seed, size, model.config.grid)
    shown = [asking.scene_of_two(i, seed, size) for i in range(count)]
    sensitive = np.array([protocols.is_sensitive(changes(model, scene)) for scene in shown])
    # Preservation and deletion ask for the prediction, the other protocols for the label.
    predicted = one._replace(label=np.array([part.predicted[-1] for part in parts], np.int32))
    trials = _joined(one, predicted, two)
    report(f"Explaining {len(trials.label)} targets")
    found = dict(explaining.explain(model, trials, chosen).maps)
    found["random map"] = explaining.random_maps(trials, seed)
    found["centred blob"] = explaining.centred_blob(trials)
    known, scores = {method.name: method for method in chosen}, list[Score]()
    for name, maps in found.items():
        asked = name in known and known[name].target_dependent
        for k, loss in enumerate(LOSSES if asked else ("any",)):
            labelled, told, paired = np.split(maps[:, k], [count, 2 * count])
            values = with_parts(parts, labelled, told) | {"ts": with_two(two, paired, sensitive)}
            kind = "trained" if name in known else "none"
            for measure in MEASURES:
                interval = metrics.interval(values[measure], seed=seed)
                scores.append(Score(NAME, name, kind, loss, measure, *interval))
    return scores


def leave_out(model: Model, scene: scenes.Scene) -> Parts:
    """Draw a scene of one object without each set of its parts, and without each thing around it.

    A thing's region is where the scene changes without it, so what cannot be seen has none and is
    left out of the things.
    """
    plan, grid = scene.plan, model.config.grid
    names = list(scene.parts[0])
    sets = [[(0, names[p]) for p in range(len(names)) if not kept >> p & 1]
            for kept in range(2 ** len(names))]  # fmt: skip
    drawn = [scenes.render(plan, without=one, masks=False).image for one in sets]
    around = [scenes.render(other, masks=False).image for other in _barer(plan)]
    changed = [(one != scene.image).any(axis=-1) for one in around]
    around = [one for one, seen in zip(around, changed, strict=True) if seen.any()]
    answers = _logits(model, [*drawn, *around])
    label = scenes.CLASSES.index(scene.classes[0])
    kept = answers[: len(sets)]
    whole = kept[-1, label]
    without = kept[[len(sets) - 1 - (1 << p) for p in range(len(names))], label]
    beside = answers[len(sets) :, label]
    masks = [*scene.parts[0].values(), *(seen for seen in changed if seen.any())]
    return Parts(
        label,
        kept.argmax(axis=1),
        whole - without,
        protocols.unimportant(np.append(without, beside), float(whole)),
        metrics.pool(np.stack(masks), grid),
        sufficient(scene.classes[0], names),
    )


def changes(model: Model, scene: scenes.Scene) -> Float[np.ndarray, "class owner"]:
    """How the logits of both classes change without all parts of the one object, and the other."""
    bare = [
        scenes.render(scene.plan, without=[(k, part) for part in scene.parts[k]], masks=False).image
        for k in (0, 1)
    ]
    classes = [scenes.CLASSES.index(name) for name in scene.classes]
    answers = _logits(model, [scene.image, *bare])[:, classes]
    return (answers[1:] - answers[0]).T


def sufficient(name: str, parts: Sequence[str]) -> Bool[np.ndarray, "set part"]:
    """The smallest sets of parts that tell a class from all others, by how classes are drawn."""
    telling = [part for *twins, part in scenes.PAIRS if name in twins] or list(parts)
    return np.array([[part == one for part in parts] for one in telling])


def with_parts(parts: Sequence[Parts], labelled: Maps, told: Maps) -> dict[str, Any]:
    """All measures but target sensitivity, one score for each scene of one object.

    Args:
        labelled: maps for the label.
        told: maps for what the model predicts.
    """
    every = np.array([_at_thresholds(*one) for one in zip(parts, labelled, told, strict=True)])
    means = [_mean(every[:, k]) for k in range(4)]
    chosen = protocols.best_threshold(np.array(means[:3]), means[3])
    orders = [
        protocols.single_deletion(_importance(one, map_)[: len(one.drop)], one.drop)
        for one, map_ in zip(parts, labelled, strict=True)
    ]
    return {
        **dict(zip(MEASURES, every[:, :, chosen].T, strict=False)),
        "sd": np.array(orders),
        "threshold": np.full(len(parts), protocols.THRESHOLDS[chosen]),
    }


def with_two(
    trials: Trials, maps: Maps, sensitive: Bool[np.ndarray, " scene"]
) -> Float[np.ndarray, " scene"]:
    """Target sensitivity of scenes of two objects, whose trials stand in turn; NaN for others."""
    own = (maps * trials.target).sum(axis=(1, 2), dtype=np.float64)
    other = (maps * trials.opponent).sum(axis=(1, 2), dtype=np.float64)
    scores = []
    for i in range(0, len(maps), 2):
        evidence = np.array([[own[i], other[i]], [other[i + 1], own[i + 1]]])
        scores.append(protocols.target_sensitivity(evidence))
    return np.where(sensitive, scores, np.nan)


def _at_thresholds(
    scene: Parts, labelled: Float[np.ndarray, "row column"], told: Float[np.ndarray, "row column"]
) -> Float[np.ndarray, "4 threshold"]:
    count = len(scene.drop)
    importance = _importance(scene, labelled)
    chosen = protocols.important(importance, _sum(labelled))
    if scene.predicted[-1] == scene.label:
        check = protocols.data_check(chosen[:, :count], scene.sufficient)
    else:
        check = np.full(len(chosen), np.nan)
    distraction = protocols.distractibility(chosen, scene.unimportant)
    chosen = protocols.important(_importance(scene, told)[:count], _sum(told))
    preserved = protocols.preservation_check(chosen, scene.predicted)
    deleted = protocols.deletion_check(chosen, scene.predicted)
    return np.stack([check, preserved, deleted, distraction])


def _importance(scene: Parts, map_: Float[np.ndarray, "row column"]) -> protocols.Importance:
    return protocols.part_importance(map_, scene.regions)


def _sum(map_: Float[np.ndarray, "row column"]) -> float:
    return float(map_.sum(dtype=np.float64))


def _mean(scores: Float[np.ndarray, "scene threshold"]) -> Float[np.ndarray, " threshold"]:
    """Over scenes that have a score, at all thresholds or at none; 0 where no scene has one."""
    defined = np.isfinite(scores).all(axis=1)
    return scores[defined].mean(axis=0) if defined.any() else np.zeros(scores.shape[1])


def _barer(plan: scenes.Plan) -> Iterator[scenes.Plan]:
    """The plan without each thing of clutter, and without each occluder."""
    for i in range(len(plan.clutter)):
        yield plan._replace(clutter=plan.clutter[:i] + plan.clutter[i + 1 :])
    for i in range(len(plan.occluders)):
        yield plan._replace(occluders=plan.occluders[:i] + plan.occluders[i + 1 :])


def _joined(*several: Trials) -> Trials:
    arrays = {
        name: np.concatenate([getattr(one, name) for one in several])
        for name in Trials._fields
        if name not in ("name", "group")
    }
    return Trials(name=NAME, group=tuple(g for one in several for g in one.group), **arrays)


def _logits(model: Model, pictures: Sequence[np.ndarray]) -> Float[np.ndarray, "image class"]:
    """Of `scenes.CLASSES`."""
    outputs = check_model(model)[1]
    given = np.stack([images.normalize(one, model.preprocessing) for one in pictures])
    return explaining.classify(model, given)[:, outputs].astype(np.float64)
