"""What tensor shapes tell about an architecture, and the rules for what they do not tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from typing import NamedTuple

from jaxattr.errors import CheckpointError

Shape = tuple[int, ...]

# The published sizes whose heads are not 64 wide: ViT-H, ViT-g and ViT-G.
_WIDE_HEADS = {1280: 16, 1408: 16, 1664: 16}


class Hints(NamedTuple):
    """What is known from elsewhere and cannot be told from shapes."""

    heads: int | None = None
    image_size: tuple[int, int] | None = None


def head_count(hidden_size: int, hints: Hints) -> int:
    """The number of heads of a published Vision Transformer: 64 channels a head, bar the giants."""
    if hints.heads is not None:
        return hints.heads
    if hidden_size in _WIDE_HEADS:
        return _WIDE_HEADS[hidden_size]
    if hidden_size % 64:
        raise CheckpointError(
            f"checkpoint: hidden size {hidden_size} is not a multiple of 64, so the number of "
            f"heads cannot be told from the weights; put a config.json with "
            f'"num_attention_heads" beside the file.'
        )
    return hidden_size // 64


def image_size_of(
    tokens: int, prefix: int, patch_size: tuple[int, int], hints: Hints
) -> tuple[int, int]:
    """The image behind `tokens` positions, `prefix` of them not patches: square, unless hinted."""
    patches = tokens - prefix
    if hints.image_size is not None:
        rows, columns = (n // p for n, p in zip(hints.image_size, patch_size, strict=True))
        if rows * columns == patches:
            return hints.image_size
    side = isqrt(max(patches, 0))
    if side > 0 and side * side == patches:
        return side * patch_size[0], side * patch_size[1]
    if prefix and isqrt(tokens) ** 2 == tokens:
        raise CheckpointError(
            f"checkpoint: {tokens} position embeddings leave none for the class token (timm's "
            f"no_embed_class), which is not supported; use a model with one position embedding "
            f"for every token."
        )
    raise CheckpointError(
        f"checkpoint: {tokens} position embeddings less {prefix} prefix token(s) are not a square "
        f'grid; put a config.json with "image_size" beside the file.'
    )


def layer_count(names: Mapping[str, Shape], pattern: str) -> int:
    """One more than the largest number that `pattern`'s group matches in the names."""
    numbers = [int(found.group(1)) for name in names if (found := re.match(pattern, name))]
    return max(numbers, default=-1) + 1


def class_count(shapes: Mapping[str, Shape], name: str, axis: int = 0) -> int:
    """The number of outputs of the head whose kernel is called `name`."""
    if name not in shapes:
        raise CheckpointError(
            f"checkpoint: no classification head ({name} missing); use a checkpoint fine-tuned for "
            f"image classification."
        )
    return shape_of(shapes, name, 2)[axis]


def shape_of(shapes: Mapping[str, Shape], name: str, dimensions: int) -> Shape:
    """The shape of a tensor that the architecture is read from, or one clear line."""
    if name not in shapes:
        raise CheckpointError(
            f"checkpoint: missing tensor {name}, without which the architecture cannot be told; "
            f"use a complete image-classification checkpoint."
        )
    if len(shapes[name]) != dimensions:
        raise CheckpointError(
            f"checkpoint: tensor {name} has shape {shapes[name]}, wanted {dimensions} dimensions; "
            f"use an image-classification Vision Transformer."
        )
    return shapes[name]
