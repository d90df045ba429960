from __future__ import annotations

from jaxattr.gradients.sites import image_gradient, per_patch
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    differentiates="pixels",
    cost=Cost(forward=1, backward=1),
    source="Shrikumar et al. 2016",
    equals="captum",
)
def input_x_gradient(model: Model, image: Image, loss: Loss) -> Map:
    """Pixels times their gradient, summed over each patch: `Σ x ∇x`, of the normalised image.

    Signed. Costs one forward and one backward pass. Source: Shrikumar et al. 2016; as in captum.
    """
    return per_patch(model.config, image * image_gradient(model, image, loss))
