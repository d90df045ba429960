"""What the methods that mask the input share: scores of many masked copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxattr import heads
from jaxattr.resampling import along_both
from jaxattr.vit import Loss, Map, ViTConfig
from jaxattr.vit.nonlinear import at_least_float32


def score(config: ViTConfig, loss: Loss, probabilities: bool) -> Loss:
    """The loss of the logits, or of the head's probabilities in their place where it has any."""
    if not probabilities or heads.link(config) is None:
        return loss
    return lambda logits: loss(heads.probabilities(config, logits))


def over_masks(
    config: ViTConfig,
    function: Callable[[Array], Array],
    masks: int,
    chunk_size: int | None,
    count: Any = None,
) -> Float[Array, "mask"]:
    """`function(index)` of all masks, `chunk_size` at once, all chunks of one compiled shape.

    By default one at once on CPU, where that is fastest, and 64 elsewhere. Where `count`, which may
    be traced, is given, the chunks behind it are not computed and their numbers are zero.
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}; give at least 1, or None.")
    size = min(chunk_size or (1 if jax.default_backend() == "cpu" else 64), masks)
    chunks = -(-masks // size)

    def step(chunk: Array, found: Array) -> Array:
        # Behind the end the last mask is scored again.
        indices = jnp.minimum(chunk * size + jnp.arange(size, dtype=jnp.int32), masks - 1)
        scores = jax.vmap(function)(indices).astype(found.dtype)
        return lax.dynamic_update_slice(found, scores, (chunk * size,))

    stop = chunks if count is None else (count + size - 1) // size
    empty = at_least_float32(jnp.zeros((chunks * size,), config.dtype))
    return lax.fori_loop(jnp.int32(0), jnp.asarray(stop, jnp.int32), step, empty)[:masks]


def patch_mean(config: ViTConfig, pixels: Float[Array, "height width"]) -> Map:
    """The mean over each patch."""
    # As products of matrices: XLA's CPU fusions of a quotient and its mean are not to be trusted
    # where only one of the two is batched, as under a `vmap` over losses (jax-ml/jax#39103).
    rows, columns = (
        jnp.asarray(np.repeat(np.eye(count), side, axis=1) / side, pixels.dtype)
        for count, side in zip(config.grid, config.patch_size, strict=True)
    )
    return at_least_float32(along_both(rows, pixels, columns))
