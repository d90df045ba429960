from __future__ import annotations

from jaxattr.gradients import relevance, rollout_row, to_map
from jaxattr.gradients.corrections import CORRECTIONS
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    differentiates="attention",
    cost=Cost(forward=1, backward=1),
    source="ours, after Cui et al.",
    equals="nothing: ours; by hand in float64",
)
def conservative(model: Model, image: Image, loss: Loss, *, start_layer: int = 0) -> Map:
    """Attention weighted by its relevance: `Π_l (I + E_h(∇A_l ⊙ A_l))`, ∇ conservative.

    The complete correction (`complete`) with the derivative taken under `relevance.conservative`:
    attention and LayerNorm's deviation are constants, an activation's derivative is its value
    divided by its input. The plain derivative of a trained network at one point is dominated by
    those of LayerNorm, GELU and softmax, which only tell what an infinitesimal change would do, and
    its sign is right about half of the time; this one carries relevance. Signed: positive patches
    speak for the loss, negative ones against it. Ask with `losses.log_odds`, or a difference of two
    classes: one logit alone also counts what all classes share. Float32 suffices.
    Costs one forward and one backward pass, less than `complete`. The roll-out of corrected
    attention is Cui, Fan, Chen 2026, Eq. 5; the rules are Ali et al. 2022 and Achtibat et al. 2024,
    as in LibraGrad (Mehri et al. 2025), which has GAE, the unsigned roll-out, with them.
    Source: ours; the signed roll-out under these rules.

    Args:
        start_layer: first block to include, counted from 0.
    """
    walk = rollout_row(
        model,
        image,
        loss,
        CORRECTIONS["complete"],
        start_layer=start_layer,
        rules=relevance.conservative(model.config.activation),
    )
    return to_map(model.config, walk.state)
