"""The mean of a method's maps over mirrored and shifted views of one image.

A network answers a little differently when the patches' borders fall elsewhere and when left and
right change places; what all of its answers share is more the image's than the grid's. Any method
becomes one of the same contract, at as many times its cost as there are views. Averaging over views
is published with DAVE and ResLRP (as ResLRP+, of translations); which views, what enters at the
edges, and how maps are taken back are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxattr.errors import JaxattrError
from jaxattr.gradients import over_images
from jaxattr.vit import Image, Loss, Map, Model, ViTConfig, check_image


class View(NamedTuple):
    """An image mirrored left to right or not, and then moved by whole pixels."""

    mirrored: bool = False
    down: int = 0
    right: int = 0
    """To the left and upwards where negative."""


# In halves of a patch: opposite ones follow each other, so that their mean stays where it is.
_SHIFTS = ((0, 0), (1, 1), (-1, -1), (1, -1), (-1, 1), (1, 0), (-1, 0), (0, 1), (0, -1))
MOST = 2 * len(_SHIFTS)
"""How many views `chosen` has."""


def chosen(config: ViTConfig, count: int) -> tuple[View, ...]:
    """The first `count` of: the image and its mirror, then both moved by half a patch.

    First along both diagonals, then along the sides. 2 or 10 are symmetric in all directions.

    Raises:
        JaxattrError: fewer than 1, or more than `MOST`.
    """
    if not 1 <= count <= MOST:
        raise JaxattrError(f"{count} views asked for; give 1 to {MOST}.")
    tall, wide = (max(1, side // 2) for side in config.patch_size)
    moved = [_SHIFTS[i // 2] for i in range(count)]
    return tuple(
        View(i % 2 == 1, down * tall, right * wide) for i, (down, right) in enumerate(moved)
    )


def averaged(function: Callable[..., Map], views: Sequence[View]) -> Callable[..., Map]:
    """A method whose map is the mean of `function`'s over views of the image.

    `(model, image, loss, **options) -> map`, as any other. Where a moved image ends, its mirror
    image goes on, so that no border enters the picture. Back at home a map is constant over each of
    its patches; what lies on pixels that are not of the image is dropped; and a patch of the result
    is the mean over all views of what lies on its pixels, those that a view does not show left out.
    So a shift by whole patches is taken back exactly, one by a part of a patch mixes neighbours in
    proportion to their area, and a map's own scale remains.

    Raises:
        JaxattrError: no view, one that is moved by a whole image, or a patch that no view shows.
    """
    views = tuple(views)
    if not views:
        raise JaxattrError("no view given; give at least View(), the image as it is.")

    def over_views(model: Model, image: Image, loss: Loss, **options: Any) -> Map:
        check_image(model, image)
        rows, columns = _shares(model.config, views)
        shown = np.einsum("vik,vjl->ij", rows, columns)
        if not shown.min() > 0:
            raise JaxattrError("a patch is shown by no view; add View(), the image as it is.")
        images = jnp.stack([seen(image, view) for view in views])
        maps = _each(lambda one: function(model, one, loss, **options), images)
        rows, columns = (jnp.asarray(shares, maps.dtype) for shares in (rows, columns))
        total = jnp.einsum("vik,vkl,vjl->ij", rows, maps, columns, precision=lax.Precision.HIGHEST)
        return total * jnp.asarray(1 / shown, maps.dtype)

    return over_views


def _each(function: Callable[[Array], Map], images: Array) -> Array:
    """As `over_images`, also where a method that computes in float64 is batched from outside.

    A `vmap` over losses batches the finished loop over views once more, and outside of the method's
    own float64 JAX would halve the types in it. So it is traced first, as it is, and only then put
    into a loop, with float64 allowed.
    """
    traced, closed_over = jax.closure_convert(function, images[0])
    with jax.enable_x64(True):
        return over_images(lambda one: traced(one, *closed_over), images)


def seen(image: Array, view: View) -> Array:
    """The view of a normalised image `[height, width, channel]`, of the same size."""
    image = image[:, ::-1] if view.mirrored else image
    moves = view.down, view.right
    for axis, (move, side) in enumerate(zip(moves, image.shape[:2], strict=True)):
        if abs(move) >= side:
            raise JaxattrError(f"a view is moved by {move} pixels, the image has {side}.")
        before, after = max(move, 0), max(-move, 0)
        widths = [(0, 0)] * image.ndim
        widths[axis] = before, after
        padded = jnp.pad(image, widths, mode="symmetric")
        image = lax.slice_in_dim(padded, after, after + side, axis=axis)
    return image


def _shares(
    config: ViTConfig, views: Sequence[View]
) -> tuple[Float[np.ndarray, "view row seen_row"], Float[np.ndarray, "view column seen_column"]]:
    """Of each patch's height and width, which part lies in which patch of each view."""
    rows = np.stack([_overlaps(config.grid[0], config.patch_size[0], v.down) for v in views])
    columns = np.stack([_overlaps(config.grid[1], config.patch_size[1], v.right) for v in views])
    mirrored = np.array([view.mirrored for view in views])
    return rows, np.where(mirrored[:, None, None], columns[:, ::-1], columns)


def _overlaps(count: int, side: int, move: int) -> Float[np.ndarray, "own seen"]:
    """Of each of `count` patches, the part in each patch of a view moved by `move`."""
    own, shown = np.arange(count)[:, None] * side, np.arange(count) * side - move
    overlap = np.minimum(own, shown) + side - np.maximum(own, shown)
    return np.maximum(overlap, 0) / side
