from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

Maps = Float[np.ndarray, "*batch row column"]
Scores = Float[np.ndarray, "*batch"]


def positive_share(maps: Maps, region: Maps) -> Scores:
    """Positive evidence inside a region over all of it: `Σ S⁺ w / Σ S⁺`; NaN without any.

    `w` is the share of a patch that the region covers.
    """
    return _share(np.maximum(maps, 0), region)


def negative_share(maps: Maps, region: Maps) -> Scores:
    """Negative evidence inside a region over all of it: `Σ S⁻ w / Σ S⁻`; NaN without any."""
    return _share(np.maximum(-maps, 0), region)


def absolute_share(maps: Maps, region: Maps) -> Scores:
    """Evidence of either sign inside a region over all of it: `Σ |S| w / Σ |S|`."""
    return _share(np.abs(maps), region)


def _share(evidence: Any, region: Maps) -> Any:
    total = evidence.sum(axis=(-2, -1), dtype=np.float64)
    inside = (evidence * region).sum(axis=(-2, -1), dtype=np.float64)
    return np.divide(inside, total, out=np.full(np.shape(total), np.nan), where=total > 0)
