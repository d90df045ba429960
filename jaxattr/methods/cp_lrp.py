from __future__ import annotations

from jaxtyping import Array

from jaxattr.gradients import relevance
from jaxattr.gradients.sites import image_gradient, in_float64, per_patch
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    differentiates="pixels",
    cost=Cost(forward=1, backward=1),
    source="Ali et al. 2022",
    equals="LRP-eXplains-Transformers; zennit",
    complete="output",
    start="product",
)
def cp_lrp(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    gamma_conv: float | None = None,
    gamma_linear: float | None = None,
) -> Map:
    """Pixels times their derivative with the attention held constant, summed over each patch.

    LayerNorm and activation as in AttnLRP (`relevance.cp_lrp`). Signed. Without biases, prefix
    tokens and positions it is conserved exactly; with them, these absorb some. Computed in float64.
    Costs one forward and one backward pass. Source: Ali et al. 2022 (conservative propagation);
    with gammas as in Achtibat et al. 2024, who ship 0.25 and 0.05 for Vision Transformers and
    advise to choose them again for each model.

    Args:
        gamma_conv: gamma of the patches' kernel; `None` is the ordinary derivative.
        gamma_linear: gamma of MLP and head.
    """

    def run(model: Model, image: Image, loss: Loss) -> Array:
        rules = relevance.cp_lrp(model.config.activation, gamma_conv, gamma_linear)
        pixels = image * image_gradient(model, image, loss, rules=rules)
        return per_patch(model.config, pixels)

    return in_float64(run, model, image, loss)
