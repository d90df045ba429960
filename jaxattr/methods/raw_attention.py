from __future__ import annotations

from jaxattr.gradients import readout, to_map
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model, forward


@method(
    signed=False,
    target_dependent=False,
    differentiates="nothing",
    cost=Cost(forward=1),
    source="Vaswani et al. 2017",
    equals="Transformer-Explainability",
)
def raw_attention(model: Model, image: Image, loss: Loss) -> Map:
    """What the head's token attends to in the last layer: `E_h A_L[0, patches]`.

    Does not depend on the loss. Costs one forward pass. Source: Vaswani et al. 2017; for the
    Vision Transformer as in Chefer et al. 2021 (raw attention baseline).
    """
    del loss
    _, taps = forward(model, image)
    return to_map(model.config, readout(model.config) @ taps.attention[-1].mean(axis=0))
