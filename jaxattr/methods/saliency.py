from __future__ import annotations

import jax.numpy as jnp

from jaxattr.gradients.sites import image_gradient, per_patch
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    signed=False,
    differentiates="pixels",
    cost=Cost(forward=1, backward=1),
    source="Simonyan et al. 2013",
    equals="captum",
    shows="for or against {}",
)
def saliency(model: Model, image: Image, loss: Loss, *, absolute: bool = True) -> Map:
    """The magnitude of the pixels' gradient, summed over each patch: `Σ |∇x|`.

    Costs one forward and one backward pass. Source: Simonyan et al. 2013; as in captum.

    Args:
        absolute: take the magnitude before the sum; without, the map is signed.
    """
    gradient = image_gradient(model, image, loss)
    return per_patch(model.config, jnp.abs(gradient) if absolute else gradient)
