"""Guidance (paper, Fig. 8): an image of one class beside a guide of another.

With one class in the image the complete correction has nowhere to move the attention to; a second
image on the same canvas gives it a place. The map of the canvas is then cut back to the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxattr import losses
from jaxattr.errors import JaxattrError
from jaxattr.gradients import over_images
from jaxattr.methods import conservative
from jaxattr.vit import Image, Loss, Model, check_image

Side = Literal["left", "right", "top", "bottom"]
Resize = Literal["squeeze", "crop", "pad"]
Picture = Float[Array, "height width channel"] | Float[np.ndarray, "height width channel"]
# Sizes of its own: that they differ is an error with words, not one of types.
Other = Float[Array, "height2 width2 channel"] | Float[np.ndarray, "height2 width2 channel"]
Maps = Float[Array, "*batch row column"] | Float[np.ndarray, "*batch row column"]


@dataclass(frozen=True)
class Layout:
    """How image and guide share one canvas, which has the size of each: a static argument.

    The image takes the share `proportion` of the canvas at `side`, the guide the rest; the border
    between them lies on the nearest whole pixel. `resize` brings both to their parts:

    - `squeeze`: all of it, compressed in one direction, as bilinear antialiased resizing does;
    - `crop`: its middle, at full resolution; the rest is not on the canvas;
    - `pad`: all of it, its proportions kept, with zeros (the preprocessing's mean colour) around.

    Raises:
        JaxattrError: an unknown side or rule, or a proportion that is not between 0 and 1.
    """

    side: Side = "left"
    proportion: float = 0.5
    resize: Resize = "squeeze"

    def __post_init__(self) -> None:
        for value, known in ((self.side, Side), (self.resize, Resize)):
            if value not in known.__args__:
                raise JaxattrError(f"layout: no {value!r}; choose from {', '.join(known.__args__)}")
        if not 0 < self.proportion < 1:
            raise JaxattrError(
                f"layout: the image's proportion is {self.proportion}, wanted more than 0 and less "
                "than 1"
            )


class Guided(NamedTuple):
    """What `guided` finds, on the image's own patches, and how much of it is the guide's doing."""

    mean: Float[Array, "row column"]
    spread: Float[Array, "row column"]
    """Standard deviation over the guides; zero where there is only one."""
    maps: Float[Array, "guide row column"]
    canvas: Float[Array, "guide row column"]
    """The raw maps of the whole canvases, guides included."""
    logits: Float[Array, "guide class"]
    """The model's answer to each canvas: what `losses.is_guiding` asks for."""

    @property
    def dependence(self) -> Any:
        """`‖spread‖ / ‖mean‖`: 0 if the guide does not matter; 1 or more if nothing else does."""
        spread, mean = (jnp.sqrt(jnp.square(one).sum()) for one in (self.spread, self.mean))
        return jnp.where(mean > 0, spread / jnp.where(mean > 0, mean, 1), jnp.inf)


def stitch(image: Picture, guide: Other, *, layout: Layout = Layout()) -> Array:
    """Put an image and its guide, both normalised and of one size, on one canvas of that size.

    Pure; `layout` is static. Values stay within those of the two images, so that valid pixels stay
    valid.

    Raises:
        JaxattrError: two sizes, or one too small to divide in these proportions.
    """
    if image.shape != guide.shape:
        raise JaxattrError(
            f"stitch: the image is {image.shape}, the guide {guide.shape}; resize both to the "
            "model's input first"
        )
    image, guide = jnp.asarray(image), jnp.asarray(guide)
    parts = [_placed(image, layout), _placed(guide, _of_guide(layout))]
    if layout.side in ("right", "bottom"):
        parts.reverse()
    return jnp.concatenate(parts, axis=_axis(layout))


def own_part(
    maps: Maps,
    size: tuple[int, int],
    *,
    layout: Layout = Layout(),
    grid: tuple[int, int] | None = None,
) -> Float[Array, "*batch own_row own_column"]:
    """Cut maps of a canvas back to the image: one value for each of the image's own patches.

    `size` is the canvas' (height, width) in pixels, `grid` the (rows, columns) to return, by
    default the maps' own. A patch of the result is the mean of the map, taken as constant on each
    patch of the canvas, over the place where that patch's pixels went. Where halves end between
    patches this is exact: squeezed halves give each value twice, and with half as many columns
    in `grid` they are a slice. What `crop` left out is zero.
    """
    rows, columns = _weights(maps.shape[-2:], size, layout, grid)
    maps = jnp.asarray(maps)
    rows, columns = (jnp.asarray(one, maps.dtype) for one in (rows, columns))
    return jnp.einsum("ij,...jk,lk->...il", rows, maps, columns, precision="highest")


def own_region(
    grid: tuple[int, int],
    size: tuple[int, int],
    *,
    layout: Layout = Layout(),
) -> Float[np.ndarray, "row column"]:
    """The share of each patch of the canvas that shows the image, 0 to 1, padding not counted."""
    shares = []
    for patches, length, (start, stop) in zip(grid, size, _box(size, layout), strict=True):
        edges = np.clip(np.arange(patches + 1) * (length / patches), start, stop)
        shares.append(np.diff(edges) * (patches / length))
    return np.outer(*shares)


def guided(
    model: Model,
    image: Image,
    guides: Float[Array, "guide height width channel"],
    target: Any,
    against: Int[Array, " guide"],
    *,
    loss: Callable[[Any, Any], Loss] = losses.difference,
    method: Callable[..., Any] = conservative,
    layout: Layout = Layout(),
) -> Guided:
    """Explain one class of an image against each of n guides, and how far the maps agree.

    Each guide is stitched to the image, and `loss(target, class of the guide)` is explained on
    that canvas; `loss=lambda target, _: losses.target_logit(target)` is the paper's Fig. 8. All
    guides are one `over_images`; compiled once for any image, guides and classes.

    Raises:
        JaxattrError: a class that the model does not have, where it is not traced (there: NaN), not
            one class for each guide, or sizes that differ.
    """
    check_image(model, image)
    for one in guides[:1]:
        check_image(model, one)
    for name, indices in (("target", target), ("against", against)):
        index = losses.class_index(indices, what=name)
        losses.check_classes(index, model.config.classes, what=name)
    if jnp.shape(against) != (len(guides),):
        raise JaxattrError(
            f"guided: {len(guides)} guides, and classes of shape {jnp.shape(against)}; give one "
            "class for each guide"
        )

    def one(guide: Array, other: Array) -> tuple[Array, Array]:
        canvas = stitch(image, guide, layout=layout)
        return method(model, canvas, loss(target, other)), model.forward(canvas)[0]

    canvases, logits = over_images(one, guides, against)
    maps = own_part(canvases, model.config.image_size, layout=layout)
    return Guided(maps.mean(axis=0), maps.std(axis=0), maps, canvases, logits)


def _axis(layout: Layout) -> int:
    return 1 if layout.side in ("left", "right") else 0


def _of_guide(layout: Layout) -> Layout:
    """The layout as the guide sees it: the other side, and what is left."""
    opposite: dict[Side, Side] = {
        "left": "right",
        "right": "left",
        "top": "bottom",
        "bottom": "top",
    }
    return Layout(opposite[layout.side], 1 - layout.proportion, layout.resize)


def _part(size: tuple[int, int], layout: Layout) -> list[tuple[int, int]]:
    """Rows and columns (start, stop) of the canvas that belong to the image, padding included."""
    axis = _axis(layout)
    length = size[axis]
    # Rounded for the left and upper part, so that image and guide agree on one border.
    first = layout.side in ("left", "top")
    share = layout.proportion if first else 1 - layout.proportion
    border = int(np.floor(share * length + 0.5))
    if not 0 < border < length:
        raise JaxattrError(
            f"layout: {length} pixels cannot be divided {layout.proportion:g} to "
            f"{1 - layout.proportion:g}; take more pixels or a proportion nearer to a half"
        )
    part = [(0, size[0]), (0, size[1])]
    part[axis] = (0, border) if first else (border, length)
    return part


def _box(size: tuple[int, int], layout: Layout) -> list[tuple[int, int]]:
    """Rows and columns (start, stop) of the canvas on which the image is shown."""
    part = _part(size, layout)
    if layout.resize != "pad":
        return part
    axis = _axis(layout)
    share = (part[axis][1] - part[axis][0]) / size[axis]
    other = size[1 - axis]
    shown = max(1, int(np.floor(share * other + 0.5)))
    part[1 - axis] = ((other - shown) // 2, (other - shown) // 2 + shown)
    return part


def _source(size: tuple[int, int], layout: Layout) -> list[tuple[int, int]]:
    """Rows and columns (start, stop) of the image that the canvas shows."""
    whole = [(0, size[0]), (0, size[1])]
    if layout.resize == "crop":
        axis = _axis(layout)
        start, stop = _part(size, layout)[axis]
        first = (size[axis] - (stop - start)) // 2
        whole[axis] = (first, first + stop - start)
    return whole


def _placed(image: Array, layout: Layout) -> Array:
    """The image's part of the canvas."""
    size = image.shape[0], image.shape[1]
    part, box, source = (find(size, layout) for find in (_part, _box, _source))
    (top, bottom), (left, right) = source
    shown = image[top:bottom, left:right]
    shape = tuple(stop - start for start, stop in box)
    if shape != shown.shape[:2]:
        shown = jax.image.resize(shown, (*shape, image.shape[2]), "linear")
    around = [(b[0] - p[0], p[1] - b[1]) for b, p in zip(box, part, strict=True)]
    return jnp.pad(shown, (*around, (0, 0)))


def _weights(
    patches: Any, size: tuple[int, int], layout: Layout, grid: tuple[int, int] | None
) -> list[np.ndarray]:
    """Per axis: from the canvas' patches to the image's own, `[own, canvas]`; rows sum to 1 or 0.

    Own patch i shows the image's pixels from `i n / own` to `(i + 1) n / own`, which lie on the
    canvas where the box is, as far as the source is shown there.
    """
    boxes, sources = _box(size, layout), _source(size, layout)
    result = []
    for axis in (0, 1):
        length, canvas = size[axis], patches[axis]
        own = canvas if grid is None else grid[axis]
        (start, stop), (first, last) = boxes[axis], sources[axis]
        shown = np.clip(np.arange(own + 1) * (length / own), first, last)
        edges = (start + (shown - first) * ((stop - start) / (last - first))) * (canvas / length)
        low, high = edges[:-1, None], edges[1:, None]
        column = np.arange(canvas)
        overlap = np.minimum(high, column + 1) - np.maximum(low, column)
        overlap = np.where(overlap > 1e-9, overlap, 0.0)  # no rounding where borders coincide
        total = overlap.sum(axis=1, keepdims=True)
        result.append(np.divide(overlap, total, out=np.zeros_like(overlap), where=total > 0))
    return result
