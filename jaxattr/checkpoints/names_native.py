"""This library's own names: the paths of its parameters."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from jaxattr.checkpoints.infer import (
    Hints,
    Shape,
    class_count,
    head_count,
    image_size_of,
    layer_count,
    shape_of,
)
from jaxattr.checkpoints.layout import Family, Slot, parameter_shapes
from jaxattr.errors import CheckpointError
from jaxattr.vit import ViTConfig


def _slots(config: ViTConfig, names: Collection[str]) -> dict[str, Slot]:
    del names
    return {path: Slot((path,), shape) for path, shape in parameter_shapes(config).items()}


def _infer(shapes: Mapping[str, Shape], hints: Hints) -> ViTConfig:
    if hints.heads is None:
        raise CheckpointError(
            f"checkpoint: {len(shapes)} tensors under this library's names without its metadata; "
            f"say --heads N (heads in jaxattr.load), or save the model again with "
            f"jaxattr.checkpoints.native.save."
        )
    patch = shape_of(shapes, "patch_kernel", 4)
    tokens = shape_of(shapes, "positions", 2)[0]
    class_token, distilled = "class_token" in shapes, "distillation_token" in shapes
    config = ViTConfig(
        image_size=image_size_of(tokens, class_token + distilled, (patch[0], patch[1]), hints),
        patch_size=(patch[0], patch[1]),
        hidden_size=patch[3],
        layers=layer_count(shapes, r"blocks_([0-9]+)/"),
        mlp_size=shape_of(shapes, "blocks_0/fc1/kernel", 2)[1],
        classes=class_count(shapes, "head/kernel", 1),
        layer_norm_epsilon=1e-6,
        qkv_bias=any(name.endswith("/qkv/bias") for name in shapes),
        distilled=distilled,
        distilled_head="head_distilled/kernel" in shapes,
        class_token=class_token,
        pooling="class_token" if class_token else "mean",
        channels=patch[2],
        heads=1,
    )
    return head_count(config, hints)


NATIVE = Family(
    name="jaxattr",
    anchor=re.compile(r"()patch_kernel"),
    heads=(),
    slots=_slots,
    infer=_infer,
    tells_heads=False,
    ignored=r"$^",
    refused=(),
)
