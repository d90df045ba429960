from __future__ import annotations

from jaxtyping import Array

from jaxattr.gradients import relevance
from jaxattr.gradients.sites import image_gradient, in_float64, per_patch
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    differentiates="pixels",
    cost=Cost(forward=1, backward=1),
    source="Achtibat et al. 2024",
    equals="LRP-eXplains-Transformers",
    complete="output",
    start="product",
)
def attn_lrp(model: Model, image: Image, loss: Loss) -> Map:
    """Pixels times their derivative under the rules of AttnLRP, summed over each patch.

    Products share relevance evenly, the deviation of LayerNorm is a constant, an activation's
    derivative is its value divided by its input (`relevance.attn_lrp`). Signed. Not conserved:
    biases, prefix tokens, positions and the softmax absorb some. Computed in float64.
    Costs one forward and one backward pass. Source: Achtibat et al. 2024 (AttnLRP).
    """

    def run(model: Model, image: Image, loss: Loss) -> Array:
        rules = relevance.attn_lrp(model.config.activation)
        pixels = image * image_gradient(model, image, loss, rules=rules)
        return per_patch(model.config, pixels)

    return in_float64(run, model, image, loss)
