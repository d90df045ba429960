from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

from jaxattr.errors import JaxattrError


def pool(
    mask: Bool[np.ndarray, "*batch height width"], grid: tuple[int, int]
) -> Float64[np.ndarray, "*batch row column"]:
    """The share of each patch that a mask covers, 0 to 1, on a grid of (rows, columns).

    Raises:
        JaxattrError: the grid does not divide the mask.
    """
    *batch, height, width = mask.shape
    rows, columns = grid
    if height % rows or width % columns:
        raise JaxattrError(
            f"a mask of {height} x {width} pixels does not divide into {rows} x {columns} patches; "
            "draw it at the model's input size."
        )
    tiles = mask.reshape(*batch, rows, height // rows, columns, width // columns)
    return tiles.mean(axis=(-3, -1), dtype=np.float64)
