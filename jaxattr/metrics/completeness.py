from __future__ import annotations

import numpy as np
from jaxtyping import Float


def completeness(
    maps: Float[np.ndarray, "*batch row column"], wanted: Float[np.ndarray, "*batch"]
) -> Float[np.ndarray, "*batch"]:
    """How far a map's sum is from what it is meant to sum to: `|Σ S - Δ| / |Δ|`; NaN for `Δ = 0`.

    0 is complete. `Δ` is `f(x) - f(baseline)`, or `f(x)`, or the 1 that `lrp` starts from, see
    `Method.complete`; methods that claim nothing are not asked. A complete map may still put its
    evidence anywhere. Costs two forward passes. Source: Sundararajan et al. 2017;
    `completeness-v2`, which asks `lrp` for 1 where the first version asked it for the loss.
    """
    off = np.abs(maps.sum(axis=(-2, -1), dtype=np.float64) - wanted)
    size = np.abs(wanted).astype(np.float64)
    return np.divide(off, size, out=np.full(np.shape(off), np.nan), where=size > 0)
