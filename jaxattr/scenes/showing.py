"""From a decision to pixels: the scene, the watermark on it, and copies that are nearly exact."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import Image

from jaxattr.scenes.planting import Decision
from jaxattr.scenes.scene import SIZE, Scene, plan, render
from jaxattr.scenes.shapes import Grid, capsule, coverage, ellipse, polygon, union

Pixels = UInt8[np.ndarray, "height width 3"]
Mask = Bool[np.ndarray, "height width"]


class Shown(NamedTuple):
    """An image with what was planted in it."""

    image: Pixels
    scene: Scene
    """As drawn, without the watermark; its masks hold for `image`, too."""
    watermark: Mask
    """Every pixel that the watermark has a share in; empty if there is none."""


def show(
    decision: Decision,
    seed: int | Sequence[int],
    *,
    size: int = SIZE,
    difficulty: float = 1.0,
    masks: bool = True,
) -> Shown:
    """Draw what was decided about an image, a copy excepted: that is `change_copy` of another.

    `seed`, `size`, `difficulty` and `masks` are those of `scenes.plan` and `scenes.render`.
    """
    decided = plan(
        seed, [decision.shown], size=size, background=decision.background, difficulty=difficulty
    )
    without = [] if decision.without is None else [(0, decision.without)]
    scene = render(decided, without=without, masks=masks)
    if decision.watermark:
        image, mask = watermark(scene.image)
        return Shown(image, scene, mask)
    return Shown(scene.image, scene, np.zeros((size, size), bool))


def watermark(image: Pixels) -> tuple[Pixels, Mask]:
    """Put the mark into the bottom right corner; also where it has a share in the colour.

    It is nowhere opaque, so that the masks of what lies under it stay as they are.
    """
    alpha, paint, mask = _mark(*image.shape[:2])
    marked = image * (1 - alpha[..., None]) + paint[..., None] * 255
    return (marked + np.float32(0.5)).astype(np.uint8), mask.copy()


def change_copy(
    image: Shaped[np.ndarray, "height width *channel"],
    change: str,
    seed: int | Sequence[int],
    *,
    colours: bool = True,
) -> Shaped[np.ndarray, "height width *channel"]:
    """A copy that went through one of `planting.CHANGES`; `exact` or an empty text: none.

    Shifts by up to 4 % of the side, brightness by 6 to 14 %, JPEG of quality 60. With
    `colours=False` only what moves pixels is done, as for masks.
    """
    rng = np.random.default_rng(seed)
    if change == "shifted":
        reach = max(1, round(0.04 * image.shape[0]))
        rows, columns = (
            np.clip(np.arange(side) + rng.choice([-1, 1]) * rng.integers(1, reach + 1), 0, side - 1)
            for side in image.shape[:2]
        )
        return image[rows[:, None], columns[None, :]]
    if not colours or change in ("", "exact"):
        return image
    if change == "brightened":
        factor = 1 + rng.choice([-1, 1]) * rng.uniform(0.06, 0.14)
        return np.clip(image * factor + 0.5, 0, 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=60)
    with Image.open(data) as decoded:
        return np.array(decoded)


@lru_cache(maxsize=8)
def _mark(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Opacity, colour times opacity, and mask of the mark: light letters on a dark plate."""
    side = min(height, width)
    rows, columns = (np.arange(n, dtype=np.float32) + np.float32(0.5 - n) for n in (height, width))
    # From the bottom right corner, in units of the side; the plate's middle becomes the origin.
    x, y = np.broadcast_arrays(
        columns[None, :] / np.float32(side) + np.float32(0.19),
        rows[:, None] / np.float32(side) + np.float32(0.09),
    )
    corners = (-0.15, -0.05), (0.15, -0.05), (0.15, 0.05), (-0.15, 0.05)
    plate = coverage(polygon(x, y, *corners, round_by=0.012), 1 / side) * np.float32(0.55)
    letters = coverage(_letters(x, y), 1 / side) * np.float32(0.95)
    letters *= plate > 0
    paint = plate * np.float32(0.08) * (1 - letters) + letters * np.float32(0.98)
    alpha = 1 - (1 - plate) * (1 - letters)
    # The mark is linear in what is below, so what it changes at all it changes in black or white.
    black, white = (np.floor(paint * 255 + v * (1 - alpha) + 0.5) != v for v in (0, 255))
    return alpha, paint, black | white


def _letters(x: Grid, y: Grid) -> Grid:
    """A ring with a dot, and the letters JX."""
    ring = np.abs(ellipse(x, y, -0.095, 0, 0.032, 0.032)) - np.float32(0.008)
    strokes = (
        capsule(x, y, 0.01, -0.035, 0.01, 0.02, 0.01),
        capsule(x, y, 0.01, 0.02, -0.005, 0.034, 0.01),
        capsule(x, y, -0.005, 0.034, -0.026, 0.026, 0.01),
        capsule(x, y, 0.056, -0.034, 0.112, 0.034, 0.01),
        capsule(x, y, 0.056, 0.034, 0.112, -0.034, 0.01),
    )
    return union(ring, ellipse(x, y, -0.095, 0, 0.009, 0.009), *strokes)
