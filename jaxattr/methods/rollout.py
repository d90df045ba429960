from __future__ import annotations

from jaxattr.gradients import check_start_layer, readout, to_map
from jaxattr.rollout import with_residual
from jaxattr.types import Image, Loss, Map, Model
from jaxattr.vit import forward


def rollout(model: Model, image: Image, loss: Loss, *, start_layer: int = 0) -> Map:
    """Attention rollout as the paper writes it, `Π_l (I + E_h A_l)`, not normalised.

    Equal to Abnar and Zuidema's times `2^(number of layers)`. Does not depend on the loss. Costs
    one forward pass. Source: Cui, Fan, Chen 2026, Eq. 1-3; Abnar and Zuidema 2020.

    Args:
        start_layer: first block to include, from 0; Chefer et al. 2021 evaluate with 1.
    """
    del loss
    check_start_layer(model.config, start_layer)
    _, taps = forward(model, image)
    matrices = with_residual(taps.attention.mean(axis=1))
    row = readout(model.config)
    for layer in reversed(range(start_layer, model.config.layers)):
        row = row @ matrices[layer]
    return to_map(model.config, row)
