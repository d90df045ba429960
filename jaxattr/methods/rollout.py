from __future__ import annotations

from typing import Literal

from jaxattr.gradients import check_start_layer, readout, to_map
from jaxattr.gradients.corrections import discard, divide, fuse, with_residual
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model, forward


@method(
    signed=False,
    target_dependent=False,
    differentiates="nothing",
    cost=Cost(forward=1),
    source="Cui, Fan, Chen 2026, Eq. 1-3",
    equals="attention_flow, Transformer-Explainability, vit-explain (strict)",
)
def rollout(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    start_layer: int = 0,
    head_fusion: Literal["mean", "max", "min", "per_head"] = "mean",
    discard_ratio: float = 0.0,
    residual: bool = True,
    row_normalize: bool = False,
    strict: bool = False,
) -> Map:
    """Attention rollout, `Π_l (I + E_h A_l)`, by default as the paper writes it: not normalised.

    Abnar and Zuidema, and Chefer et al.'s baseline, normalise the rows (`row_normalize`), which
    divides by exactly `2^(number of layers)`. Other presets that published numbers rest on:
    `start_layer=1` (Chefer et al.'s and BI's evaluations), `head_fusion="per_head"` (TAM's
    baseline), `discard_ratio=0.9` with `"max"` or `"mean"` (vit-explain; the latter in TIS). Does
    not depend on the loss. Costs one forward pass. Source: Cui, Fan, Chen 2026, Eq. 1-3; Abnar
    and Zuidema 2020; Chefer et al. 2021; Gildenblat 2020 (vit-explain).

    Args:
        start_layer: first block to include, from 0.
        head_fusion: how the heads of a layer become one matrix; `"per_head"` rolls out each head
            by itself and takes the mean of the heads' rows.
        discard_ratio: the share of a layer's entries, the smallest, that is set to zero.
        residual: whether the identity is added.
        row_normalize: whether each row is divided by its sum.
        strict: divide column j by the sum of row j, as vit-explain's code does by mistake.
    """
    del loss
    check_start_layer(model.config, start_layer)
    _, taps = forward(model, image)
    fused = discard(fuse(taps.attention, head_fusion), discard_ratio)
    matrices = with_residual(fused) if residual else fused
    if row_normalize or strict:
        matrices = divide(matrices, by_column=strict)
    row = readout(model.config)[None, None]
    for layer in reversed(range(start_layer, model.config.layers)):
        row = row @ matrices[layer]
    return to_map(model.config, row[:, 0].mean(axis=0))
