from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxattr.gradients import check_start_layer, to_map
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model, Taps, forward


@method(
    differentiates="context",
    cost=Cost(forward=1, backward=1),
    source="Su and Luo 2026",
    equals="nothing: own reading",
)
def bi_cam(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    start_layer: int | None = None,
    temperature: float = 1.0,
) -> Map:
    """Attention, value and gradient of the later layers, summed with their signs.

    `Σ_l Σ_h softmax(q K^T / (τ √d))[j] · (g · v_j)`: the query q of the token that is read, and the
    gradient g of the loss at its context. Signed; `metrics.positive_to_negative` is the ratio of
    both signs (PNR). Public summaries of the paper say that it joins signed attention, value and
    gradient, of the last two thirds of the layers, with a temperature-scaled softmax, and sums the
    layers' masks without a ReLU. How the three are joined, whose attention is meant, and the
    temperature are our own reading: with a temperature of 1 it is attention times its gradient,
    which no other normalisation is. Not to be compared with published numbers.
    Costs one forward and one backward pass. Source: Su and Luo 2026 (BiCAM).

    Args:
        start_layer: first block to include, counted from 0; by default a third of all are left out.
        temperature: τ of the softmax; above 1 attention is spread more evenly.
    """
    c = model.config
    start = c.layers // 3 if start_layer is None else start_layer
    check_start_layer(c, start)
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; give a number above 0.")

    def run(added: Array) -> tuple[Array, Taps]:
        logits, taps = forward(model, image, add=Taps(context=added))
        return loss(logits), taps

    size = c.hidden_size // c.heads
    zeros = jnp.zeros((c.layers, c.heads, c.tokens, size), c.dtype)
    gradient, taps = jax.grad(run, has_aux=True)(zeros)
    # Models that read the mean of the patches are asked for all queries: the gradient weighs them.
    read = slice(0, 1 if c.pooling == "class_token" else None)
    scores = jnp.einsum("lhqd,lhkd->lhqk", taps.query[start:, :, read], taps.key[start:])
    attention = jax.nn.softmax(scores * (size**-0.5 / temperature))
    joined = jnp.einsum("lhqd,lhkd->lhqk", gradient[start:, :, read], taps.value[start:])
    return to_map(c, jnp.einsum("lhqk,lhqk->k", attention, joined))
