from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array

from jaxattr.gradients import Layer, readout, rollout_row, to_map, walk_back
from jaxattr.gradients.corrections import CORRECTIONS, mean_product
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model


@method(
    signed=False,
    differentiates="attention",
    cost=Cost(forward=1, backward=1),
    source="Cui, Fan, Chen 2026, Eq. 4 (GAE)",
    equals="Transformer-MM-Explainability; transformerinterp",
    shows="for {}",
)
def positive(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    start_layer: int = 0,
    clamp: Literal["before", "after"] = "before",
) -> Map:
    """Attention weighted by the positive part of its gradient: `Π_l (I + E_h([∇A_l]+ ⊙ A_l))`.

    Equal to GAE (Chefer et al. 2021, Generic Attention-model Explainability): never negative, so it
    shows what speaks for the loss and also paints what speaks against it. What Beyond Intuition
    compares with under GAE's name clamps after the mean over heads and leaves out the first block:
    `clamp="after", start_layer=1`.
    Costs one forward and one backward pass. Source: Cui, Fan, Chen 2026, Eq. 4.

    Args:
        start_layer: first block to include, counted from 0; the paper includes all.
        clamp: whether negative products are cut before or after the mean over heads.
    """
    if clamp == "before":
        correct = CORRECTIONS["positive"]
        walk = rollout_row(model, image, loss, correct, start_layer=start_layer)
        return to_map(model.config, walk.state)
    if clamp != "after":
        raise ValueError(f"clamp is {clamp!r}; choose before or after (the mean over heads).")

    def fold(row: Array, layer: Layer) -> Array:
        weighted = jnp.maximum(mean_product(layer.attention, layer.gradient), 0)
        return row + row[: len(weighted)] @ weighted

    state = readout(model.config)
    walk = walk_back(model, image, loss, fold, state, start_layer=start_layer)
    return to_map(model.config, walk.state)
