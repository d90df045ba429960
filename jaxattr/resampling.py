"""Resampling along one axis as a matrix `[new, old]`, whose rows sum to 1; pixel centres at half.

Point i of n covers the share from `i / n` to `(i + 1) / n` of the axis, whatever n.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


def linear(
    old: int, new: int, border: Literal["edge", "mirror"] = "edge"
) -> Float[np.ndarray, "{new} {old}"]:
    """Linear interpolation.

    Outside the outermost points the edge's value holds, or the points are mirrored at it.
    """
    position = _centres(old, new)
    low = np.floor(position).astype(int)
    matrix = np.zeros((new, old))
    period = max(2 * (old - 1), 1)
    for index, share in ((low, low + 1 - position), (low + 1, position - low)):
        if border == "mirror":
            index = np.abs((index + old - 1) % period - (old - 1))
        np.add.at(matrix, (np.arange(new), np.clip(index, 0, old - 1)), share)
    return matrix


def nearest(old: int, new: int) -> Float[np.ndarray, "{new} {old}"]:
    """The nearest point; half-way between two the later one, as where a patch begins."""
    index = np.floor(np.clip(_centres(old, new), 0, old - 1) + 0.5).astype(int)
    return np.eye(old)[index]


def bicubic(old: int, new: int) -> Float[np.ndarray, "{new} {old}"]:
    """Keys' kernel with a = -0.75, as in PyTorch; edges repeated, no antialiasing."""
    centres = _centres(old, new)
    first = np.floor(centres).astype(int)
    matrix = np.zeros((new, old))
    for offset in range(-1, 3):
        distance = np.abs(centres - (first + offset))
        near = (1.25 * distance - 2.25) * distance**2 + 1
        far = -0.75 * (((distance - 5) * distance + 8) * distance - 4)
        weight = np.where(distance <= 1, near, far)
        np.add.at(matrix, (np.arange(new), np.clip(first + offset, 0, old - 1)), weight)
    return matrix


def along_both(
    rows: Float[Array, "new_height height"],
    grid: Float[Array, "*batch height width"],
    columns: Float[Array, "new_width width"],
) -> Float[Array, "*batch new_height new_width"]:
    """`rows @ grid @ columns.T` in full precision, on accelerators too."""
    return jnp.einsum("ha,...ab,wb->...hw", rows, grid, columns, precision=lax.Precision.HIGHEST)


def _centres(old: int, new: int) -> Float[np.ndarray, "{new}"]:
    """Where the centres of the new points lie among the old ones, the first of which is at 0."""
    return (np.arange(new) + 0.5) * old / new - 0.5
