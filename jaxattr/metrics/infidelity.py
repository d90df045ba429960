from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxattr.metrics.context import Case, Context, at_once
from jaxattr.metrics.metric import metric
from jaxattr.metrics.perturbation import mask_sets
from jaxattr.vit import Image, Loss, Map, Model

DRAWS = 64
SHARE = 0.1


def infidelity(
    model: Model,
    image: Image,
    map_: Map,
    loss: Loss,
    key: PRNGKeyArray,
    *,
    draws: int = DRAWS,
    share: float = SHARE,
    fill: str = "mean",
    chunk_size: int | None = None,
) -> Float[Array, ""]:
    """How badly sums of the map predict what the loss loses when those patches are masked.

    Each draw masks every patch with the chance `share`; see `mismatch`, at the best scale. 0: the
    map predicts every change; 1: no better than predicting none.
    Costs `draws + 1` forward passes. Source: Yeh et al. 2019, with masks for `I` and the map as
    contributions; `infidelity-v1`.
    """
    drawn = jax.random.bernoulli(key, share, (draws, map_.size))
    masked = jnp.concatenate([jnp.zeros_like(drawn[:1]), drawn])
    logits = mask_sets(model, image, masked, fill, chunk_size=chunk_size)
    values = jax.vmap(loss)(logits)
    predicted = masked.astype(values.dtype) @ map_.reshape(-1).astype(values.dtype)
    return mismatch(predicted[1:], values[0] - values[1:])


def mismatch(
    predicted: Float[Array, " draw"], change: Float[Array, " draw"], *, scaled: bool = True
) -> Float[Array, ""]:
    """`Σ (β I·Φ - Δ)² / Σ Δ²`, with the best `β >= 0`; not scaled: `mean (I·Φ - Δ)²`, as published.

    `predicted` is `I·Φ`, `change` is `Δ = f(x) - f(x - I)`. Maps of different methods have no
    common scale, so only the scaled one compares them. 1 for a map of zeros; NaN where nothing
    changes.
    """
    if not scaled:
        return ((predicted - change) ** 2).mean()
    power = predicted @ predicted
    scale = jnp.maximum(predicted @ change, 0) / jnp.where(power > 0, power, 1)
    rest = scale * predicted - change
    return (rest @ rest) / (change @ change)


@metric(
    id="infidelity-v1",
    heading="faithfulness",
    definition="share of the logit's changes under random masks that sums of the map, best scaled, "
    "do not predict",
    better="lower",
    cost="65F",
    source="Yeh et al. 2019",
    blind="maps without a scale, such as attention, from wrong ones",
)
def score_infidelity(context: Context) -> np.ndarray:
    """`infidelity` of every image."""
    return context.each(_of_case)


def _of_case(model: Model, case: Case) -> Array:
    return infidelity(model, case.image, case.map, case.loss, case.key, chunk_size=at_once())
