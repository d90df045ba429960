from __future__ import annotations

import numpy as np
from jaxtyping import Float

Maps = Float[np.ndarray, "*batch row column"]


def inside_above(maps: Maps, region: Maps) -> Float[np.ndarray, "*batch"]:
    """1 where the map's mean inside a region is above its mean outside, else 0.

    `Σ S w / Σ w > Σ S (1 - w) / Σ (1 - w)` with `w` the share of each patch that the region covers.
    Higher is better, chance is 1/2; unlike the sign of the sum inside it does not change when a
    constant is added to the map. NaN where the region is empty or everything, and for constant
    maps. Costs nothing. No source: the plainest question about a box.
    """
    wide, inside = maps.astype(np.float64), region.sum(axis=(-2, -1))
    outside = (1 - region).sum(axis=(-2, -1))
    within, without = (
        np.divide(
            (wide * weight).sum(axis=(-2, -1)),
            total,
            out=np.full(np.shape(total), np.nan),
            where=total > 0,
        )
        for weight, total in ((region, inside), (1 - region, outside))
    )
    defined = np.isfinite(within) & np.isfinite(without)
    defined &= maps.max(axis=(-2, -1)) > maps.min(axis=(-2, -1))
    return np.where(defined, within > without, np.nan)
