from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array

from jaxattr.gradients import attention_gradients, check_start_layer, readout, relevance, to_map
from jaxattr.gradients.corrections import with_residual
from jaxattr.gradients.sites import image_gradient, in_float64, per_patch
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model

READOUTS = ("full", "rollout", "last_layer", "second_layer")


@method(
    differentiates="pixels",
    cost=Cost(forward=1, backward=1),
    source="Chefer et al. 2021",
    equals="Transformer-Explainability",
    complete="one",
    start="derivative",
)
def lrp(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    method: Literal["full", "rollout", "last_layer", "second_layer"] = "full",
    rules: relevance.Variant = "orig",
    start_layer: int = 0,
    gradient_weighted: bool = False,
) -> Map:
    """Relevance by Chefer et al.'s rules, of the pixels or of the attention.

    `"full"` is the relevance of the pixels, signed, summed over each patch; `"rollout"` is
    `Π_l (I + E_h [R^A_l]+)`; `"last_layer"` (partial LRP) is the row of `E_h [R^A_L]+` that is
    read, `"second_layer"` that of block 1. Computed in float64; `relevance.conservation` tells how
    much of the relevance is left in each layer.
    Costs one forward and one backward pass. Source: Chefer et al. 2021; for the rules, Bach et al.
    2015 and Binder et al. 2016.

    Args:
        method: what is read out; the authors' name for it.
        rules: the authors use `"orig"` for `"full"` and `"last_layer"`, `"ours"` for `"rollout"`.
        start_layer: first block of `"rollout"`, counted from 0.
        gradient_weighted: multiply by the gradient of attention before the cut, as the authors'
            ablation does.
    """
    c = model.config
    check_start_layer(c, start_layer)
    if method not in READOUTS or (method == "second_layer" and c.layers < 2):
        raise ValueError(
            f"method is {method!r} for {c.layers} layers; choose from {', '.join(READOUTS)}, the "
            f"last from two layers on."
        )

    def run(model: Model, image: Image, loss: Loss) -> Array:
        chosen = relevance.chefer(c.activation, rules)
        if method == "full":
            return per_patch(c, image_gradient(model, image, loss, rules=chosen))
        carried = attention_gradients(model, image, loss, rules=chosen).gradient
        if gradient_weighted:
            carried = carried * attention_gradients(model, image, loss).gradient
        matrices = jnp.maximum(carried, 0).mean(axis=1)
        row = readout(model.config)
        if method != "rollout":
            return to_map(c, row @ matrices[-1 if method == "last_layer" else 1])
        for matrix in with_residual(matrices[start_layer:])[::-1]:
            row = row @ matrix
        return to_map(c, row)

    return in_float64(run, model, image, loss)
