"""What tensor shapes tell about an architecture, and the rules for what they do not tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from typing import NamedTuple

from jaxattr.errors import CheckpointError
from jaxattr.vit import ViTConfig

Shape = tuple[int, ...]
# Width, blocks and width of the MLP of ViT-Ti, S, B, L, H, g and G, and their heads.
_PUBLISHED = {
    (192, 12, 768): 3,
    (384, 12, 1536): 6,
    (768, 12, 3072): 12,
    (1024, 24, 4096): 16,
    (1280, 32, 5120): 16,
    (1408, 40, 6144): 16,
    (1664, 48, 8192): 16,
}


class Hints(NamedTuple):
    """What is known from elsewhere and cannot be told from shapes."""

    heads: int | None = None
    image_size: tuple[int, int] | None = None


def head_count(config: ViTConfig, hints: Hints) -> ViTConfig:
    """With the number of heads, which shapes do not tell, but a published size does."""
    hidden_size, size = config.hidden_size, (config.hidden_size, config.layers, config.mlp_size)
    if hints.heads is None and config.class_token and size in _PUBLISHED:
        return replace(config, heads=_PUBLISHED[size])
    if hints.heads is None:
        raise CheckpointError(
            f"checkpoint: nothing says how many attention heads its width of {hidden_size} is cut "
            f"into; say --heads N (heads in jaxattr.load), or put a config.json with "
            f'"num_attention_heads" beside the file.'
        )
    if hidden_size % hints.heads:
        raise CheckpointError(
            f"checkpoint: its width of {hidden_size} cannot be cut into {hints.heads} attention "
            f"heads; correct their number."
        )
    return replace(config, heads=hints.heads)


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
    if hints.image_size is not None:
        height, width = hints.image_size
        raise CheckpointError(
            f"config.json: image_size says {height} x {width} with patches of {patch_size[0]} x "
            f"{patch_size[1]}, but {tokens} position embeddings less {prefix} prefix token(s) make "
            f"{patches} patches; use the config.json that belongs to the weights."
        )
    raise CheckpointError(
        f"checkpoint: {tokens} position embeddings less {prefix} prefix token(s) are not a square "
        f'grid; put a config.json with "image_size" beside the file.'
    )


def layer_count(names: Mapping[str, Shape], pattern: str) -> int:
    """How many blocks there are; `pattern`'s group is a block's number in a name."""
    texts = {found.group(1) for name in names if (found := re.match(pattern, name))}
    numbers = {int(text) for text in texts if len(text) < 9}
    if len(numbers) < len(texts) or numbers != set(range(len(numbers))):
        raise CheckpointError(
            f"checkpoint: the {len(texts)} blocks are not numbered from 0 to {len(texts) - 1}; use "
            f"a complete checkpoint."
        )
    return len(numbers)


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
    if 0 in shapes[name]:
        raise CheckpointError(
            f"checkpoint: tensor {name} has shape {shapes[name]}, so it is empty; use a complete "
            f"checkpoint."
        )
    return shapes[name]
