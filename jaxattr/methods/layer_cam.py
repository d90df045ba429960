from __future__ import annotations

from typing import Literal

import jax.numpy as jnp

from jaxattr.gradients import arrange
from jaxattr.gradients.sites import channels
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    differentiates="tokens",
    cost=Cost(forward=1, backward=1),
    source="Jiang et al. 2021",
    equals="pytorch-grad-cam",
)
def layer_cam(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    site: Literal["tokens", "attention"] = "tokens",
    layer: int = -1,
) -> Map:
    """Activations weighted by the positive part of their gradient: `Σ_c [∇F]+[c, p] F[c, p]`.

    Signed on tokens, whose activations have a sign: published maps cut off the negative part.
    Costs one forward pass and a backward pass down to the layer. Source: Jiang et al. 2021; on
    attention, an own definition: heads times the last layer's term of GAE.

    Args:
        site: the output of the block's first LayerNorm, or its attention.
        layer: the block, counted from 0, or from the end where negative. Behind the last attention
            the patches of a model that reads its class token have no gradient.
    """
    activation, gradient = channels(model, image, loss, site, layer)
    return arrange(model.config, (jnp.maximum(gradient, 0) * activation).sum(axis=1))
