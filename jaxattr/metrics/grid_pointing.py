from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxattr.errors import JaxattrError
from jaxattr.metrics.evidence_share import positive_share

CONFIDENT = 0.5
"""Only images are put into mosaics that the model recognises with at least this probability."""

Picture = Float[np.ndarray, "height width channel"]


def mosaic(images: Sequence[Picture]) -> Picture:
    """Four images of the model's size as one of that size, two by two: halved by 2 x 2 means.

    Raises:
        JaxattrError: not four images, or an odd side.
    """
    if len(images) != 4 or images[0].shape[0] % 2 or images[0].shape[1] % 2:
        raise JaxattrError(f"a mosaic of {len(images)} images; wanted four, whose sides are even.")
    height, width, channels = images[0].shape
    small = [one.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3)) for one in images]
    rows = [np.concatenate(small[start : start + 2], axis=1) for start in (0, 2)]
    return np.concatenate(rows, axis=0).astype(images[0].dtype)


def cell(grid: tuple[int, int], place: int) -> Float[np.ndarray, "row column"]:
    """The share of each patch that lies in one of the four cells, which count row by row."""
    rows, columns = (np.clip(n / 2 - np.arange(n), 0, 1) for n in grid)
    down, right = divmod(place, 2)
    return np.outer(1 - rows if down else rows, 1 - columns if right else columns)


def grid_pointing(
    maps: Float[np.ndarray, "*batch row column"], places: np.ndarray
) -> Float[np.ndarray, "*batch"]:
    """Grid pointing game: the share of positive evidence for a class in its own cell of a mosaic.

    `Σ S⁺ w / Σ S⁺` with `w` the cell's share of each patch; chance is 1/4, NaN without positive
    evidence. Other cells show other classes, all recognised alone. Halved images are not quite
    those that were recognised, and where a model mixes its tokens, evidence moves between cells.
    Costs one map. Source: Böhle et al. 2021, at the model's own input size; `gridpg-v1`.

    Args:
        places: the cell of each map, 0 to 3, row by row.
    """
    grid = maps.shape[-2], maps.shape[-1]
    return positive_share(maps, np.stack([cell(grid, int(one)) for one in places]))
