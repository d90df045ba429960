from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxattr.gradients import check_start_layer, feedback_map
from jaxattr.gradients.sites import integrated_last_gradient
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model, Taps, forward, project_context


@method(
    signed=False,
    differentiates="attention",
    cost=Cost(forward=21, block=20),
    source="Chen et al. 2023",
    equals="transformerinterp",
)
def bi_token(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    start_layer: int = 0,
    steps: int = 20,
    feedback: bool = True,
) -> Map:
    """Rollout with weighted tokens, times the last layer's averaged gradient: `(W ⊙ R)[0]`.

    `R = Π_l (I + E_h A_l diag(r_l))`, `r_l[j] = |V_l[j] W_O| / |z_l[j]|` with z the block's input;
    `W = E_h [mean_α ∇A_L(α x)]+`. Never negative.
    Costs `steps + 1` forward passes and `steps` backward passes of one block. Source: Chen et al.
    2023 (Beyond Intuition, token-wise).

    Args:
        start_layer: first block to include, counted from 0. The authors count from 1: their
            evaluations (7) are 6 here, TIS's (1) is 0.
        steps: points of the mean over α, both ends included.
        feedback: whether to multiply by W; without, the map does not depend on the target.
    """
    check_start_layer(model.config, start_layer)
    _, taps = forward(model, image)
    matrices = taps.attention.mean(axis=1) * _ratios(model, taps)[:, None, :]
    last = integrated_last_gradient(model, image, loss, steps) if feedback else None
    return feedback_map(model.config, matrices[start_layer:], last)


def _ratios(model: Model, taps: Taps) -> Float[Array, "layer token"]:
    """How long each token's projected value is, in lengths of the token; 0 for a token of zeros."""
    c = model.config
    ratios = []
    for layer in range(c.layers):
        projected = project_context(model, layer, taps.value[layer])
        length = jnp.linalg.norm(taps.hidden[layer], axis=-1)
        safe = jnp.where(length == 0, 1, length)
        ratio = jnp.linalg.norm(projected, axis=-1) / safe
        ratios.append(jnp.where(length == 0, jnp.zeros_like(ratio), ratio))
    return jnp.stack(ratios)
