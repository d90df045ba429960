from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxattr.gradients import attention_gradients, check_start_layer, feedback_map
from jaxattr.gradients.sites import integrated_last_gradient
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    signed=False,
    differentiates="attention",
    cost=Cost(forward=21, backward=1, block=20),
    source="Chen et al. 2023",
    equals="transformerinterp",
)
def bi_head(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    start_layer: int = 0,
    steps: int = 20,
    feedback: bool = True,
) -> Map:
    """Rollout with weighted heads, times the last layer's averaged gradient: `(W ⊙ R)[0]`.

    `R = Π_l (I + Σ_h w_h A_l[h])`, `w_h` the mean magnitude of `A_l[h]ᵀ ∇A_l[h]`, scaled to sum 1;
    `W = E_h [mean_α ∇A_L(α x)]+`. Never negative.
    Costs `steps + 1` forward passes, one backward pass, and `steps` of one block. Source: Chen et
    al. 2023 (Beyond Intuition, head-wise).

    Args:
        start_layer: first block to include, counted from 0. The authors count from 1: their
            evaluations (4) are 3 here, TIS's (1) is 0.
        steps: points of the mean over α, both ends included.
        feedback: whether to multiply by W; without, the target matters through `w_h` only.
    """
    check_start_layer(model.config, start_layer)
    _, attention, gradient = attention_gradients(model, image, loss)
    weights = _head_weights(attention, gradient)
    matrices = jnp.einsum("lh,lhqk->lqk", weights, attention)[start_layer:]
    last = integrated_last_gradient(model, image, loss, steps) if feedback else None
    return feedback_map(model.config, matrices, last)


def _head_weights(
    attention: Float[Array, "layer head token token"],
    gradient: Float[Array, "layer head token token"],
) -> Float[Array, "layer head"]:
    """Shares of the heads in each layer; zeros where no head has a gradient."""
    weights = jnp.abs(jnp.einsum("lhqi,lhqj->lhij", attention, gradient)).mean(axis=(2, 3))
    sums = weights.sum(axis=1, keepdims=True)
    return weights / jnp.where(sums == 0, 1, sums)
