from __future__ import annotations

import jax.numpy as jnp

from jaxattr.gradients import attention_gradients, check_start_layer, readout, to_map
from jaxattr.gradients.corrections import discard, divide, mean_product, with_residual
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    signed=False,
    differentiates="attention",
    cost=Cost(forward=1, backward=1),
    source="Gildenblat 2020",
    equals="vit-explain (strict)",
)
def gradient_rollout(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    start_layer: int = 0,
    discard_ratio: float = 0.9,
    strict: bool = False,
) -> Map:
    """Rollout of `[E_h(A_l ⊙ ∇A_l)]+`, its smallest entries discarded, rows normalised.

    vit-explain's gradient attention rollout as it is meant. Its code pairs the attention of layer l
    with the gradient of layer L + 1 - l, takes that gradient before the softmax, and divides column
    j by the sum of row j; `strict` does all three, for comparison with numbers made by it. Costs
    one forward and one backward pass. Source: Gildenblat 2020 (vit-explain).

    Args:
        start_layer: first block to include, counted from 0.
        discard_ratio: the share of a layer's entries, the smallest, that is set to zero.
        strict: reproduce the mistakes of the authors' code.
    """
    check_start_layer(model.config, start_layer)
    _, attention, gradient = attention_gradients(model, image, loss)
    if strict:
        weighted = attention * gradient
        gradient = (weighted - attention * weighted.sum(axis=-1, keepdims=True))[::-1]
    matrices = jnp.maximum(mean_product(attention, gradient), 0)
    matrices = with_residual(discard(matrices, discard_ratio, protect_first=False))
    matrices = divide(matrices, by_column=strict)
    row = readout(model.config)
    for layer in reversed(range(start_layer, model.config.layers)):
        row = row @ matrices[layer]
    return to_map(model.config, row)
