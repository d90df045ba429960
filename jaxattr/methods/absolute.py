from __future__ import annotations

from jaxattr.gradients import rollout_row, to_map
from jaxattr.gradients.corrections import CORRECTIONS
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    signed=False,
    differentiates="attention",
    cost=Cost(forward=1, backward=1),
    source="Cui, Fan, Chen 2026, Eq. 6",
    equals="the paper's equations in float64",
    shows="for or against {}",
)
def absolute(model: Model, image: Image, loss: Loss, *, start_layer: int = 0) -> Map:
    """Attention weighted by the magnitude of its gradient: `Π_l (I + E_h(|∇A_l| ⊙ A_l))`.

    Shows where attention acts at all and hardly depends on the class (paper, section 4.3).
    Costs one forward and one backward pass. Source: Cui, Fan, Chen 2026, Eq. 6.

    Args:
        start_layer: first block to include, counted from 0; the paper includes all.
    """
    correct = CORRECTIONS["absolute"]
    walk = rollout_row(model, image, loss, correct, start_layer=start_layer)
    return to_map(model.config, walk.state)
