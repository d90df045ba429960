from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from jaxattr.gradients import arrange, check_start_layer
from jaxattr.methods._masking import over_masks
from jaxattr.methods.method import Cost, method
from jaxattr.vit import (
    Image,
    Loss,
    Map,
    Model,
    ViT,
    apply,
    apply_block,
    check_image,
    forward,
    read_queries,
)


@method(
    differentiates="nothing",
    cost=Cost(forward=133),
    source="Izadi et al. 2026",
    equals="nothing: own reading",
)
def caap(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    start_layer: int | None = None,
    stop_layer: int | None = None,
    baseline: float = 0.0,
    chunk_size: int | None = None,
) -> Map:
    """By how much the loss changes where one patch's activations enter the run of a blank image.

    The tokens of a constant image go through the network; in each block of an intermediate range
    the input of one patch's token is replaced by what it is for the image itself, and the loss of
    the logits is read, less that of the blank image. A test, not a derivative: signed, and no patch
    depends on another one's test. What is inserted has seen the rest of the image in the blocks
    before. Costs two forward passes, and one from the first replaced block on for each patch: 133
    forward passes for 14 x 14 patches. Source: Izadi et al. 2026 (CAAP), of which the abstract was
    read: that activations are inserted into a neutral context over an intermediate range of layers.
    That the range is the middle third, the neutral context the mean colour, and the score the
    loss's change is our own reading. Not to be compared with published numbers.

    Args:
        start_layer: first block whose input is replaced; by default a third of all are left out.
        stop_layer: first block behind it whose input is not; by default two thirds of all.
        baseline: of the blank image, normalised; 0 is the mean colour.
        chunk_size: patches at once.
    """
    c = model.config
    check_image(model, image)
    start = c.layers // 3 if start_layer is None else start_layer
    check_start_layer(c, start)
    stop = max(start + 1, 2 * c.layers // 3) if stop_layer is None else stop_layer
    if not start < stop <= c.layers:
        raise ValueError(
            f"stop_layer is {stop}; give {start + 1} to {c.layers}, for the first block to replace "
            f"is {start} of {c.layers}."
        )
    source = forward(model, image)[1].hidden
    blank, taps = forward(model, jnp.full_like(image, baseline))
    neutral = taps.hidden[start]

    def change(patch: Array) -> Array:
        x, token = neutral, c.prefix_tokens + patch
        for layer in range(start, c.layers):
            if layer < stop:
                x = x.at[token].set(source[layer, token])
            x, _ = apply_block(model, layer, x, queries=read_queries(c, layer))
        return loss(apply(model, ViT.classify, apply(model, ViT.features, x)))

    found = over_masks(c, change, c.tokens - c.prefix_tokens, chunk_size)
    return arrange(c, found - loss(blank).astype(found.dtype))
