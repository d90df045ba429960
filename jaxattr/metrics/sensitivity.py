from __future__ import annotations

import numpy as np
from jaxtyping import Float

RADIUS, DRAWS = 0.02, 10
"""Of the uniform noise on the normalised image, and how often it is drawn."""


def max_sensitivity(
    maps: Float[np.ndarray, "*batch row column"],
    shaken: Float[np.ndarray, "draw *batch row column"],
) -> Float[np.ndarray, "*batch"]:
    """`max over draws of ‖S(x + δ) - S(x)‖ / ‖S(x)‖`, norms over patches; NaN for zero maps.

    `δ` is uniform within `±RADIUS` of each normalised pixel; lower is steadier. A map that ignores
    the image has 0. Costs as many maps as draws. Source: Yeh et al. 2019; `sensitivity-v1`.
    """
    whole = maps.astype(np.float64)
    distance = np.sqrt(((shaken - whole) ** 2).sum(axis=(-2, -1))).max(axis=0)
    norm = np.sqrt((whole**2).sum(axis=(-2, -1)))
    return np.divide(distance, norm, out=np.full(np.shape(norm), np.nan), where=norm > 0)
