from __future__ import annotations

import jax.numpy as jnp

from jaxattr.gradients import check_start_layer, read_rows, to_map
from jaxattr.gradients.sites import integrated_last_gradient, last_attention_gradient
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model, forward


@method(
    signed=False,
    differentiates="attention",
    cost=Cost(forward=21, block=20),
    source="Yuan et al. 2021",
    equals="Transition_Attention_Maps",
)
def tam(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    start_layer: int = 0,
    steps: int = 20,
    integral: bool = True,
    first_state: bool = False,
) -> Map:
    """Transition attention maps: a chain from the last layer down, times an averaged gradient.

    `v = E_h A_L[0]`, then `v ← v E_h A_l + v` down to the first block included; the map is
    `v ⊙ E_h [mean_α ∇A_L(α x)]+ [0]`. Never negative.
    Costs `steps + 1` forward passes and `steps` backward passes of one block. Source: Yuan et al.
    2021 (Transition Attention Maps).

    Args:
        start_layer: first block of the chain, counted from 0; the authors evaluate with 4, and
            their generator and TIS's comparison use 0. From the last block on the chain is empty.
        steps: points of the mean over α, both ends included.
        integral: average over α; if not, take the gradient on the image itself.
        first_state: leave out the chain.
    """
    c = model.config
    check_start_layer(c, start_layer)
    attention = forward(model, image)[1].attention.mean(axis=1)
    rows, weights = read_rows(c)
    state = rows @ attention[-1]
    for layer in reversed(range(start_layer, c.layers - 1)):
        if not first_state:
            state = state @ attention[layer] + state
    if integral:
        gradient = integrated_last_gradient(model, image, loss, steps)
    else:
        gradient = last_attention_gradient(model, image, loss)
    feedback = jnp.maximum(gradient, 0).mean(axis=0)[: len(rows)]
    return to_map(c, weights @ (state * feedback))
