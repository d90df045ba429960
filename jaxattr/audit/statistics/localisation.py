"""Whether a map's negative evidence sits in one place: a yes/no gate with its null."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Int8

SHUFFLES = 199
GATE = 0.01
NULL = "the same values of the map, shuffled over its cells"
_SIDES = (0.2, 0.35, 0.5)
_BATCH = 512


class Localised(NamedTuple):
    """Where the negative mass of each map is densest, and whether chance explains it."""

    share: Float[np.ndarray, " map"]
    """Share of the negative mass inside the best window."""
    expected: Float[np.ndarray, " map"]
    """Share of a uniformly spread map: the window's part of the area."""
    box: Int[np.ndarray, "map 4"]
    """Top, left, bottom, right in cells; the last two exclusive."""
    p_value: Float[np.ndarray, " map"]

    @property
    def localised(self) -> Bool[np.ndarray, " map"]:
        """The gate, `p <= 0.01`."""
        return self.p_value <= GATE


def windows(grid: tuple[int, int]) -> Int[np.ndarray, "window 4"]:
    """All square windows with sides of a fifth, a third and half of the grid's shorter side."""
    sides = sorted({max(1, round(part * min(grid))) for part in _SIDES})
    boxes = [
        (top, left, top + side, left + side)
        for side in sides
        for top in range(grid[0] - side + 1)
        for left in range(grid[1] - side + 1)
    ]
    return np.array(boxes)


def localise(maps: Int8[np.ndarray, "map cell"], grid: tuple[int, int]) -> Localised:
    """The densest window of each map's negative mass, with a permutation p-value.

    The statistic is the largest excess over all windows, `share - expected`. Its null shuffles the
    cells of the same map (199 shuffles, the same for every map, so that results do not depend on
    which maps are tested together), and `p = (1 + #{null >= seen}) / 200`. A small p says that
    the negative values are gathered, more than independent cells would be; it does not say that
    the label is wrong, and maps of right labels pass as well. Sums are of whole numbers, hence
    exact on any machine. A map without negative values has p = 1 and an empty box.
    """
    boxes = windows(grid)
    cover = np.zeros((len(boxes), *grid), np.float32)
    for member, (top, left, bottom, right) in zip(cover, boxes, strict=True):
        member[top:bottom, left:right] = 1
    cover = cover.reshape(len(boxes), -1).T
    expected = cover.sum(axis=0, dtype=np.float64) / len(cover)
    generator = np.random.default_rng(0)
    orders = [generator.permutation(len(cover)) for _ in range(SHUFFLES)]
    parts = [
        _batch(np.maximum(-maps[first : first + _BATCH].astype(np.float32), 0), cover, orders)
        for first in range(0, len(maps), _BATCH)
    ]
    share, best, p = (
        (np.concatenate(part) for part in zip(*parts, strict=True))
        if parts
        else (np.zeros(0), np.zeros(0, int), np.zeros(0))
    )
    box = np.where((share > 0)[:, None], boxes[best], 0)
    return Localised(share, np.where(share > 0, expected[best], 0.0), box, p)


def _batch(
    mass: np.ndarray, cover: np.ndarray, orders: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    total = np.maximum(mass.sum(axis=1, dtype=np.float64), 1)[:, None]
    expected = cover.sum(axis=0, dtype=np.float64) / len(cover)
    seen = (mass @ cover).astype(np.float64) / total - expected
    best = seen.argmax(axis=1)
    top = seen[np.arange(len(mass)), best]
    # Windows of one size differ in their sum only, so the largest sum of a size is its best.
    starts = np.flatnonzero(np.diff(expected, prepend=-1.0))

    def highest(values: np.ndarray) -> np.ndarray:
        sums = np.maximum.reduceat(values @ cover, starts, axis=1).astype(np.float64)
        return (sums / total - expected[starts]).max(axis=1)

    reached = sum((highest(mass[:, order]) >= top).astype(int) for order in orders)
    empty = mass.max(axis=1, initial=0) == 0
    share = np.where(empty, 0.0, top + expected[best])
    return share, best, np.where(empty, 1.0, (1 + reached) / (1 + len(orders)))
