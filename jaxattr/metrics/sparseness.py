from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxattr.metrics.context import Context
from jaxattr.metrics.metric import metric

Maps = Float[np.ndarray, "*batch row column"]


def sparseness(maps: Maps) -> Float[np.ndarray, "*batch"]:
    """Gini's index of `|S|`: `Σ_k (2k - n - 1) a_k / (n Σ a)`, `a` ascending; NaN for zero maps.

    From 0, where all n patches have the same, to `1 - 1/n`, where one has all. It asks nothing of
    the model. Source: Chalasani et al. 2020; `sparseness-v1`.
    """
    flat = np.sort(np.abs(maps).reshape(*maps.shape[:-2], -1).astype(np.float64), axis=-1)
    count = flat.shape[-1]
    places = 2 * np.arange(1, count + 1) - count - 1
    total = flat.sum(axis=-1)
    result = np.full(np.shape(total), np.nan)
    return np.divide(flat @ places, count * total, out=result, where=total > 0)


@metric(
    id="sparseness-v1",
    heading="complexity",
    definition="Gini's index of |S|",
    better="higher",
    cost="0",
    source="Chalasani et al. 2020",
    blind="anything about the model",
    cheap=True,
)
def score_sparseness(context: Context) -> np.ndarray:
    """`sparseness` of every image."""
    return sparseness(context.maps)
