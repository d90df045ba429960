"""The maps that `bench methods` scores: methods, compiled once, and rows that know nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int32

from jaxattr import losses
from jaxattr.bench.store import SHARD
from jaxattr.errors import JaxattrError
from jaxattr.gradients import over_images
from jaxattr.methods.method import Method
from jaxattr.metrics.context import Labels, Maps, Pictures, generator
from jaxattr.vit import Image, Model

RANDOM, BLOB = "random map", "centred blob"
WIDTH = 0.25
"""Standard deviation of the blob, as a share of each side."""


class Row(NamedTuple):
    """One row of the table: a method on the model or on random weights, or a map of neither."""

    name: str
    method: Method | None
    """`None` for `RANDOM`, `BLOB`, and maps made elsewhere."""
    model: str
    """`trained`, `random weights`, `none`, or `given` for maps made elsewhere."""

    @property
    def shown(self) -> str:
        """The method's name, the same for all models."""
        return self.method.name if self.method else self.name

    @property
    def competes(self) -> bool:
        """Whether it is ranked among the methods, and set against the maps that know nothing."""
        return self.model in ("trained", "given")


def rows(
    methods: Sequence[Method], untrained: Sequence[Method], given: Sequence[str] = ()
) -> tuple[Row, ...]:
    """Methods, maps made elsewhere, the two maps that ask no model, methods on random weights."""
    return (
        *(Row(one.name, one, "trained") for one in methods),
        *(Row(name, None, "given") for name in given),
        *(Row(name, None, "none") for name in (RANDOM, BLOB)),
        *(Row(f"{one.name}, random weights", one, "random weights") for one in untrained),
    )


@dataclass(frozen=True)
class Explainer:
    """Makes the maps of all rows, for any images of one shape and any weights of one model."""

    model: Model
    drawn: Model
    """The same with random weights, and the same name, so that nothing is compiled twice."""
    seed: int
    given: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """Maps made elsewhere, by row and image."""

    def explain(
        self,
        row: Row,
        images: Pictures,
        labels: Labels,
        names: Sequence[str],
        *,
        model: Model | None = None,
        purpose: int = 0,
    ) -> Maps:
        """The raw maps of one row for the labels.

        Args:
            names: of the images; random maps belong to the name and the purpose.
            model: in place of the row's own.
            purpose: another one gives other random maps.

        Raises:
            JaxattrError: further maps of those made elsewhere.
        """
        grid = self.model.config.grid
        if row.name == RANDOM:
            drawn = [
                generator(self.seed, name, 10 + purpose).standard_normal(grid) for name in names
            ]
            return np.array(drawn, np.float32).reshape(len(names), *grid)
        if row.name == BLOB:
            return np.broadcast_to(centred_blob(grid), (len(names), *grid))
        if row.method is None:
            if model is not None or purpose:
                raise JaxattrError(f"{row.name}: made elsewhere, so there are no further maps.")
            found = [self.given[row.name][name] for name in names]
            return np.array(found, np.float32).reshape(len(names), *grid)
        used = model or (self.drawn if row.model == "random weights" else self.model)
        run, found = self.compile(row.method), [np.zeros((0, *grid), np.float32)]
        for start in range(0, len(images), SHARD):
            # Filled up, so that nothing is compiled twice.
            chosen = np.minimum(np.arange(start, start + SHARD), len(images) - 1)
            found.append(np.asarray(run(used, *self._given(images[chosen], labels[chosen]))))
        return np.concatenate(found)[: len(images)].astype(np.float32)

    def timed(
        self, row: Row, images: Pictures, labels: Labels, names: Sequence[str]
    ) -> tuple[Maps, float]:
        """The maps, and the seconds of one of them in a batch of `SHARD`, compiling left out.

        Batches are filled up, and what fills them costs as much; NaN where there is no image, or
        maps were made elsewhere.
        """
        if row.method:
            self.compile(row.method)
        began = time.perf_counter()
        maps = self.explain(row, images, labels, names)
        seconds = time.perf_counter() - began
        made = len(images) and row.model != "given"
        return maps, seconds / batched(row, len(images)) if made else np.nan

    def compile(self, method: Method) -> Any:
        """The compiled function of `SHARD` images, any weights and labels."""
        leaves, structure = jax.tree.flatten(self.model)
        shapes = tuple((one.shape, str(one.dtype)) for one in leaves)
        return _compile(method.function, SHARD, structure, shapes)

    def _given(self, images: Pictures, labels: Labels) -> tuple[Array, Array]:
        return jnp.asarray(images.astype(self.model.config.dtype)), jnp.asarray(labels)


def batched(row: Row, images: int) -> int:
    """How many maps are computed for so many images: whole batches of `SHARD`."""
    return -(-images // SHARD) * SHARD if row.method else images


def centred_blob(grid: tuple[int, int]) -> Float[np.ndarray, "row column"]:
    """A Gaussian in the middle: a photographer's guess."""
    y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in grid)
    return np.exp(-(y[:, None] ** 2 + x**2) / (2 * WIDTH**2)).astype(np.float32)


@lru_cache(maxsize=64)
def _compile(
    method: Callable[..., Any],
    batch: int,
    structure: Any,
    leaves: tuple[tuple[tuple[int, ...], str], ...],
) -> Any:
    """Ahead of time, so that times are without it, and once in a process for one architecture."""
    model = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*one) for one in leaves])
    c = model.config
    images = jax.ShapeDtypeStruct((batch, *c.image_size, c.channels), c.dtype)
    labels = jax.ShapeDtypeStruct((batch,), "int32")
    return jax.jit(partial(_explain, method)).lower(model, images, labels).compile()


def _explain(
    method: Callable[..., Any],
    model: Model,
    images: Float[Array, "image height width channel"],
    labels: Int32[Array, " image"],
) -> Float[Array, "image row column"]:
    def one(image: Image, label: Array) -> Array:
        return method(model, image, losses.target_logit(label))

    return over_images(one, images, labels)
