"""Variants of the conservative correction, chosen by the rule of `docs/notebook/conservative.md`.

    python benchmarks/conservative_variants.py scenes --output results/conservative-scenes.json
    python benchmarks/conservative_variants.py photos PHOTOS MODEL FOLDER \\
        --scenes results/conservative-scenes.json --output results/conservative-photos.json

`scenes` scores every variant on tuning scenes and applies stages 1 and 2; `photos` scores those
left, or those that are named, on tuning photos and applies stages 3 and 4.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from scipy.stats import rankdata

from jaxattr import losses, metrics
from jaxattr.audit.evidence.compute import strongest_rival
from jaxattr.bench.explanations import maps as explaining
from jaxattr.bench.explanations import trials as asking
from jaxattr.bench.explanations.run import measure, per_scene
from jaxattr.bench.methods import scoring as scoring
from jaxattr.bench.methods.maps import Row
from jaxattr.bench.methods.scoring import Shard
from jaxattr.checkpoints import load
from jaxattr.data import images
from jaxattr.data.dataset import Dataset, index
from jaxattr.gradients import Layer, over_images, readout, relevance, to_map, walk_back
from jaxattr.gradients.corrections import CORRECTIONS, mean_product
from jaxattr.heads import probabilities
from jaxattr.methods import views
from jaxattr.metrics.context import AT_ONCE, Fellows, generator
from jaxattr.metrics.grid_pointing import CONFIDENT
from jaxattr.metrics.perturbation import ranks
from jaxattr.scenes.models import check_model
from jaxattr.vit import Image, Loss, Map, Model, Rules, ViTConfig, predict

SCENES, SEED = 60, 501
PHOTOS, HELD_OUT = 64, 200
STEPS = 14
"""Of SRG on tuning photos."""
FAITHFULNESS = {"deletion": -1, "insertion": 1, "saco": 1, "gridpg": 1, "srg": 1}
"""Each metric's sign: 1 where higher is better."""
PLAIN = "constant attention"
"""The rules of `relevance.conservative`."""

Maps = Mapping[str, Any]


class Readings(NamedTuple):
    """What may be read from one backward pass, from the last block to the one just seen."""

    mean: Array
    """Roll-out with the mean over heads, as in `conservative`."""
    total: Array
    """Roll-out with their sum."""
    positive: Array
    """Roll-out of the positive part, as in GAE."""
    tokens: Array
    """Tokens times derivative, summed over blocks: `token_relevance`."""
    read: Array
    """`A ⊙ ∇A` of the rows that the head reads, summed over blocks."""
    every: Array
    """The same of all rows."""


def readings(model: Model, image: Image, loss: Loss, rules: Rules) -> list[Readings]:
    """One backward pass; entry n includes the last n blocks."""
    c = model.config

    def fold(seen: list[Readings], layer: Layer) -> list[Readings]:
        last, heads = seen[-1], layer.attention.shape[0]
        edges = mean_product(layer.gradient, layer.attention)
        raising = mean_product(CORRECTIONS["positive"](layer.gradient), layer.attention)
        queries = edges.shape[0]

        def rolled(row: Array, matrix: Array) -> Array:
            return row + row[:queries] @ matrix

        now = Readings(
            rolled(last.mean, edges),
            rolled(last.total, heads * edges),
            rolled(last.positive, raising),
            last.tokens + jnp.einsum("th,th->t", layer.hidden, layer.hidden_gradient),
            last.read + readout(c)[:queries] @ edges,
            last.every + edges.sum(axis=0),
        )
        return [*seen, now]

    row, nothing = readout(c), jnp.zeros((c.tokens,), c.dtype)
    start = [Readings(row, row, row, nothing, nothing, nothing)]
    return walk_back(model, image, loss, fold, start, rules=rules).state


def rule_sets(activation: str) -> dict[str, Rules]:
    """The rules that are compared, by name."""
    plain, halved = relevance.conservative(activation), relevance.attn_lrp(activation)
    whole, half = (relevance.res_lrp(activation, gamma) for gamma in (1.0, 0.5))

    def gamma_rule(gamma: float) -> Rules:
        return replace(plain, dense=relevance.cp_lrp(activation, None, gamma).dense)

    return {
        PLAIN: plain,
        "halved": halved,
        "plain softmax": replace(plain, softmax=None),
        "residual rule, gamma 1": replace(plain, residual=whole.residual),
        "residual rule, gamma .5": replace(plain, residual=half.residual),
        "halved, residual rule, gamma 1": whole,
        "linear layers' gamma .25": gamma_rule(0.25),
        "linear layers' gamma .05": gamma_rule(0.05),
    }


def names() -> list[str]:
    """All variants: `rules; read-out`."""
    every = [f"{rules}; {name}" for rules in rule_sets("gelu") for name in ("roll-out", "additive")]
    more = (
        *(f"{name} from {start}" for name in ("roll-out", "additive") for start in ("1", "half")),
        "roll-out, positive part",
        "roll-out, sum over heads",
        "edges, read rows",
        "edges, all rows",
        *(f"{name}, {n} views" for name in ("roll-out", "additive") for n in (2, 10)),
    )
    return [*every, *(f"{PLAIN}; {name}" for name in more)]


def explained(model: Model, image: Image, loss: Loss, wanted: Sequence[str]) -> dict[str, Map]:
    """The maps of the variants that are wanted; one backward pass for all that share its rules."""
    c, found = model.config, {}
    for name, rules in rule_sets(c.activation).items():
        if not any(one.startswith(f"{name}; ") for one in wanted):
            continue
        for read, row in _rows(c, readings(model, image, loss, rules)).items():
            found[f"{name}; {read}"] = to_map(c, row)
    for one in wanted:
        if one.endswith("views"):
            read, count = one.removeprefix(f"{PLAIN}; ").removesuffix(" views").split(", ")
            method = views.averaged(partial(_one, read), views.chosen(c, int(count)))
            found[one] = method(model, image, loss)
    return {one: found[one] for one in wanted}


def _one(read: str, model: Model, image: Image, loss: Loss) -> Map:
    rules = relevance.conservative(model.config.activation)
    return to_map(model.config, _rows(model.config, readings(model, image, loss, rules))[read])


def _rows(c: ViTConfig, seen: list[Readings]) -> dict[str, Array]:
    starts = {"1": seen[-2], "half": seen[c.layers - c.layers // 2]}
    return {
        "roll-out": seen[-1].mean,
        "additive": seen[-1].tokens,
        **{f"roll-out from {start}": one.mean for start, one in starts.items()},
        **{f"additive from {start}": one.tokens for start, one in starts.items()},
        "roll-out, positive part": seen[-1].positive,
        "roll-out, sum over heads": seen[-1].total,
        "edges, read rows": seen[-1].read,
        "edges, all rows": seen[-1].every,
    }


# ---- scenes: stages 1 and 2 ----------------------------------------------------------------------


def on_scenes(count: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Per scene: signs (log-odds), part hit (mean of difference and log-odds), and others."""
    model, wanted = load("scenes"), tuple(names())
    size, outputs = check_model(model)
    kinds = {}
    for draw in (asking.two_objects, asking.one_object, asking.twins):
        trials = draw(count, seed, size, model.config.grid)
        found = scene_maps(model, trials, outputs, wanted, (1, 2))
        kinds[trials.name] = trials, found
        print(trials.name, flush=True)
    result = {}
    for name in wanted:
        scores = {}
        for kind, (trials, found) in kinds.items():
            for k, loss in enumerate(("difference", "log-odds")):
                measured = per_scene(trials, measure(trials, found[name][:, k], signed=True))
                scores |= {f"{kind}; {loss}; {one}": values for one, values in measured.items()}
        two, one = (scores[f"{kind}; log-odds; sign_accuracy"] for kind in list(kinds)[:2])
        parts = [scores[f"twins; {loss}; part_hit"] for loss in ("difference", "log-odds")]
        result[name] = {**scores, "signs": (two + one) / 2, "parts": np.mean(parts, axis=0)}
    return result


def scene_maps(
    model: Model, trials: Any, outputs: Any, wanted: tuple[str, ...], questions: tuple[int, ...]
) -> Maps:
    """Variants' maps of trials, `[trial, question, row, column]`, for some of `maps.LOSSES`."""
    arrays = np.stack([images.normalize(one, model.preprocessing) for one in trials.images])
    rival = np.where(trials.rival < 0, -1, outputs[trials.rival]).astype(np.int32)
    given = arrays.astype(np.float32), outputs[trials.label].astype(np.int32), rival
    chunk, count, found = 20, len(rival), []
    for start in range(0, count, chunk):
        some = np.minimum(np.arange(start, start + chunk), count - 1)
        asked = (one[some] for one in given)
        found.append(jax.device_get(_questions(model, *asked, wanted, questions)))
    return {name: np.concatenate([one[name] for one in found])[:count] for name in wanted}


@partial(jax.jit, static_argnames=("wanted", "questions"))
def _questions(
    model: Model, pictures: Array, label: Array, rival: Array, wanted: tuple[str, ...],
    questions: tuple[int, ...],
) -> Maps:  # fmt: skip
    def one(image: Image, label: Array, rival: Array) -> Maps:
        logits = predict(model, image)
        other = jnp.where(rival < 0, strongest_rival(logits, label), rival)

        def maps(which: Array) -> Maps:
            return explained(model, image, Partial(_asked, label, other, which), wanted)

        return jax.vmap(maps)(jnp.asarray(questions))

    return over_images(one, pictures, label, rival)


def _asked(label: Array, other: Array, which: Array, logits: Array) -> Array:
    difference = logits[label] - logits[other]
    return jnp.stack([logits[label], difference, losses.log_odds(label)(logits)])[which]


# ---- photos: stages 3 and 4 ----------------------------------------------------------------------


def split(root: Path, model: Model, *, held_out: bool) -> Dataset:
    """The tuning photos, or those held out, in the order of the SHA-256 of `folder/file`."""
    found = index(root, model.labels)
    by_hash = [hashlib.sha256(one.encode()).hexdigest() for one in found.files]
    order = np.argsort(by_hash)
    chosen = order[PHOTOS : PHOTOS + HELD_OUT] if held_out else order[:PHOTOS]
    files = tuple(found.files[i] for i in chosen)
    return found._replace(files=files, targets=found.targets[chosen])


def read(root: Path, files: Sequence[str], model: Model) -> np.ndarray:
    """Normalised photos."""
    return np.stack([images.preprocess(root / one, model.preprocessing) for one in files])


@dataclass
class Variants:
    """As `bench.method_maps.Explainer`, of variants: all of them in one compiled function."""

    model: Model
    names: tuple[str, ...]
    seed: int = 0
    made: dict[Any, Maps] = field(default_factory=dict)

    @property
    def drawn(self) -> Model:
        """No metric here asks for random weights."""
        return self.model

    def explain(
        self, row: Row, given: np.ndarray, labels: np.ndarray, files: Sequence[str], *,
        model: Model | None = None, purpose: int = 0,
    ) -> np.ndarray:  # fmt: skip
        """The maps of one row for the labels."""
        key = purpose, tuple(files)
        if key not in self.made:
            chunk, found = 8, []
            for start in range(0, len(given), chunk):
                some = np.minimum(np.arange(start, start + chunk), len(given) - 1)
                asked = given[some].astype(np.float32), labels[some]
                found.append(jax.device_get(_labels(self.model, *asked, self.names)))
            joined = {one: np.concatenate([part[one] for part in found]) for one in self.names}
            self.made[key] = {name: maps[: len(given)] for name, maps in joined.items()}
        return self.made[key][row.name]


@partial(jax.jit, static_argnames="wanted")
def _labels(model: Model, pictures: Array, labels: Array, wanted: tuple[str, ...]) -> Maps:
    def one(image: Image, label: Array) -> Maps:
        return explained(model, image, losses.target_logit(label), wanted)

    return over_images(one, pictures, labels)


def shard_of(root: Path, dataset: Dataset, model: Model) -> tuple[Shard, np.ndarray]:
    """The photos of a dataset, without maps, and the probability of each one's label."""
    given, labels = read(root, dataset.files, model), dataset.targets.astype(np.int32)
    chance = np.asarray(probabilities(model.config, explaining.classify(model, given)))
    own = chance[np.arange(len(labels)), labels]
    right = (chance.argmax(axis=1) == labels) & (own >= CONFIDENT)
    return Shard(given, labels, list(dataset.files), {}, right, None), own


def fellows_of(shard: Shard, chance: np.ndarray) -> Fellows:
    """The best recognised photo of each class."""
    best: dict[int, int] = {}
    for i in np.argsort(-np.where(shard.recognised, chance, -1), kind="stable"):
        if shard.recognised[i]:
            best.setdefault(int(shard.labels[i]), int(i))
    chosen = list(best.values())[:64]
    return Fellows(shard.labels[chosen], shard.images[chosen])


def gain(
    model: Model, shard: Shard, maps: np.ndarray, *, steps: int, seed: int = 0
) -> np.ndarray:  # fmt: skip
    """SRG in so many steps, `[image, row]`; `maps` are `[image, row, row, column]`."""
    found = []
    for k in range(maps.shape[1]):
        ties = [generator(seed, one, 1).permutation(maps[0, 0].size) for one in shard.names]
        pairs = zip(maps[:, k], ties, strict=True)
        places = np.stack([ranks(one.ravel(), tie) for one, tie in pairs])
        parts = []
        for start in range(0, len(places), 4):
            some = np.minimum(np.arange(start, start + 4), len(places) - 1)
            asked = shard.images[some], places[some], shard.labels[some]
            parts.append(np.asarray(_gain(model, *map(jnp.asarray, asked), steps)))
        found.append(np.concatenate(parts)[: len(places)])
    return np.stack(found, axis=1)


@partial(jax.jit, static_argnames="steps")
def _gain(model: Model, pictures: Array, places: Array, labels: Array, steps: int) -> Array:
    def one(image: Image, place: Array, class_: Array) -> Array:
        return metrics.srg(model, image, place, class_, steps=steps, chunk_size=AT_ONCE)

    return over_images(one, pictures, places, labels)


def on_photos(
    root: Path, model: Model, wanted: Sequence[str], folder: Path, count: int
) -> dict[str, np.ndarray]:
    """Each metric's scores, `[photo, variant]`; sixteen photos at a time, kept in the folder."""
    whole, chance = shard_of(root, split(root, model, held_out=False), model)
    variants, fellows = Variants(model, tuple(wanted)), fellows_of(whole, chance)
    found: list[Maps] = []
    for start in range(0, count, 16):
        file, some = folder / f"{start:03d}.npz", slice(start, min(start + 16, count))
        if not file.exists():
            part = Shard(
                whole.images[some], whole.labels[some], whole.names[some], {},
                whole.recognised[some], None,
            )  # fmt: skip
            scores = _sixteen(variants, part, fellows)
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(file, allow_pickle=False, **scores)
            print(start, time.strftime("%H:%M:%S"), flush=True)
        with np.load(file) as kept:
            found.append(dict(kept))
    return {name: np.concatenate([one[name] for one in found]) for name in FAITHFULNESS}


def _sixteen(variants: Variants, part: Shard, fellows: Fellows) -> dict[str, np.ndarray]:
    rows = [Row(one, None, "trained") for one in variants.names]
    maps = {row.name: variants.explain(row, part.images, part.labels, part.names) for row in rows}
    part = part._replace(maps=maps)
    found = {}
    for name in FAITHFULNESS:
        if name == "srg":
            stacked = np.stack([maps[row.name] for row in rows], axis=1)
            found[name] = gain(variants.model, part, stacked, steps=STEPS)
        else:
            asked: Any = variants
            found[name] = scoring.score(metrics.METRICS[name], asked, rows, part, lambda: fellows)
    return found


def mean_ranks(found: Mapping[str, np.ndarray]) -> np.ndarray:
    """Per photo, the mean over the metrics that are defined of the ranks, 1 is best."""
    each = []
    for name, values in found.items():
        defined = np.isfinite(values).all(axis=1)
        placed = np.full(values.shape, np.nan)
        placed[defined] = rankdata(-FAITHFULNESS[name] * values[defined], axis=1)
        each.append(placed)
    return np.nanmean(each, axis=0)


# ---- the rule ------------------------------------------------------------------------------------


def stay(values: Mapping[str, np.ndarray]) -> tuple[str, dict[str, list[float]], list[str]]:
    """The best, each one's paired difference to it with its interval, and who is not behind."""
    best = max(values, key=lambda name: float(np.nanmean(values[name])))
    behind = {name: list(metrics.bootstrap(values[best] - one)[:3]) for name, one in values.items()}
    return best, behind, [name for name, one in behind.items() if one[1] <= 0]


def cost(model: Model, name: str) -> float:
    """Floating-point operations of one map, as XLA counts them; of views, so many times one."""
    head, _, count = name.removesuffix(" views").rpartition(", ")
    if name.endswith("views"):
        return int(count) * cost(model, head)
    image = jnp.zeros((*model.config.image_size, model.config.channels), jnp.float32)

    def one(model: Model, image: Image, label: Array) -> Map:
        return explained(model, image, losses.target_logit(label), (name,))[name]

    analysis: Any = jax.jit(one).lower(model, image, jnp.int32(0)).compile().cost_analysis()
    return float(analysis["flops"])


def _summary(values: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: list(metrics.bootstrap(one)[:3]) for name, one in values.items()}


def scenes_command(arguments: argparse.Namespace) -> dict[str, Any]:
    found = on_scenes(arguments.count, arguments.seed)
    stages, left = [], list(found)
    for stage in ("signs", "parts"):
        best, behind, kept = stay({name: found[name][stage] for name in left})
        stages.append({"stage": stage, "best": best, "behind": behind, "stay": kept})
        left = kept
    scores = {name: _summary(one) for name, one in found.items()}
    return {"count": arguments.count, "seed": arguments.seed, "stages": stages, "scores": scores}


def photos_command(arguments: argparse.Namespace) -> dict[str, Any]:
    model = load(str(arguments.model))
    left = arguments.variants or json.loads(arguments.scenes.read_text())["stages"][-1]["stay"]
    found = on_photos(arguments.photos, model, left, arguments.folder, arguments.count)
    placed = mean_ranks(found)
    best, behind, kept = stay({name: -placed[:, k] for k, name in enumerate(left)})
    each = {name: float(placed[:, k].mean()) for k, name in enumerate(left)}
    costs = {name: cost(model, name) for name in kept}
    near = [name for name in kept if costs[name] <= 1.05 * min(costs.values())]
    scores = {
        name: _summary({metric: values[:, k] for metric, values in found.items()})
        for k, name in enumerate(left)
    }
    return {
        "photos": len(placed),
        "stages": [
            {"stage": "faithfulness", "best": best, "behind": behind, "stay": kept, "ranks": each},
            {"stage": "cost", "operations": costs, "stay": near},
        ],
        "chosen": min(near, key=lambda name: each[name]),
        "scores": scores,
    }


def main() -> None:
    """Write one JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    scenes = commands.add_parser("scenes")
    scenes.add_argument("--count", type=int, default=SCENES)
    scenes.add_argument("--seed", type=int, default=SEED)
    scenes.set_defaults(run=scenes_command)
    photos = commands.add_parser("photos")
    photos.add_argument("photos", type=Path)
    photos.add_argument("model", type=Path)
    photos.add_argument("folder", type=Path, help="keeps what is done")
    photos.add_argument("--count", type=int, default=PHOTOS)
    photos.add_argument("--scenes", type=Path)
    photos.add_argument("--variants", nargs="*", help="these, and not those left by the scenes")
    photos.set_defaults(run=photos_command)
    for one in (scenes, photos):
        one.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    run: Callable[[argparse.Namespace], dict[str, Any]] = arguments.run
    text = json.dumps(run(arguments), indent=1, ensure_ascii=False)
    arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
