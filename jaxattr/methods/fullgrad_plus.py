from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxattr.gradients import relevance, to_map
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model, Rules, Taps, ViTConfig, forward, nonlinear


@method(
    differentiates="hidden",
    cost=Cost(forward=1, backward=1),
    source="Mehri et al. 2025",
    equals="nothing: own reading; by hand in float64",
)
def fullgrad_plus(model: Model, image: Image, loss: Loss) -> Map:
    """What each block's tokens and all biases contribute, summed over blocks (LibraGrad FullGrad+).

    `Σ_l x_l · ∇x_l + Σ_b b · ∇b`, one number for each token: a bias counts at the token that it is
    added to. The derivative is taken with the attention, the deviation of LayerNorm and the gates
    of the activation held constant (`relevance.cp_lrp`), so that any one block's tokens and the
    biases behind it sum to the loss, where this is linear in the logits. Signed, and linear in such
    a loss. Costs one forward and one backward pass. Source: Mehri et al. 2025 (LibraGrad), Eq. of
    FullGrad+; read from the paper, not compared with its code: what belongs to no patch, the biases
    of the head and those at prefix tokens, is left out here, and features are summed.
    """
    c = model.config

    def run(added: Array, scale: Array) -> tuple[Array, Array]:
        rules = _scaled_biases(c, scale)
        logits, taps = forward(model, image, add=Taps(hidden=added), rules=rules)
        return loss(logits), taps.hidden

    zeros = jnp.zeros((c.layers, c.tokens, c.hidden_size), c.dtype)
    ones = jnp.ones((c.tokens,), c.dtype)
    (gradient, biases), hidden = jax.grad(run, argnums=(0, 1), has_aux=True)(zeros, ones)
    return to_map(c, (hidden * gradient).sum(axis=(0, 2)) + biases)


def _scaled_biases(config: ViTConfig, scale: Array) -> Rules:
    """Biases times a number for each token, whose derivative at 1 is what its biases contribute."""
    patches = config.tokens - config.prefix_tokens

    def scaled(bias: Array, rows: int) -> Array:
        if rows == config.tokens:
            return scale[:, None] * bias
        if rows == patches and config.pooling == "mean":  # the last norm
            return scale[config.prefix_tokens :, None] * bias
        return bias

    def dense(name: str, x: Array, kernel: Array, bias: Array | None) -> Array:
        if bias is None or name == "patch":  # behind the patches' bias the blocks begin
            return nonlinear.dense(name, x, kernel, bias)
        return x @ kernel + scaled(bias, x.shape[0] if x.ndim > 1 else 0)

    def affine(normalized: Array, scale: Array, bias: Array) -> Array:
        return normalized * scale + scaled(bias, normalized.shape[0])

    rules = relevance.cp_lrp(config.activation, None, None)
    return dataclasses.replace(rules, dense=dense, affine=affine)
