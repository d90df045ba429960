from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxattr.metrics.context import Context
from jaxattr.metrics.metric import metric

Maps = Float[np.ndarray, "*batch row column"]


def complexity(maps: Maps) -> Float[np.ndarray, "*batch"]:
    """Entropy in nats of the shares `p = |S| / Σ|S|`: `-Σ p ln p`; NaN for zero maps.

    From 0, where one patch has all, to `ln n`, where all n have the same. It asks nothing of the
    model. Source: Bhatt et al. 2020; `complexity-v1`.
    """
    flat = np.abs(maps).reshape(*maps.shape[:-2], -1).astype(np.float64)
    total = flat.sum(axis=-1, keepdims=True)
    share = np.divide(flat, total, out=np.ones_like(flat), where=total > 0)
    entropy = -(share * np.log(share, out=np.zeros_like(share), where=share > 0)).sum(axis=-1)
    return np.where(total[..., 0] > 0, entropy, np.nan)


@metric(
    id="complexity-v1",
    heading="complexity",
    definition="entropy of the shares of |S|, in nats",
    better="lower",
    cost="0",
    source="Bhatt et al. 2020",
    blind="anything about the model",
    cheap=True,
)
def score_complexity(context: Context) -> np.ndarray:
    """`complexity` of every image."""
    return complexity(context.maps)
