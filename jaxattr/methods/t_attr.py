from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from jaxattr.gradients import attention_gradients, check_start_layer, readout, relevance, to_map
from jaxattr.gradients.corrections import divide, with_residual
from jaxattr.gradients.sites import in_float64
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    signed=False,
    differentiates="attention",
    cost=Cost(forward=1, backward=2),
    source="Chefer et al. 2021",
    equals="Transformer-Explainability; Transition_Attention_Maps",
)
def t_attr(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    start_layer: int = 0,
    row_normalize: bool = False,
    strict: bool = False,
) -> Map:
    """Rollout of relevance times gradient: `Π_l (I + E_h [∇A_l ⊙ R^A_l]+)`.

    `R^A` is the relevance of the attention under the rules `relevance.chefer(..., "ours")`. Never
    negative. Computed in float64, because in float32 single maps are off by up to 300 %.
    Costs one forward and two backward passes. Source: Chefer et al. 2021 (Transformer
    Interpretability Beyond Attention Visualization).

    Args:
        start_layer: first block to include, counted from 0; every evaluation of the authors uses 1.
        row_normalize: divide each row by its sum, as TAM's copy does.
        strict: TAM's other copy, which no script of theirs uses: cut after the mean over heads,
            scale each layer to 0..1, add no identity, and multiply from the first layer on.
    """
    check_start_layer(model.config, start_layer)

    def run(model: Model, image: Image, loss: Loss) -> Array:
        rules = relevance.chefer(model.config.activation, "ours")
        gradient = attention_gradients(model, image, loss).gradient
        carried = attention_gradients(model, image, loss, rules=rules).gradient
        weighted = (gradient * carried)[start_layer:]
        if strict:
            matrices = _scaled(jnp.maximum(weighted.mean(axis=1), 0))
        else:
            matrices = with_residual(jnp.maximum(weighted, 0).mean(axis=1))[::-1]
        if row_normalize:
            matrices = divide(matrices)
        row = readout(model.config)
        for matrix in matrices:
            row = row @ matrix
        return to_map(model.config, row)

    return in_float64(run, model, image, loss)


def _scaled(matrices: Array) -> Array:
    low, high = (reduce(matrices, axis=(1, 2), keepdims=True) for reduce in (jnp.min, jnp.max))
    return (matrices - low) / jnp.where(high > low, high - low, 1)
