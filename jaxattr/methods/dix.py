from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxattr.gradients import readout, to_map
from jaxattr.gradients.corrections import divide, with_residual
from jaxattr.gradients.sites import at_layer
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model, Taps, forward


@method(
    signed=False,
    differentiates="attention",
    cost=Cost(forward=23, backward=22),
    source="Barkan et al. 2023",
    equals="dix (strict)",
)
def dix(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    steps: int = 10,
    layers: tuple[int, ...] | None = None,
    strict: bool = False,
) -> Map:
    """Rollout of attention times gradient, averaged while one layer's attention is faded in.

    For each chosen layer, its attention is replaced by `s / steps` of itself, `s = 0..steps`;
    `C_l = E_h mean_s [A_l ⊙ ∇A_l]+` with the attention present in that run, rows of `I + C_l`
    divided by their sum, then rollout; the results of the chosen layers are added. Never negative.
    Costs one forward pass, and for each chosen layer `steps + 1` forward and backward passes: 22
    of both by default. Source: Barkan et al. 2023 (Deep Integrated Explanations).

    Args:
        steps: 10 as published; the segmentation scripts use 5.
        layers: chosen layers, counted from the last, which is 1; by default 1 and 2, or what of
            these the model has.
        strict: fade in the last layer's attention whatever layer is chosen, as the authors' code
            does by mistake.
    """
    c = model.config
    chosen = (1, 2)[: c.layers] if layers is None else layers
    if steps < 1 or not chosen or not all(1 <= layer <= c.layers for layer in chosen):
        raise ValueError(
            f"layers is {chosen}, steps is {steps}; give layers from 1 (the last) to {c.layers} "
            f"and at least 1 step."
        )
    clean = forward(model, image)[1].attention
    row = jnp.zeros((c.tokens,), c.dtype)
    for layer in chosen:
        faded = clean[-1] if strict else clean[-layer]
        row = row + _faded_rollout(model, image, loss, -layer, faded, steps)
    return to_map(c, row)


def _faded_rollout(
    model: Model, image: Image, loss: Loss, layer: int, faded: Array, steps: int
) -> Array:
    c = model.config
    zeros = jnp.zeros((c.layers, c.heads, c.tokens, c.tokens), c.dtype)

    def add(total: Array, scale: Array) -> tuple[Array, None]:
        replaced = at_layer(c, layer, attention=scale * faded)

        def run(added: Array) -> tuple[Array, Array]:
            logits, taps = forward(model, image, add=Taps(attention=added), replace=replaced)
            return loss(logits), taps.attention

        gradient, attention = jax.grad(run, has_aux=True)(zeros)
        return total + jnp.maximum(attention * gradient, 0).mean(axis=1), None

    scales = jnp.linspace(0, 1, steps + 1, dtype=c.dtype)
    total, _ = lax.scan(add, jnp.zeros((c.layers, c.tokens, c.tokens), c.dtype), scales)
    row = readout(c)
    for matrix in divide(with_residual(total * (1 / (steps + 1))))[::-1]:
        row = row @ matrix
    return row
