from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxattr.plot import heatmap

THRESHOLDS = np.linspace(-1, 0.98, 100)
"""Of maps scaled to `max|S| = 1`; the overlap at the best of them is one of the measures."""


def overlap(
    maps: Float[np.ndarray, "*batch row column"],
    region: Float[np.ndarray, "*batch row column"],
    thresholds: Float[np.ndarray, " threshold"] = THRESHOLDS,
) -> Float[np.ndarray, "*batch threshold"]:
    """Intersection over union of `S / max|S| > threshold` and the region, in pixels.

    With the map enlarged without smoothing the intersection is `Σ w` over the patches above the
    threshold, and the union their number plus `Σ w` over the others.
    """
    scaled = heatmap.scale(maps)[..., None]
    above = (scaled > thresholds.astype(np.float32)).astype(np.float64)
    shared = (above * region[..., None]).sum(axis=(-3, -2))
    united = above.sum(axis=(-3, -2)) + region.sum(axis=(-2, -1))[..., None] - shared
    return np.divide(shared, united, out=np.zeros_like(shared), where=united > 0)
