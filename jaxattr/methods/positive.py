from __future__ import annotations

from jaxattr.gradients import rollout_row, to_map
from jaxattr.rollout import CORRECTIONS
from jaxattr.types import Image, Loss, Map, Model


def positive(model: Model, image: Image, loss: Loss, *, start_layer: int = 0) -> Map:
    """Attention weighted by the positive part of its gradient: `Π_l (I + E_h([∇A_l]+ ⊙ A_l))`.

    Equal to GAE (Chefer et al. 2021, Generic Attention-model Explainability): never negative, so it
    shows what speaks for the loss and also paints what speaks against it.
    Costs one forward and one backward pass. Source: Cui, Fan, Chen 2026, Eq. 4.

    Args:
        start_layer: first block to include, counted from 0; the paper includes all.
    """
    correct = CORRECTIONS["positive"]
    walk = rollout_row(model, image, loss, correct, start_layer=start_layer)
    return to_map(model.config, walk.state)
