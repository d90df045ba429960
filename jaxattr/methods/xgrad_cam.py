from __future__ import annotations

from typing import Literal

from jaxattr.gradients import arrange
from jaxattr.gradients.sites import channels
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    differentiates="tokens",
    cost=Cost(forward=1, backward=1),
    source="Fu et al. 2020",
    equals="pytorch-grad-cam",
)
def xgrad_cam(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    site: Literal["tokens", "attention"] = "tokens",
    layer: int = -1,
) -> Map:
    """Channels weighted by `w_c = Σ_p ∇F[c, p] F[c, p] / (Σ_p F[c, p] + 1e-7)`.

    The map is `Σ_c w_c F[c, p]`, signed: published maps cut off the negative part. Badly
    conditioned on tokens, where the sum of a channel passes through zero: float32 differs between
    implementations in the third digit.
    Costs one forward pass and a backward pass down to the layer. Source: Fu et al. 2020; on tokens
    as in pytorch-grad-cam.

    Args:
        site: the output of the block's first LayerNorm, or its attention.
        layer: the block, counted from 0, or from the end where negative. Behind the last attention
            the patches of a model that reads its class token have no gradient.
    """
    activation, gradient = channels(model, image, loss, site, layer)
    weights = (gradient * activation).sum(axis=0) / (activation.sum(axis=0) + 1e-7)
    return arrange(model.config, activation @ weights)
