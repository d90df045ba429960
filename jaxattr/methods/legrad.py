from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxattr.gradients import to_map
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model, Taps, ViT, apply, apply_block, forward


@method(
    signed=False,
    differentiates="attention",
    cost=Cost(forward=1, backward=1),
    source="Bousselham et al. 2024",
    equals="LeGrad",
)
def legrad(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    layers: int | None = None,
    signed: bool = False,
    cosine: bool = False,
) -> Map:
    """The gradient of each layer's own score with respect to its own attention, summed.

    The score of layer l is the loss of the head on the normalised mean of all its output tokens;
    its gradient, cut at zero, is averaged over heads and all queries: `Σ_l E_h E_i [∂s_l/∂A_l]+`.
    Nothing above a layer is used. The mean over layers, which torch-cam takes, is this divided by
    the number of layers.
    Costs one forward pass and a backward pass of half a block for each layer. Source: Bousselham
    et al. 2024 (LeGrad).

    Args:
        layers: how many layers to use, counted from the end; all by default, as in the paper. The
            authors' code uses 2 if not told otherwise.
        signed: keep the negative part of the gradient as well.
        cosine: take the bias from the logits and scale them to unit length, as the authors' code
            does with the image's embedding for CLIP.
    """
    c = model.config
    count = c.layers if layers is None else layers
    if not 1 <= count <= c.layers:
        raise ValueError(f"layers is {layers}; the model has {c.layers}, choose from 1 to that.")
    hidden = forward(model, image)[1].hidden
    zeros = jnp.zeros((c.heads, c.tokens, c.tokens), c.dtype)
    row = jnp.zeros((c.tokens,), c.dtype)
    for layer in range(c.layers - count, c.layers):

        def score(added: Array, layer: int = layer) -> Array:
            tokens, _ = apply_block(model, layer, hidden[layer], Taps(attention=added))
            # The mean stands for every token, so that it is what the head reads.
            mean = jnp.broadcast_to(tokens.mean(axis=0), tokens.shape)
            features = apply(model, ViT.features, mean)
            logits = apply(model, ViT.classify, features)
            if cosine:
                logits = logits - apply(model, ViT.classify, jnp.zeros_like(features))
                logits = logits / jnp.linalg.norm(logits)
            return loss(logits)

        gradient = jax.grad(score)(zeros)
        row = row + (gradient if signed else jnp.maximum(gradient, 0)).mean(axis=(0, 1))
    return to_map(c, row)
