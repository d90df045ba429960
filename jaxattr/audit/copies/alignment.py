"""How alike two small grey pictures are when one may be shifted a little."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from jaxtyping import Float, UInt8

from jaxattr.audit.ledger.hashing import grey_picture

_PIXELS, _REACH = 64, 3
_SHIFTS = np.array(list(product(range(-_REACH, _REACH + 1), repeat=2)))


def picture(thumbnail: bytes) -> UInt8[np.ndarray, "64 64"]:
    """Grey pixels of a thumbnail; black where it cannot be read: nothing is like that."""
    grey = grey_picture(thumbnail, _PIXELS)
    return np.zeros((_PIXELS, _PIXELS), np.uint8) if grey is None else grey


def correlations(
    one: UInt8[np.ndarray, "pair 64 64"], other: UInt8[np.ndarray, "pair 64 64"]
) -> Float[np.ndarray, " pair"]:
    """Correlation of grey pictures, the best of all shifts by up to 3 pixels.

    Taken over the part that both show. 0 where one has nothing to compare, or none is positive.
    """
    one, other = one.astype(np.float64), other.astype(np.float64)
    products = np.stack(
        [np.einsum("nij,nij->n", one[here], other[there]) for here, there in _shared_parts()],
        axis=1,
    )
    # Of the part that both show: one's for a shift is the other's for the opposite one.
    (first, first_square), (second, second_square) = map(_shifted_sums, (one, other))
    second, second_square = second[:, ::-1], second_square[:, ::-1]
    count = np.prod(_PIXELS - np.abs(_SHIFTS), axis=1)
    spread = (first_square - first**2 / count) * (second_square - second**2 / count)
    some = spread > 1e-6  # nothing to compare in a flat part
    values = (products - first * second / count) / np.sqrt(np.where(some, spread, 1))
    return np.where(some, values, 0).max(axis=1, initial=0)


def _shifted_sums(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of pictures and of their squares over the part that is left at every shift."""
    low, high = np.maximum(_SHIFTS, 0), _PIXELS + np.minimum(_SHIFTS, 0)
    (top, left), (bottom, right) = low.T, high.T
    tables = []
    for values in (pictures, pictures**2):
        sums = np.pad(values.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
        ends = sums[:, bottom, right] - sums[:, top, right]
        tables.append(ends - sums[:, bottom, left] + sums[:, top, left])
    return tables[0], tables[1]


@cache
def _shared_parts() -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """What both pictures show, in either, at every shift."""

    def part(row: int, column: int) -> tuple[slice, ...]:
        ends = (slice(max(by, 0), _PIXELS + min(by, 0)) for by in (row, column))
        return slice(None), *ends

    return [(part(row, column), part(-row, -column)) for row, column in _SHIFTS.tolist()]
