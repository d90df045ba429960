from __future__ import annotations

import numpy as np
from jaxtyping import Float


def positive_to_negative(
    maps: Float[np.ndarray, "*batch row column"],
) -> Float[np.ndarray, "*batch"]:
    """How much of a signed map supports: `PNR = Σ [S]+ / Σ [-S]+`; infinite without negative ones.

    1 where both are balanced, NaN for zero maps. A number about an image and its map, in which
    neither more nor less is better, so it is no row of `METRICS`. The ratio of sums is our reading
    of the name. Source: Su and Luo 2026 (BiCAM), who find adversarial examples by it.
    """
    wide = maps.astype(np.float64)
    positive = np.maximum(wide, 0).sum(axis=(-2, -1))
    negative = np.maximum(-wide, 0).sum(axis=(-2, -1))
    empty = np.where(positive > 0, np.inf, np.nan)
    return np.divide(positive, negative, out=empty, where=negative > 0)
