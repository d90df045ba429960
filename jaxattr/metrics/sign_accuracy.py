from __future__ import annotations

import numpy as np
from jaxtyping import Float

Maps = Float[np.ndarray, "*batch row column"]


def sign_accuracy(
    maps: Maps, target: Maps, rival: Maps | None = None
) -> Float[np.ndarray, "*batch"]:
    """1 where the map's sum is positive over the target and negative over the rival, else 0.

    Patches count by the share of them that each region covers. Without a rival only the target's
    sign is asked for.
    """
    right = (maps * target).sum(axis=(-2, -1)) > 0
    if rival is not None:
        right &= (maps * rival).sum(axis=(-2, -1)) < 0
    return np.asarray(right, np.float64)
