from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxattr.metrics.context import Context
from jaxattr.metrics.metric import metric
from jaxattr.metrics.regions import pool

Maps = Float[np.ndarray, "*batch row column"]


def pointing_game(
    maps: Maps, region: Maps, *, covered: float | int = 0.5
) -> Float[np.ndarray, "*batch"]:
    """1 where the patch with the largest value lies in the region, else 0; NaN for constant maps.

    A patch lies in a region that covers at least the share `covered` of it. The negative game is
    that of `-maps`. Source: Zhang et al. 2018, with a patch for the pixel and no tolerance.
    """
    flat = maps.reshape(*maps.shape[:-2], -1)
    best = flat.argmax(axis=-1)[..., None]
    inside = np.take_along_axis(region.reshape(*region.shape[:-2], -1), best, axis=-1)[..., 0]
    hit = np.asarray(inside >= covered, np.float64)
    return np.where(flat.max(axis=-1) > flat.min(axis=-1), hit, np.nan)


@metric(
    id="pointing-v1",
    heading="localisation",
    definition="the highest patch is covered by the object by half",
    better="higher",
    cost="0",
    masks=True,
    source="Zhang et al. 2018",
    blind="all but one patch",
)
def score_pointing(context: Context) -> np.ndarray:
    """`pointing_game` of every image."""
    assert context.masks is not None
    grid = context.maps.shape[-2], context.maps.shape[-1]
    return pointing_game(context.maps, pool(context.masks, grid))
