"""Names of the original release's `.npz` files, whose kernels already have our axis order."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from jaxattr.checkpoints.infer import Hints, class_count, image_size_of, layer_count, shape_of
from jaxattr.checkpoints.layout import Family, Shape, Slot, parameter_shapes
from jaxattr.vit import ViTConfig

_POSITIONS = "Transformer/posembed_input/pos_embedding"
_ATTENTION = "MultiHeadDotProductAttention_1"
_BLOCK = {
    "norm1": ("LayerNorm_0",),
    "norm2": ("LayerNorm_2",),
    "qkv": tuple(f"{_ATTENTION}/{part}" for part in ("query", "key", "value")),
    "projection": (f"{_ATTENTION}/out",),
    "fc1": ("MlpBlock_3/Dense_0",),
    "fc2": ("MlpBlock_3/Dense_1",),
}
_OUTSIDE = {
    "patch_kernel": "embedding/kernel",
    "patch_bias": "embedding/bias",
    "class_token": "cls",
    "positions": _POSITIONS,
    "norm/scale": "Transformer/encoder_norm/scale",
    "norm/bias": "Transformer/encoder_norm/bias",
}


def _slots(config: ViTConfig, names: Collection[str]) -> dict[str, Slot]:
    del names
    size, heads = config.hidden_size, config.heads
    width = size // heads
    slots = {}
    for path, shape in parameter_shapes(config).items():
        block, _, rest = path.partition("/")
        if not block.startswith("blocks_"):
            lead = (1,) if path in ("class_token", "positions") else ()
            slots[path] = Slot((_OUTSIDE.get(path, path),), (*lead, *shape))
            continue
        module, _, leaf = rest.partition("/")
        if module == "qkv":
            shape = (size, heads, width) if leaf == "kernel" else (heads, width)
        elif rest == "projection/kernel":
            shape = (heads, width, size)
        encoder = f"Transformer/encoderblock_{block.removeprefix('blocks_')}"
        slots[path] = Slot(tuple(f"{encoder}/{name}/{leaf}" for name in _BLOCK[module]), shape)
    return slots


def _infer(shapes: Mapping[str, Shape], hints: Hints) -> ViTConfig:
    patch = shape_of(shapes, "embedding/kernel", 4)
    block = "Transformer/encoderblock_0"
    biases = tuple(f"/{part}/bias" for part in _BLOCK["qkv"])
    tokens = shape_of(shapes, _POSITIONS, 3)[1]
    return ViTConfig(
        image_size=image_size_of(tokens, int("cls" in shapes), (patch[0], patch[1]), hints),
        patch_size=(patch[0], patch[1]),
        hidden_size=patch[3],
        layers=layer_count(shapes, r"Transformer/encoderblock_([0-9]+)/"),
        heads=shape_of(shapes, f"{block}/{_ATTENTION}/query/kernel", 3)[1],
        mlp_size=shape_of(shapes, f"{block}/MlpBlock_3/Dense_0/kernel", 2)[1],
        classes=class_count(shapes, "head/kernel", 1),
        layer_norm_epsilon=1e-6,
        qkv_bias=any(name.endswith(biases) for name in shapes),
        class_token="cls" in shapes,
        pooling="class_token" if "cls" in shapes else "mean",
        channels=patch[2],
    )


GOOGLE = Family(
    name="Google npz",
    anchor=re.compile(r"((?:.+/)?)embedding/kernel"),
    heads=(),
    slots=_slots,
    infer=_infer,
    tells_heads=True,
    ignored=r"$^",
    refused=(
        (r"pre_logits/", "a representation layer (pre_logits)"),
        (r"conv_root|block\d+/unit", "a hybrid with a ResNet stem"),
        (r"MAPHead", "attention pooling"),
        (r"mlp_in_out|.*MixerBlock", "an MLP-Mixer"),
    ),
)
