from __future__ import annotations

from jaxattr.gradients import rollout_row, to_map
from jaxattr.gradients.corrections import CORRECTIONS
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    differentiates="attention",
    cost=Cost(forward=1, backward=1),
    source="Cui, Fan, Chen 2026, Eq. 5",
    equals="the paper's equations in float64",
)
def complete(model: Model, image: Image, loss: Loss, *, start_layer: int = 0) -> Map:
    """Attention weighted by its whole gradient, signs kept: `Π_l (I + E_h(∇A_l ⊙ A_l))`.

    Signed: positive patches raise the loss, negative ones lower it. Clear where something guides
    the attention away from the target: a second object, or a loss that is a difference of two
    classes; with one logit on a single-object image its negative part is hard to read (paper,
    section 4.4).
    Costs one forward and one backward pass. Source: Cui, Fan, Chen 2026, Eq. 5.

    Args:
        start_layer: first block to include, counted from 0; the paper includes all.
    """
    correct = CORRECTIONS["complete"]
    walk = rollout_row(model, image, loss, correct, start_layer=start_layer)
    return to_map(model.config, walk.state)
