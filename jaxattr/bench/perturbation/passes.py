"""The device's part of the perturbation benchmark: maps of some images, then masked forwards.

All shapes are fixed, so that each of the two functions is compiled once per model and protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int32

from jaxattr import losses
from jaxattr.bench.perturbation.protocols import Protocol, steps
from jaxattr.gradients import over_images
from jaxattr.heads import probabilities
from jaxattr.methods.method import Method
from jaxattr.metrics.context import at_once, generator
from jaxattr.metrics.perturbation import ORDERS, perturb, ranks
from jaxattr.plot import heatmap
from jaxattr.vit import Image, Model

CLASSES = "label", "predicted"
"""The class axis of maps and of unmasked probabilities."""
RANDOM = "random map"
CHUNK = 16
"""Images explained in one call."""


class Unmasked(NamedTuple):
    """What the model says of each image before anything is masked, and every method's maps."""

    prediction: Int32[np.ndarray, " image"]
    probability: Float[np.ndarray, "image class"]
    """Of the label (NaN without one) and of the prediction."""
    maps: Mapping[str, Float[np.ndarray, "image class row column"]]


class Masked(NamedTuple):
    """What the model says of masked images; the first step is the unmasked image."""

    top: Int32[np.ndarray, "image method explained order step"]
    """The class with the highest logit."""
    probability: Float[np.ndarray, "image method explained order step"]
    """Of the explained class."""


def explain(
    model: Model,
    images: Float[np.ndarray, "image height width channel"],
    labels: Int32[np.ndarray, " image"],
    names: Sequence[str],
    methods: Sequence[Method],
    seed: int,
) -> Unmasked:
    """The maps of all images for label and prediction, and a random map that depends on the name.

    Images without a label (-1) get their prediction's map in its place.
    """
    if not len(images):
        nothing = np.zeros((0, len(CLASSES), *model.config.grid), np.float32)
        maps = dict.fromkeys([*(one.name for one in methods), RANDOM], nothing)
        return Unmasked(np.zeros(0, np.int32), nothing[..., 0, 0], maps)
    found = []
    for start in range(0, len(images), CHUNK):
        # The last chunk is filled up, so that nothing is compiled twice.
        chosen = np.minimum(np.arange(start, start + CHUNK), len(images) - 1)
        given = jnp.asarray(images[chosen]), jnp.asarray(labels[chosen])
        found.append(jax.tree.map(np.asarray, _explain(model, *given, tuple(methods))))
    joined = jax.tree.map(lambda *chunks: np.concatenate(chunks)[: len(images)], *found)
    prediction, probability, computed = joined
    probability[labels < 0, 0] = np.nan
    drawn = [generator(seed, name, 0).standard_normal(model.config.grid) for name in names]
    drawn = np.stack(drawn).astype(np.float32)
    # In the order that was asked for: a dictionary comes out of a compiled function sorted.
    maps = {one.name: computed[one.name] for one in methods}
    maps[RANDOM] = np.stack([drawn, drawn], 1)
    return Unmasked(prediction, probability, maps)


def mask(
    model: Model,
    images: Float[np.ndarray, "image height width channel"],
    unmasked: Unmasked,
    labels: Int32[np.ndarray, " image"],
    names: Sequence[str],
    protocol: Protocol,
    seed: int,
) -> Masked:
    """Mask every image by every map in both orders, in batches of one compiled shape.

    Maps that are equal, such as those of a right prediction and its label, are tested once.
    """
    counted = steps(protocol, model.config)
    methods, size = list(unmasked.maps), model.config.image_size
    axes = [CLASSES.index(one) for one in protocol.explained]
    shape = (len(images), len(methods), len(axes), len(ORDERS), len(counted))
    top, probability = np.empty(shape, np.int32), np.empty(shape, np.float32)
    top[..., 0] = unmasked.prediction[:, None, None, None]
    probability[..., 0] = unmasked.probability[:, None, axes, None]
    jobs = [
        (image, method, same)
        for image in range(len(images))
        for method, name in enumerate(methods)
        for same in _equal(unmasked.maps[name][image, axes])
    ]
    batch = 4 if jax.default_backend() == "cpu" else 16
    classes = np.stack([np.where(labels < 0, unmasked.prediction, labels), unmasked.prediction], 1)
    for start in range(0, len(jobs), batch):
        some = jobs[start : start + batch]
        places = [
            _places(unmasked.maps[methods[m]][i, axes[same[0]]], protocol, size, seed, names[i])
            for i, m, same in some
        ]
        fill = np.minimum(np.arange(batch), len(some) - 1)
        which = np.array([job[0] for job in some])[fill]
        given = images[which], np.stack(places)[fill], classes[which]
        one_top, chances = _mask(model, *map(jnp.asarray, given), counted[1:], protocol.fill)
        one_top, chances = np.asarray(one_top), np.asarray(chances)
        for row, (i, m, same) in enumerate(some):
            for k in same:
                top[i, m, k, :, 1:] = one_top[row]
                probability[i, m, k, :, 1:] = chances[row, axes[k]]
    return Masked(top, probability)


def _equal(maps: Float[np.ndarray, "explained row column"]) -> list[list[int]]:
    """The indices of the maps, equal ones together."""
    groups: list[list[int]] = []
    for index, one in enumerate(maps):
        for group in groups:
            if np.array_equal(maps[group[0]], one):
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _places(
    map_: Float[np.ndarray, "row column"],
    protocol: Protocol,
    size: tuple[int, int],
    seed: int,
    name: str,
) -> Int32[np.ndarray, "order unit"]:
    scores = (heatmap.upsample(map_, size) if protocol.unit == "pixel" else map_).ravel()
    return ranks(scores, generator(seed, name, 1).permutation(len(scores)))


@partial(jax.jit, static_argnames="methods")
def _explain(
    model: Model,
    images: Float[Array, "image height width channel"],
    labels: Int32[Array, " image"],
    methods: tuple[Method, ...],
) -> tuple[Array, Array, dict[str, Float[Array, "image class row column"]]]:
    def one(image: Image, label: Array):
        logits = model.forward(image)[0]
        prediction = jnp.argmax(logits).astype(jnp.int32)
        classes = jnp.stack([jnp.where(label < 0, prediction, label), prediction])

        def maps(class_: Array):
            loss = losses.target_logit(class_)
            return {method.name: method.function(model, image, loss) for method in methods}

        chances = probabilities(model.config, logits)
        return prediction, chances[classes], jax.vmap(maps)(classes)

    return over_images(one, images, labels)


@partial(jax.jit, static_argnames=("counted", "fill"))
def _mask(
    model: Model,
    images: Float[Array, "job height width channel"],
    places: Int32[Array, "job order unit"],
    classes: Int32[Array, "job class"],
    counted: tuple[int, ...],
    fill: str,
) -> tuple[Int32[Array, "job order step"], Float[Array, "job class order step"]]:
    chunk = at_once()

    def one(image: Image, order: Array, asked: Array):
        logits = perturb(model, image, order, counted, fill, chunk_size=chunk)
        top = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        chances = probabilities(model.config, logits)[..., asked]
        return top, jnp.moveaxis(chances, -1, 0)

    return over_images(one, images, places, classes)
