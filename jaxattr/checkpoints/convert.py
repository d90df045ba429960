"""Tensors under any known names, turned into the network's parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxattr.checkpoints.adapters import refuse_adapted, refuse_quantised
from jaxattr.checkpoints.infer import Hints
from jaxattr.checkpoints.layout import Slot, parameter_shapes
from jaxattr.checkpoints.wrappers import HasShape, Unwrapped, unwrap
from jaxattr.errors import CheckpointError, short_name
from jaxattr.vit import ViTConfig

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
            missing, superfluous or misshapen (all of them in one line), or not finite.
    """
    found = detect(tensors)
    config = config or found.family.infer(found.shapes, Hints())
    slots = slots_of(found, config)
    return assemble(slots, {name: tensors[found.sources[name]] for name in used(slots)}, config)


def infer_config(
    tensors: Mapping[str, HasShape],
    *,
    heads: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> ViTConfig:
    """The architecture, as far as the tensors' shapes tell it.

    Rules for what they do not tell: a square image unless `image_size` is given, exact GELU, and
    the family's default epsilon (1e-6 for timm and Google, 1e-12 for Hugging Face). The number of
    heads has no rule: give it, but for Google's tensors, which tell it.
    """
    found = detect(tensors)
    return found.family.infer(found.shapes, Hints(heads, image_size))


def slots_of(found: Unwrapped, config: ViTConfig) -> dict[str, Slot]:
    """Where each parameter lies, after a check that the tensors are those of the config."""
    # The names are those of as many blocks as the config has: it was compared with the tensors.
    blocks = found.family.infer(found.shapes, Hints(config.heads, config.image_size)).layers
    if blocks != config.layers:
        raise CheckpointError(
            f"checkpoint: has {blocks} blocks, the config {config.layers}; use the config.json "
            f"that belongs to it."
        )
    slots = found.family.slots(config, found.shapes.keys())
    check(found, slots)
    return slots


def used(slots: Mapping[str, Slot]) -> list[str]:
    """The names of the tensors that the parameters are made of."""
    return [source for slot in slots.values() for source in slot.sources]


def assemble(slots: Mapping[str, Slot], values: Mapping[str, np.ndarray], config: ViTConfig) -> Any:
    """The parameter tree, from the values of the tensors that the slots name.

    Raises:
        CheckpointError: a number is not finite, or overflows the config's dtype.
    """
    shapes, dtype = parameter_shapes(config), jnp.dtype(config.dtype)
    flat = {}
    for path, slot in slots.items():
        lead = shapes[path][:-1]
        parts = [
            _part(_finite(source, values[source], dtype), slot, lead) for source in slot.sources
        ]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        flat[tuple(path.split("/"))] = jnp.asarray(joined, dtype)
    return unflatten_dict(flat)


def _finite(name: str, tensor: np.ndarray, dtype: Any) -> np.ndarray:
    """The tensor in a dtype, in which all its numbers must be finite."""
    with np.errstate(over="ignore"):
        cast = np.asarray(tensor).astype(dtype, copy=False)
    # The extremes, for they are NaN where any number is, and need no array of their own.
    if np.isfinite(cast.min()) and np.isfinite(cast.max()):
        return cast
    bad = "NaN" if np.isnan(cast).any() else "infinite"
    count = int((~np.isfinite(cast)).sum())
    raise CheckpointError(
        f"checkpoint: tensor {short_name(name)} holds numbers that are {bad} as {dtype} ({count} "
        f"of {cast.size} are not finite), so every answer would be; use a checkpoint from before "
        f"its training failed."
    )


def flat_parameters(parameters: Any) -> dict[str, np.ndarray]:
    """The parameter tree as NumPy arrays under paths such as `blocks_0/qkv/kernel`."""
    return {"/".join(path): np.asarray(leaf) for path, leaf in flatten_dict(parameters).items()}


def detect(tensors: Mapping[str, HasShape]) -> Unwrapped:
    """The tensors under their family's names; refuses by name what is not supported."""
    refuse_adapted(tensors)
    refuse_quantised(tensors, {})
    found = unwrap(tensors)
    if found is None:
        known = "Hugging Face, timm, Google npz or jaxattr names"
        for pattern, stranger in _STRANGERS:
            name = next((name for name in tensors if re.match(pattern, name)), None)
            if name is not None:
                raise CheckpointError(
                    f"checkpoint: tensor {short_name(name)} belongs to {stranger}, which is not "
                    f"supported; use a Vision Transformer (ViT or DeiT) with {known}."
                )
        raise CheckpointError(
            f"checkpoint: {_listed(sorted(tensors), 'tensor')} match no known naming ({known}), "
            f"for none is a patch embedding (embeddings.patch_embeddings.projection.weight, "
            f"patch_embed.proj.weight, embedding/kernel); use an image-classification Vision "
            f"Transformer."
        )
    for pattern, feature in found.family.refused:
        name = next((name for name in found.sources if re.match(pattern, name)), None)
        if name is not None:
            raise CheckpointError(
                f"checkpoint: tensor {short_name(name)} means {feature}, which is not supported; "
                f"use a plain ViT or DeiT."
            )
    return found


def check(found: Unwrapped, slots: Mapping[str, Slot]) -> None:
    """Raise one line with all missing, superfluous and misshapen tensors."""
    family, shapes = found.family, found.shapes
    wanted = {source: slot.shape for slot in slots.values() for source in slot.sources}
    heads = {source for path in slots if path.startswith("head") for source in slots[path].sources}
    missing = [source for source in wanted if source not in shapes]
    if heads and heads <= set(missing):
        raise CheckpointError(
            f"checkpoint: no classification head ({', '.join(sorted(heads))} missing); use a "
            f"checkpoint fine-tuned for image classification."
        )
    extra = [name for name in shapes if name not in wanted and not re.match(family.ignored, name)]
    misshapen = [
        f"{source} is {shapes[source]}, wanted {shape}"
        for source, shape in wanted.items()
        if source in shapes and shapes[source] != shape
    ]
    kinds = {"missing": missing, "extra": sorted(extra), "misshapen": misshapen}
    problems = [_listed(names, kind) for kind, names in kinds.items() if names]
    if problems:
        raise CheckpointError(
            f"checkpoint ({family.name} names): {'; '.join(problems)}; the weights do not fit the "
            f"config: use the config.json that belongs to them."
        )


def _listed(names: list[str], what: str) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {what}: {', '.join(map(short_name, names[:_SHOWN]))}{more}"


def _part(tensor: np.ndarray, slot: Slot, lead: tuple[int, ...]) -> np.ndarray:
    ordered = tensor if slot.axes is None else tensor.transpose(slot.axes)
    return ordered.reshape(*lead, -1)
