"""Position embeddings for another image size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxattr.errors import CheckpointError
from jaxattr.resampling import bicubic
from jaxattr.vit import ViTConfig

_MOST_TOKENS = 1 << 16  # one head's attention of so many tokens takes 16 GB


def resample(
    parameters: Any, config: ViTConfig, image_size: tuple[int, int]
) -> tuple[Any, ViTConfig]:
    """Interpolate the position embeddings of the patches to the grid of `image_size`.

    Bicubic (Keys' kernel with a = -0.75, half-pixel centres, edges repeated, no antialiasing), as
    transformers' `interpolate_pos_encoding`; the prefix tokens keep theirs.

    Raises:
        CheckpointError: the size is not a multiple of the patch size, or makes too many patches.
    """
    check_divisible(image_size, config.patch_size)
    resized = replace(config, image_size=image_size)
    if resized.tokens > _MOST_TOKENS:
        raise CheckpointError(
            f"image size {image_size[0]} x {image_size[1]} makes {resized.tokens} tokens, whose "
            f"attention does not fit in memory; choose a size with at most {_MOST_TOKENS}."
        )
    if resized.grid == config.grid:
        return parameters, resized
    positions = np.asarray(parameters["positions"], np.float64)
    prefix, patches = np.split(positions, [config.prefix_tokens])
    grid = patches.reshape(*config.grid, -1)
    rows, columns = (bicubic(old, new) for old, new in zip(config.grid, resized.grid, strict=True))
    patches = np.einsum("ri,cj,ijd->rcd", rows, columns, grid).reshape(-1, grid.shape[-1])
    positions = np.concatenate([prefix, patches])
    return {**parameters, "positions": jnp.asarray(positions, config.dtype)}, resized


def check_divisible(image_size: tuple[int, int], patch_size: tuple[int, int]) -> None:
    """Raise where patches do not tile the image."""
    if any(
        size < patch or size % patch for size, patch in zip(image_size, patch_size, strict=True)
    ):
        raise CheckpointError(
            f"image size {image_size[0]} x {image_size[1]} is not a multiple of the patch size "
            f"{patch_size[0]} x {patch_size[1]}; choose a multiple of it."
        )
