from __future__ import annotations

from typing import Literal

from jaxattr.gradients import arrange
from jaxattr.gradients.sites import channels
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    differentiates="tokens",
    cost=Cost(forward=1, backward=1),
    source="Selvaraju et al. 2017",
    equals="pytorch-grad-cam; Transformer-Explainability",
)
def grad_cam(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    site: Literal["tokens", "attention"] = "tokens",
    layer: int = -1,
) -> Map:
    """Channels weighted by their mean gradient: `Σ_c mean_p(∇F)[c] F[c, p]`.

    Signed: published maps cut off the negative part and scale to 0..1. On attention the channels
    are the heads, and their mean is taken (Chefer et al.'s baseline).
    Costs one forward pass and a backward pass down to the layer. Source: Selvaraju et al. 2017; on
    tokens as in pytorch-grad-cam, on attention as in Chefer et al. 2021.

    Args:
        site: the output of the block's first LayerNorm, or its attention.
        layer: the block, counted from 0, or from the end where negative. Behind the last attention
            the patches of a model that reads its class token have no gradient.
    """
    activation, gradient = channels(model, image, loss, site, layer)
    weighted = activation @ gradient.mean(axis=0)
    return arrange(model.config, weighted / model.config.heads if site == "attention" else weighted)
