"""What a metric is given: one method's maps of some images, and whatever it may ask besides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int32, PRNGKeyArray

from jaxattr import losses
from jaxattr.gradients import over_images
from jaxattr.methods.method import Method
from jaxattr.metrics.perturbation import ranks
from jaxattr.vit import Image, Loss, Map, Model

Pictures = Float[np.ndarray, "image height width channel"]
Labels = Int32[np.ndarray, " image"]
Maps = Float[np.ndarray, "image row column"]

AT_ONCE = 6
"""Masked images that a CPU computes at once: 15 % faster than one by one for ViT-Ti, no faster
with 18, and each result independent of its batch."""


class Fellows(NamedTuple):
    """Other images, to put beside those that are scored: the best recognised one of each class."""

    labels: Labels
    images: Pictures


@runtime_checkable
class Explain(Protocol):
    """Further maps of the method, compiled once for all images of this shape."""

    def __call__(
        self,
        images: Pictures,
        labels: Labels,
        names: Sequence[str],
        *,
        model: Model | None = None,
        purpose: int = 0,
    ) -> Maps: ...


class Case(NamedTuple):
    """One image with its map, as JAX arrays: what `Context.each` hands on."""

    image: Image
    map: Map
    places: Int32[Array, "2 patch"]
    """Of each patch from the highest score on, and from the lowest, see `perturbation.ranks`."""
    class_: Int32[Array, ""]
    key: PRNGKeyArray
    """Random numbers of the image, the same for all methods."""

    @property
    def loss(self) -> Loss:
        """The logit of the class."""
        return losses.target_logit(self.class_)


@dataclass(frozen=True)
class Context:
    """One method's maps of some images.

    A metric is a function of it that returns one score for each image, NaN where it is not defined:
    of arrays alone (`maps`, `masks`), or with the model, in JAX and for one image (`each`).
    """

    model: Model
    """The model that is asked."""
    images: Pictures
    """Normalised."""
    classes: Labels
    """What is explained of each image."""
    names: Sequence[str]
    """Of the images' files."""
    maps: Maps
    """Raw, as the method gives them."""
    masks: Bool[np.ndarray, "image height width"] | None
    """Of the objects, at the model's input size, where the user gave some."""
    method: Method | None
    """`None` for a map that asks no model, and for maps made elsewhere."""
    explained: Model
    """Whose maps these are: `model`, or `drawn`."""
    drawn: Model
    """The same architecture with random weights."""
    explain: Explain
    recognised: Bool[np.ndarray, " image"]
    """Whether the class is the model's top class, with a probability of 0.5 or more."""
    fellows: Callable[[], Fellows]
    seed: int = 0

    def generator(self, image: int, purpose: int) -> np.random.Generator:
        """Random numbers of one image and purpose, the same for all methods; take 1000 or more."""
        return generator(self.seed, self.names[image], purpose)

    @cached_property
    def places(self) -> Int32[np.ndarray, "image 2 patch"]:
        """Of each patch in the two orders of masking; equal scores in a random order."""
        flat = self.maps.reshape(len(self.maps), -1)
        ties = [self.generator(i, 1).permutation(flat.shape[1]) for i in range(len(flat))]
        found = [ranks(one, tie) for one, tie in zip(flat, ties, strict=True)]
        return np.array(found, np.int32).reshape(len(flat), 2, flat.shape[1])

    def each(self, function: Callable[[Model, Case], Array]) -> Float[np.ndarray, " image"]:
        """`function(model, case)` of every image, compiled once; NaN for constant maps.

        A map that is the same everywhere has no order: what it would score is chance. `function`
        must be one of a module, not made in each call, which would compile it again.
        """
        scores = np.empty(len(self.images))
        batch = 2 if jax.default_backend() == "cpu" else 16
        draws = [int(self.generator(i, 2).integers(2**31)) for i in range(len(self.images))]
        for start in range(0, len(scores), batch):
            # The last batch is filled up, so that nothing is compiled twice.
            some = np.minimum(np.arange(start, start + batch), len(scores) - 1)
            arrays = self.images[some], self.maps[some], self.places[some], self.classes[some]
            keys = jnp.stack([jax.random.key(draws[i]) for i in some])
            found = np.asarray(_each(self.model, *map(jnp.asarray, arrays), keys, function))
            scores[start : start + batch] = found[: len(scores) - start]
        constant = self.maps.min(axis=(-2, -1)) == self.maps.max(axis=(-2, -1))
        return np.where(constant, np.nan, scores)


@partial(jax.jit, static_argnames="function")
def _each(
    model: Model,
    images: Float[Array, "case height width channel"],
    maps: Float[Array, "case row column"],
    places: Int32[Array, "case 2 patch"],
    classes: Int32[Array, " case"],
    keys: Array,
    function: Callable[[Model, Case], Array],
) -> Float[Array, " case"]:
    def one(*given: Array) -> Array:
        return function(model, Case(*given))

    return over_images(one, images, maps, places, classes, keys)


def at_once(accelerator: int | None = None) -> int | None:
    """How many masked images of one case are computed at once on this backend."""
    return AT_ONCE if jax.default_backend() == "cpu" else accelerator


def generator(seed: int, name: str, purpose: int) -> np.random.Generator:
    """Random numbers of one image: the same in whatever selection of images it stands."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng((seed, purpose, int.from_bytes(digest[:8], "little")))
