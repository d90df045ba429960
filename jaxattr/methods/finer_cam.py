from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxattr.methods.grad_cam import grad_cam
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Logits, Loss, Map, Model


@method(
    differentiates="tokens",
    cost=Cost(forward=1, backward=1),
    source="Zhang et al. 2025",
    equals="nothing; its loss: the published formula",
)
def finer_cam(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    alpha: float = 1.0,
    comparisons: tuple[int, ...] = (1, 2, 3),
    site: Literal["tokens", "attention"] = "tokens",
    layer: int = -1,
) -> Map:
    """Grad-CAM of the loss against the classes whose logits are nearest to it.

    `Σ_r p_r (loss - α l_r) / Σ_r p_r`, r by the distance of its logit from the loss, p the softmax
    probabilities, which are differentiated too. Signed: published maps cut off the negative part.
    With `target_logit` this is the published method; classes that the loss names itself are at
    distance 0 and come first.
    Costs one forward pass and a backward pass down to the layer. Source: Zhang et al. 2025
    (Finer-CAM); as in pytorch-grad-cam.

    Args:
        alpha: how strongly the other classes are held against the loss; 0 is Grad-CAM.
        comparisons: ranks of the classes compared with, 0 being the nearest: the target itself.
            Ranks that the model does not have are left out.
        site: as in `grad_cam`.
        layer: as in `grad_cam`.
    """
    ranks = tuple(rank for rank in comparisons if 0 <= rank < model.config.classes)
    if not ranks:
        raise ValueError(
            f"comparisons are {comparisons}, the model has {model.config.classes} classes; give "
            f"ranks from 0 to {model.config.classes - 1}."
        )

    def against(logits: Logits) -> Array:
        value = loss(logits)
        near = jnp.argsort(jnp.abs(logits - value))[jnp.array(ranks)]
        weights = jax.nn.softmax(logits)[near]
        return (weights * (value - alpha * logits[near])).sum() / (weights.sum() + 1e-9)

    return grad_cam(model, image, against, site=site, layer=layer)
