from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxattr.errors import JaxattrError
from jaxattr.metrics.context import Context
from jaxattr.metrics.evidence_share import positive_share
from jaxattr.metrics.metric import metric

CONFIDENT = 0.5
"""Only images are put into mosaics that the model recognises with at least this probability."""

Picture = Float[np.ndarray, "height width channel"]


def mosaic(images: Sequence[Picture]) -> Picture:
    """As many images as a square has cells (4, 9, ...), row by row, as one of their size.

    They are put side by side and the whole is made smaller by means over n x n pixels, so that
    cells have equal sides even where n does not divide the image's: a pixel on a border then holds
    the mean of both. Each image is seen at 1/n of its size.

    Raises:
        JaxattrError: as many images as no square has cells.
    """
    n = math.isqrt(len(images))
    if n < 2 or n * n != len(images):
        raise JaxattrError(f"a mosaic of {len(images)} images; wanted 4, 9 or another square.")
    height, width, channels = images[0].shape
    rows = [np.concatenate(images[start : start + n], axis=1) for start in range(0, n * n, n)]
    whole = np.concatenate(rows, axis=0).reshape(height, n, width, n, channels)
    return whole.mean((1, 3)).astype(images[0].dtype)


def cell(grid: tuple[int, int], place: int, side: int = 2) -> Float[np.ndarray, "row column"]:
    """The share of each patch that lies in one of the `side` x `side` cells, counted row by row."""

    def along(n: int, k: int) -> Float[np.ndarray, " patch"]:
        first, last = (np.clip(n * edge / side - np.arange(n), 0, 1) for edge in (k, k + 1))
        return last - first

    down, right = divmod(place, side)
    return np.outer(along(grid[0], down), along(grid[1], right))


def grid_pointing(
    maps: Float[np.ndarray, "*batch row column"], places: np.ndarray, side: int = 2
) -> Float[np.ndarray, "*batch"]:
    """Grid pointing game: the share of positive evidence for a class in its own cell of a mosaic.

    `Σ S⁺ w / Σ S⁺` with `w` the cell's share of each patch; from 0 to 1, higher is better, chance
    is `1 / side²`, NaN without positive evidence. Other cells show other classes, all recognised
    alone. Images that were made smaller are not quite those that were recognised, and where a model
    mixes its tokens, evidence moves between cells.
    Costs one map. Source: Böhle et al. 2021, who give a convolutional network the mosaic at the
    size of all its images; here it has the model's own input size. `gridpg-v1` has four cells,
    `gridpg-3x3-v1` the nine of Böhle et al. 2021 and of peers that report it for Vision
    Transformers (ALOE, DAVE 2026), of one image each.

    Args:
        places: the cell of each map, from 0, row by row.
    """
    grid = maps.shape[-2], maps.shape[-1]
    return positive_share(maps, np.stack([cell(grid, int(one), side) for one in places]))


@metric(
    id="gridpg-v1",
    heading="localisation",
    definition="share of positive evidence in the class's own cell of a mosaic of four recognised "
    "images",
    better="higher",
    cost="1M",
    explains=True,
    source="Böhle et al. 2021",
    blind="where in the cell; whether the mosaic is still recognised",
)
def score_grid(context: Context) -> np.ndarray:
    """`grid_pointing` in a mosaic of four images."""
    return _in_mosaics(context, 2)


@metric(
    id="gridpg-3x3-v1",
    heading="localisation",
    definition="the same of nine images",
    better="higher",
    cost="1M",
    explains=True,
    source="Böhle et al. 2021",
    blind="the same, and images a third of their size",
)
def score_grid_of_nine(context: Context) -> np.ndarray:
    """`grid_pointing` in a mosaic of nine images."""
    return _in_mosaics(context, 3)


def _in_mosaics(context: Context, side: int) -> np.ndarray:
    """The image in question among the best recognised of other classes, in a random place."""
    scores, fellows = np.full(len(context.names), np.nan), context.fellows()
    mosaics, places, chosen = [], [], np.flatnonzero(context.recognised).tolist()
    for i in chosen:
        others = np.flatnonzero(fellows.labels != context.classes[i])
        if len(others) < side * side - 1:
            return scores
        rng = context.generator(i, 200)
        cells = list(fellows.images[rng.permutation(others)[: side * side - 1]])
        place = int(rng.integers(side * side))
        cells.insert(place, context.images[i])
        mosaics.append(mosaic(cells))
        places.append(place)
    if mosaics:
        names = [context.names[i] for i in chosen]
        purpose = 48 + side  # another random map for each kind of mosaic
        given = np.stack(mosaics), context.classes[chosen], names
        maps = context.explain(*given, purpose=purpose)
        scores[chosen] = grid_pointing(maps, np.array(places), side)
    return scores
