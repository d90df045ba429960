from __future__ import annotations

from jaxtyping import Array

from jaxattr.gradients import relevance
from jaxattr.gradients.sites import image_gradient, in_float64, per_patch
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    differentiates="pixels",
    cost=Cost(forward=1, backward=1),
    source="Berend et al. 2026",
    equals="nothing; its rules by hand in float64",
    complete="output",
    start="product",
)
def res_lrp(model: Model, image: Image, loss: Loss, *, gamma: float = 1.0) -> Map:
    """Pixels times their derivative under the rules of ResLRP, summed over each patch.

    AttnLRP, but where a skip connection and its branch nearly cancel, the larger one takes more of
    the relevance (`relevance.res_lrp`), so that it does not grow from block to block. Signed. Not
    conserved: biases, prefix tokens, positions and the softmax absorb some. Computed in float64.
    Costs one forward and one backward pass. Source: Berend et al. 2026 (ResLRP): the residual rule;
    that the sum of tokens and positions is no residual, and that no other layer has a gamma, is our
    reading.

    Args:
        gamma: of the residual rule; 0 is `attn_lrp`.
    """

    def run(model: Model, image: Image, loss: Loss) -> Array:
        rules = relevance.res_lrp(model.config.activation, gamma)
        pixels = image * image_gradient(model, image, loss, rules=rules)
        return per_patch(model.config, pixels)

    return in_float64(run, model, image, loss)
