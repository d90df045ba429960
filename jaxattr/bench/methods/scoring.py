"""One metric for all rows of `bench methods` and a shard of images: `[image, row]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int32

from jaxattr import losses, metrics
from jaxattr.bench.methods.maps import Explainer, Labels, Pictures, Row
from jaxattr.bench.perturbation.masked import AT_ONCE, generator
from jaxattr.bench.perturbation.protocols import TENTHS
from jaxattr.gradients import over_images
from jaxattr.heads import probabilities
from jaxattr.losses import pick
from jaxattr.metrics import sensitivity as shaking
from jaxattr.metrics.perturbation import counts, perturb, ranks
from jaxattr.vit import Image, Map, Model, predict

Scores = Float[np.ndarray, "image row"]
MOSAICS = {"gridpg": 2, "gridpg-3x3": 3}
"""How many cells a side of the mosaic has."""
ON_ACCELERATOR = 32
"""Masked images of one map that an accelerator takes at once where there are hundreds."""
_REGIONS = {"localisation": metrics.attribution_localisation, "energypg": metrics.energy_pointing}
SEGMENTATION = {"pixel-accuracy": 0, "mean-iou": 1, "map": 2}


class Shard(NamedTuple):
    """What is known of some images."""

    images: Pictures
    labels: Labels
    names: Sequence[str]
    maps: Mapping[str, Float[np.ndarray, "image row column"]]
    """By row."""
    recognised: Bool[np.ndarray, " image"]
    """Whether the label is the top class, with the probability `CONFIDENT` or more."""
    masks: Bool[np.ndarray, "image height width"] | None


class Fellows(NamedTuple):
    """Images that mosaics are filled with: the best recognised one of each class."""

    labels: Labels
    images: Pictures


def score(
    name: str, explainer: Explainer, rows: Sequence[Row], shard: Shard, fellows: Fellows
) -> Scores:
    """One metric of `metrics.METRICS` by its name; NaN where it is not defined."""
    maps = np.stack([shard.maps[row.name] for row in rows], axis=1)
    if name in ("sparseness", "complexity"):
        return {"sparseness": metrics.sparseness, "complexity": metrics.complexity}[name](maps)
    if metrics.METRICS[name].masks:
        return _against_masks(name, maps, shard)
    if name == "completeness":
        return _completeness(explainer, rows, shard, maps)
    others: dict[str, Callable[..., Any]] = {
        "sensitivity": _sensitivity,
        "mprt": _randomisation,
        **{one: partial(_mosaics, side=side) for one, side in MOSAICS.items()},
    }
    if name not in others:
        return _faithfulness(name, explainer, maps, shard)
    found = [others[name](explainer, row, shard, fellows) for row in rows]
    return np.stack(found, axis=1)


def _against_masks(name: str, maps: np.ndarray, shard: Shard) -> np.ndarray:
    assert shard.masks is not None  # asked for before anything was computed
    if name in _REGIONS:
        given = np.broadcast_to(shard.masks[:, None], (*maps.shape[:2], *shard.masks.shape[1:]))
        return _REGIONS[name](maps, given)
    if name == "pointing":
        region = metrics.pool(shard.masks, (maps.shape[-2], maps.shape[-1]))
        return metrics.pointing_game(maps, np.broadcast_to(region[:, None], maps.shape))
    place = SEGMENTATION[name]
    every = range(maps.shape[1])
    return np.stack([metrics.segmentation(maps[:, k], shard.masks)[place] for k in every], axis=1)


def _sensitivity(explainer: Explainer, row: Row, shard: Shard, _: Fellows) -> np.ndarray:
    size = shard.images.shape[1:]
    shaken = []
    for draw in range(shaking.DRAWS):
        noise = [generator(explainer.seed, name, 100 + draw).uniform(-1, 1, size)
                 for name in shard.names]  # fmt: skip
        given = shard.images + np.float32(shaking.RADIUS) * np.array(noise, np.float32)
        found = explainer.explain(row, given, shard.labels, shard.names, purpose=1 + draw)
        shaken.append(found)
    return metrics.max_sensitivity(shard.maps[row.name], np.stack(shaken))


def _randomisation(explainer: Explainer, row: Row, shard: Shard, _: Fellows) -> np.ndarray:
    """Not asked of maps that are made with random weights in the first place."""
    if row.model == "random weights":
        return np.full(len(shard.names), np.nan)
    found = []
    for stage, model in enumerate(metrics.cascade(explainer.model, explainer.drawn)):
        given = row, shard.images, shard.labels, shard.names
        maps = explainer.explain(*given, model=model, purpose=1 + stage)
        found.append(metrics.spearman(shard.maps[row.name], maps))
    return _mean(np.stack(found))


def _mosaics(
    explainer: Explainer, row: Row, shard: Shard, fellows: Fellows, *, side: int
) -> np.ndarray:
    """The image in question among the best recognised of other classes, in a random place."""
    scores = np.full(len(shard.names), np.nan)
    mosaics, places, chosen = [], [], np.flatnonzero(shard.recognised).tolist()
    for i in chosen:
        others = np.flatnonzero(fellows.labels != shard.labels[i])
        if len(others) < side * side - 1:
            return scores
        rng = generator(explainer.seed, shard.names[i], 200)
        cells = list(fellows.images[rng.permutation(others)[: side * side - 1]])
        place = int(rng.integers(side * side))
        cells.insert(place, shard.images[i])
        mosaics.append(metrics.mosaic(cells))
        places.append(place)
    if mosaics:
        names = [shard.names[i] for i in chosen]
        purpose = 48 + side  # another random map for each kind of mosaic
        maps = explainer.explain(
            row, np.stack(mosaics), shard.labels[chosen], names, purpose=purpose
        )
        scores[chosen] = metrics.grid_pointing(maps, np.array(places), side)
    return scores


def _completeness(
    explainer: Explainer, rows: Sequence[Row], shard: Shard, maps: np.ndarray
) -> np.ndarray:
    scores = np.full(maps.shape[:2], np.nan)
    grey = np.zeros_like(shard.images)
    for k, row in enumerate(rows):
        claim = row.method.complete if row.method else None
        if claim is None:
            continue
        model = explainer.drawn if row.model == "random weights" else explainer.model
        labels = jnp.asarray(shard.labels)
        wanted = np.asarray(_logit(model, jnp.asarray(shard.images), labels), np.float64)
        if claim == "change":
            wanted = wanted - np.asarray(_logit(model, jnp.asarray(grey), labels), np.float64)
        elif claim == "one":
            wanted = np.ones_like(wanted)
        scores[:, k] = metrics.completeness(maps[:, k], wanted)
    return scores


def _faithfulness(name: str, explainer: Explainer, maps: np.ndarray, shard: Shard) -> np.ndarray:
    """Jobs of an image and a map, in batches of one compiled shape; equal maps are asked once."""
    images, count = maps.shape[:2]
    ties = [generator(explainer.seed, one, 1).permutation(maps[0, 0].size) for one in shard.names]
    draws = [generator(explainer.seed, one, 2).integers(2**31) for one in shard.names]
    scores = np.empty((images, count))
    batch = 4 if jax.default_backend() == "cpu" else 32
    jobs = [(i, k) for i in range(images) for k in range(count)]
    for start in range(0, len(jobs), batch):
        some = jobs[start : start + batch]
        i, k = np.array(some)[np.minimum(np.arange(batch), len(some) - 1)].T
        places = np.stack([ranks(maps[a, b].ravel(), ties[a]) for a, b in zip(i, k, strict=True)])
        keys = jnp.stack([jax.random.key(int(draws[a])) for a in i])
        given = shard.images[i], maps[i, k], places, shard.labels[i]
        found = _ask(explainer.model, *map(jnp.asarray, given), keys, name)
        scores[tuple(np.array(some).T)] = np.asarray(found)[: len(some)]
    # A constant map has no order: what it scores is chance.
    constant = maps.min(axis=(-2, -1)) == maps.max(axis=(-2, -1))
    return np.where(constant, np.nan, scores)


@partial(jax.jit, static_argnames="name")
def _ask(
    model: Model,
    images: Float[Array, "job height width channel"],
    maps: Float[Array, "job row column"],
    places: Int32[Array, "job 2 patch"],
    labels: Int32[Array, " job"],
    keys: Array,
    name: str,
) -> Float[Array, " job"]:
    chunk = AT_ONCE if jax.default_backend() == "cpu" else None

    def one(image: Image, map_: Map, place: Array, class_: Array, key: Array) -> Array:
        if name in ("positive", "negative"):
            chosen = place[:1] if name == "positive" else place[1:]
            taken = counts(place.shape[1], TENTHS)
            logits = perturb(model, image, chosen, taken, "black", chunk_size=chunk)[0]
            chance = pick(probabilities(model.config, logits), class_)
            return (chance[1:] + chance[:-1]).sum() / 20
        if name == "deletion":
            return metrics.deletion(model, image, place[0], class_, chunk_size=chunk)
        if name == "insertion":
            return metrics.insertion(model, image, place[0], class_, chunk_size=chunk)
        if name == "saco":
            return metrics.saco(model, image, map_, place[0], class_, chunk_size=chunk)
        if name == "srg":
            # Two hundred masked images: even an accelerator takes them in parts.
            return metrics.srg(model, image, place, class_, chunk_size=chunk or ON_ACCELERATOR)
        if name == "road":
            return metrics.road(model, image, place, class_, key, chunk_size=chunk)
        loss = losses.target_logit(class_)
        return metrics.infidelity(model, image, map_, loss, key, chunk_size=chunk)

    return over_images(one, images, maps, places, labels, keys)


@jax.jit
def _logit(
    model: Model,
    images: Float[Array, "image height width channel"],
    labels: Int32[Array, " image"],
) -> Float[Array, " image"]:
    return over_images(lambda image, label: predict(model, image)[label], images, labels)


def _mean(values: Float[np.ndarray, "stage image"]) -> Float[np.ndarray, " image"]:
    """Over the stages where it is defined."""
    defined = np.isfinite(values)
    count = defined.sum(axis=0)
    total = np.where(defined, values, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
