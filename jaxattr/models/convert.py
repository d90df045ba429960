"""Tensors under any known names, turned into the network's parameters."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxattr.errors import CheckpointError
from jaxattr.models.infer import Hints, Shape
from jaxattr.models.layout import Family, Slot, parameter_shapes
from jaxattr.models.names_google import GOOGLE
from jaxattr.models.names_huggingface import HUGGINGFACE
from jaxattr.models.names_timm import TIMM
from jaxattr.types import ViTConfig


def _native_slots(config: ViTConfig, names: Collection[str]) -> dict[str, Slot]:
    del names
    return {path: Slot((path,), shape) for path, shape in parameter_shapes(config).items()}


def _native_infer(shapes: Mapping[str, Shape], hints: Hints) -> ViTConfig:
    del hints
    raise CheckpointError(
        f"checkpoint: {len(shapes)} tensors under this library's names without its metadata; "
        f"pass the config, or save the model again with jaxattr.models.native.save."
    )


NATIVE = Family(
    name="jaxattr",
    matches=lambda names: "blocks_0/qkv/kernel" in names,
    slots=_native_slots,
    infer=_native_infer,
    ignored=r"$^",
    refused=(),
)
FAMILIES = (HUGGINGFACE, TIMM, GOOGLE, NATIVE)
_SHOWN = 4
# Told by one tensor each, when no family matches at all.
_STRANGERS = (
    (r"(resnet\.|encoder\.stages|layer1\.0\.conv1|.*bn1\.weight|conv1\.weight)", "a ResNet"),
    (r"(swin\.|layers\.\d+\.blocks\.|.*relative_position_bias_table)", "a Swin transformer"),
    (r"(vision_model\.|text_model\.|visual\.)", "a CLIP-like model"),
    (r"(convnext|stages\.\d+\.)", "a convolutional network"),
)


def from_tensors(tensors: Mapping[str, np.ndarray], config: ViTConfig | None = None) -> Any:
    """Turn a state dict into the parameter tree of `jaxattr.vit.ViT`, in the config's dtype.

    The naming family (Hugging Face 4.x or 5.x, timm, Google's npz, this library's own paths) is
    told from the names; without a config the architecture is inferred from the shapes.

    Raises:
        CheckpointError: no family fits, the architecture is not supported, or tensors are
            missing, superfluous or misshapen (all of them in one line).
    """
    family = detect(tensors)
    config = config or infer_config(tensors)
    slots = family.slots(config, tensors.keys())
    check(family, slots, tensors)
    shapes, dtype = parameter_shapes(config), jnp.dtype(config.dtype)
    flat = {}
    for path, slot in slots.items():
        lead = shapes[path][:-1]
        parts = [_part(tensors[source], slot, lead) for source in slot.sources]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        flat[tuple(path.split("/"))] = jnp.asarray(joined, dtype)
    return unflatten_dict(flat)


def infer_config(
    tensors: Mapping[str, np.ndarray],
    *,
    heads: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> ViTConfig:
    """The architecture, as far as the tensors' shapes tell it.

    Rules for what they do not tell, unless `heads` or `image_size` is given: 64 channels a head, a
    square image, exact GELU, and the family's default epsilon (1e-6 for timm and Google, 1e-12
    for Hugging Face).
    """
    family = detect(tensors)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return family.infer(shapes, Hints(heads, image_size))


def flat_parameters(parameters: Any) -> dict[str, np.ndarray]:
    """The parameter tree as NumPy arrays under paths such as `blocks_0/qkv/kernel`."""
    return {"/".join(path): np.asarray(leaf) for path, leaf in flatten_dict(parameters).items()}


def detect(tensors: Collection[str]) -> Family:
    """The naming family of these names; refuses by name what is not supported."""
    names = list(tensors)
    family = next((family for family in FAMILIES if family.matches(names)), None)
    if family is None:
        known = "Hugging Face, timm, Google npz or jaxattr names"
        for pattern, stranger in _STRANGERS:
            found = next((name for name in names if re.match(pattern, name)), None)
            if found is not None:
                raise CheckpointError(
                    f"checkpoint: tensor {found} belongs to {stranger}, which is not supported; "
                    f"use a Vision Transformer (ViT or DeiT) with {known}."
                )
        raise CheckpointError(
            f"checkpoint: {_listed(sorted(names), 'tensor')} match no known naming ({known}); "
            f"use an image-classification Vision Transformer."
        )
    for pattern, feature in family.refused:
        found = next((name for name in names if re.match(pattern, name)), None)
        if found is not None:
            raise CheckpointError(
                f"checkpoint: tensor {found} means {feature}, which is not supported; use a plain "
                f"ViT or DeiT."
            )
    return family


def check(family: Family, slots: Mapping[str, Slot], tensors: Mapping[str, np.ndarray]) -> None:
    """Raise one line with all missing, superfluous and misshapen tensors."""
    wanted = {source: slot.shape for slot in slots.values() for source in slot.sources}
    heads = {source for path in slots if path.startswith("head") for source in slots[path].sources}
    missing = [source for source in wanted if source not in tensors]
    if heads and heads <= set(missing):
        raise CheckpointError(
            f"checkpoint: no classification head ({', '.join(sorted(heads))} missing); use a "
            f"checkpoint fine-tuned for image classification."
        )
    extra = [name for name in tensors if name not in wanted and not re.match(family.ignored, name)]
    misshapen = [
        f"{source} is {tuple(tensors[source].shape)}, wanted {shape}"
        for source, shape in wanted.items()
        if source in tensors and tuple(tensors[source].shape) != shape
    ]
    found = {"missing": missing, "extra": sorted(extra), "misshapen": misshapen}
    problems = [_listed(names, kind) for kind, names in found.items() if names]
    if problems:
        raise CheckpointError(
            f"checkpoint ({family.name} names): {'; '.join(problems)}; the weights do not fit the "
            f"config: use the config.json that belongs to them."
        )


def _listed(names: list[str], what: str) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{more}"


def _part(tensor: np.ndarray, slot: Slot, lead: tuple[int, ...]) -> np.ndarray:
    ordered = tensor if slot.axes is None else tensor.transpose(slot.axes)
    return ordered.reshape(*lead, -1)
