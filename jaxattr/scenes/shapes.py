"""Signed distances of simple shapes on a pixel grid, and what is made of them.

Distances are negative inside, in the unit of `x` and `y` (y points down), and nearly exact close
to the outline, which is all that antialiasing needs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Grid = Float[np.ndarray, "#row #column"]
Number = int | float | np.floating
Colour = Float[np.ndarray, "3 ..."]


class Layer(NamedTuple):
    """One painted shape: the part that it belongs to, its signed distance and its colour."""

    part: str
    distance: Grid
    colour: Colour


def ellipse(
    x: Grid, y: Grid, cx: Number, cy: Number, rx: Number, ry: Number, turn: Number = 0
) -> Grid:
    """An ellipse with half axes `rx`, `ry`, turned by `turn` radians."""
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    if turn:
        cos, sin = np.float32(math.cos(turn)), np.float32(math.sin(turn))
        dx, dy = cos * dx + sin * dy, cos * dy - sin * dx
    if rx == ry:
        return np.sqrt(dx * dx + dy * dy) - np.float32(rx)
    dx, dy = dx / np.float32(rx), dy / np.float32(ry)
    dx2, dy2 = dx * dx, dy * dy
    length = np.sqrt(dx2 + dy2)
    slope = np.sqrt(dx2 / np.float32(rx * rx) + dy2 / np.float32(ry * ry)) + np.float32(1e-4)
    return length * (length - 1) / slope


def capsule(
    x: Grid,
    y: Grid,
    ax: Number,
    ay: Number,
    bx: Number,
    by: Number,
    ra: Number,
    rb: Number | None = None,
) -> Grid:
    """A line from a to b with round ends, its radius going from `ra` to `rb`."""
    rb = ra if rb is None else rb
    px, py = x - np.float32(ax), y - np.float32(ay)
    length2 = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-12)
    vx, vy = np.float32((bx - ax) / length2), np.float32((by - ay) / length2)
    along = np.clip(px * vx + py * vy, 0, 1)
    px -= along * np.float32(bx - ax)
    py -= along * np.float32(by - ay)
    return np.sqrt(px * px + py * py) - (np.float32(ra) + along * np.float32(rb - ra))


def polygon(x: Grid, y: Grid, *corners: tuple[Number, Number], round_by: Number = 0.0) -> Grid:
    """A convex polygon; `round_by` grows it. Corners in either order."""
    edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in edges)
    sign = math.copysign(1, area)
    distance = None
    for (ax, ay), (bx, by) in edges:
        scale = sign / math.hypot(bx - ax, by - ay)
        nx, ny = (by - ay) * scale, (ax - bx) * scale
        side = x * np.float32(nx) + y * np.float32(ny) - np.float32(ax * nx + ay * ny)
        distance = side if distance is None else np.maximum(distance, side)
    return distance - np.float32(round_by)  # type: ignore[operator]


def union(*distances: Grid) -> Grid:
    """Inside any of the shapes."""
    result = distances[0]
    for distance in distances[1:]:
        result = np.minimum(result, distance)
    return result


def coverage(distance: Grid, pixel: Number) -> Grid:
    """How much of each pixel the shape covers, 0 to 1: a smooth step 1.5 pixels wide."""
    t = np.clip(np.float32(0.5) - distance * np.float32(1 / (1.5 * pixel)), 0, 1)
    return t * t * (3 - 2 * t)


def mix(first: Colour, second: Colour, amount: Grid) -> Float[np.ndarray, "3 row column"]:
    """`first` where `amount` is 0, `second` where it is 1."""
    first, second = (c[:, None, None] if c.ndim == 1 else c for c in (first, second))
    return first + (second - first) * amount


def noise(
    rng: np.random.Generator, size: int, cells: tuple[int, int], octaves: int = 1
) -> Float[np.ndarray, "row column"]:
    """Smooth random values around 0 with about unit range; `cells` waves down and across."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        rows, columns = (min(c * 2**octave, size) for c in cells)
        knots = rng.random((rows + 1, columns + 1), np.float32) - np.float32(0.5)
        down, across = _blend(size, rows), _blend(size, columns)
        total += (down @ knots @ across.T) * np.float32(0.6**octave * 2)
    return total


_blends: dict[tuple[int, int], np.ndarray] = {}


def _blend(size: int, cells: int) -> np.ndarray:
    """Smooth interpolation of `cells + 1` knots to `size` pixels, as a matrix; kept, as all ask."""
    if (size, cells) not in _blends:
        position = (np.arange(size) + 0.5) / size * cells
        low = np.minimum(position.astype(int), cells - 1)
        t = position - low
        t = t * t * (3 - 2 * t)
        matrix = np.zeros((size, cells + 1), np.float32)
        matrix[np.arange(size), low] = 1 - t
        matrix[np.arange(size), low + 1] = t
        _blends[size, cells] = matrix
    return _blends[size, cells]
