from __future__ import annotations

from typing import Literal

from jaxattr.gradients.sites import integrated_image_gradient, per_patch
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    differentiates="pixels",
    cost=Cost(forward=50, backward=50),
    source="Sundararajan et al. 2017",
    equals="captum",
    complete="change",
)
def integrated_gradients(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    steps: int = 50,
    quadrature: Literal["gauss_legendre", "trapezoid"] = "gauss_legendre",
    baseline: float = 0.0,
) -> Map:
    """The pixels' gradient integrated from a baseline: `Σ (x - b) ∫ ∇x(b + α (x - b)) dα`.

    Signed, summed over each patch. In exact arithmetic it sums to the loss's change from baseline
    to image; how far it is from that shows whether the steps suffice.
    Costs 50 forward and backward passes by default. Source: Sundararajan et al. 2017; as in captum.

    Args:
        steps: nodes of the quadrature.
        quadrature: captum's default, or its trapezoid rule, whose weights `1 / steps`, half at
            both ends, sum to less than 1.
        baseline: value of all pixels where the path starts, in the normalised image: 0 is the mean
            colour.
    """
    gradient = integrated_image_gradient(model, image, loss, steps, quadrature, baseline)
    return per_patch(model.config, (image - baseline) * gradient)
