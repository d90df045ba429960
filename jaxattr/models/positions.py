"""Position embeddings for another image size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxattr.errors import CheckpointError
from jaxattr.types import ViTConfig

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
            f"attention no memory holds; choose a size with at most {_MOST_TOKENS}."
        )
    if resized.grid == config.grid:
        return parameters, resized
    positions = np.asarray(parameters["positions"], np.float64)
    prefix, patches = np.split(positions, [config.prefix_tokens])
    grid = patches.reshape(*config.grid, -1)
    rows, columns = (_bicubic(old, new) for old, new in zip(config.grid, resized.grid, strict=True))
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


def _bicubic(old: int, new: int) -> np.ndarray:
    """The `[new, old]` matrix of one-dimensional bicubic interpolation."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(centres).astype(int)
    matrix = np.zeros((new, old))
    for offset in range(-1, 3):
        distance = np.abs(centres - (first + offset))
        near = (1.25 * distance - 2.25) * distance**2 + 1
        far = -0.75 * (((distance - 5) * distance + 8) * distance - 4)
        weight = np.where(distance <= 1, near, far)
        source = np.clip(first + offset, 0, old - 1)
        np.add.at(matrix, (np.arange(new), source), weight)
    return matrix
