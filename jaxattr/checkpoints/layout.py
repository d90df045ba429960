"""Where each parameter of the network lies in a checkpoint: what every naming family tells."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from jaxattr.checkpoints.infer import Hints, Shape
from jaxattr.vit import ViTConfig


class Slot(NamedTuple):
    """The tensors that make up one parameter, joined along their last axis after `axes`."""

    sources: tuple[str, ...]
    shape: Shape
    """The shape that each source has in the file."""
    axes: tuple[int, ...] | None = None
    """The transposition into our order; PyTorch keeps linear weights as `[out, in]`."""


class Family(NamedTuple):
    """One way of naming a Vision Transformer's tensors."""

    name: str
    anchor: re.Pattern[str]
    """The name of the patch embedding's kernel; its first group is what a wrapper put in front."""
    heads: tuple[str, ...]
    """The modules of the classification heads, where a wrapper may have put several layers."""
    slots: Callable[[ViTConfig, Collection[str]], dict[str, Slot]]
    """Parameter path to slot, spelled the way the given names are spelled."""
    infer: Callable[[Mapping[str, Shape], Hints], ViTConfig]
    """The architecture as far as the shapes tell it."""
    tells_heads: bool
    """Whether the shapes tell the number of attention heads."""
    ignored: str
    """A regular expression of tensors that classification does not use."""
    refused: tuple[tuple[str, str], ...]
    """Regular expressions of tensors of an unsupported architecture, and its name."""


def parameter_shapes(config: ViTConfig) -> dict[str, Shape]:
    """The path and shape of every parameter, e.g. `blocks_0/qkv/kernel`: `(192, 576)`."""
    size, mlp = config.hidden_size, config.mlp_size
    shapes: dict[str, Shape] = {
        "patch_kernel": (*config.patch_size, config.channels, size),
        "patch_bias": (size,),
        "positions": (config.tokens, size),
    }
    if config.class_token:
        shapes["class_token"] = (1, size)
    if config.distilled:
        shapes["distillation_token"] = (1, size)
    affine = {"qkv": (size, 3 * size), "projection": (size, size)}
    affine |= {"fc1": (size, mlp), "fc2": (mlp, size)}
    for layer in range(config.layers):
        for norm in ("norm1", "norm2"):
            shapes[f"blocks_{layer}/{norm}/scale"] = (size,)
            shapes[f"blocks_{layer}/{norm}/bias"] = (size,)
        for name, shape in affine.items():
            shapes[f"blocks_{layer}/{name}/kernel"] = shape
            if name != "qkv" or config.qkv_bias:
                shapes[f"blocks_{layer}/{name}/bias"] = shape[1:]
    shapes |= {"norm/scale": (size,), "norm/bias": (size,)}
    heads = ["head", "head_distilled"] if config.distilled and config.distilled_head else ["head"]
    for head in heads:
        shapes |= {f"{head}/kernel": (size, config.classes), f"{head}/bias": (config.classes,)}
    return shapes


def torch_slots(config: ViTConfig, names: Mapping[str, str | tuple[str, ...]]) -> dict[str, Slot]:
    """The slots of a PyTorch state dict, from module names such as `{"norm": "layernorm"}`.

    `{layer}` stands for the block's number under the key `blocks`; several modules under one key
    are joined along the outputs.
    """
    slots = {}
    for path, shape in parameter_shapes(config).items():
        module, _, leaf = path.rpartition("/")
        block, _, inner = module.rpartition("/")
        spelled = names[inner or path] if module else names[path]
        modules = (spelled,) if isinstance(spelled, str) else spelled
        modules = tuple(module.format(layer=block.removeprefix("blocks_")) for module in modules)
        shape = (*shape[:-1], shape[-1] // len(modules))
        if leaf == "patch_kernel":
            height, width, channels, size = shape
            slots[path] = Slot(modules, (size, channels, height, width), (2, 3, 1, 0))
        elif leaf in ("positions", "class_token", "distillation_token"):
            slots[path] = Slot(modules, (1, *shape))
        elif leaf == "kernel":
            weights = tuple(f"{module}.weight" for module in modules)
            slots[path] = Slot(weights, shape[::-1], (1, 0))
        elif leaf == "patch_bias":
            slots[path] = Slot(modules, shape)
        else:
            suffix = "weight" if leaf == "scale" else "bias"
            slots[path] = Slot(tuple(f"{module}.{suffix}" for module in modules), shape)
    return slots
