"""Names of transformers' ViT and DeiT image classifiers, of its versions 4.x and 5.x."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from jaxattr.checkpoints.infer import (
    Hints,
    class_count,
    head_count,
    image_size_of,
    layer_count,
    shape_of,
)
from jaxattr.checkpoints.layout import Family, Shape, Slot, torch_slots
from jaxattr.vit import ViTConfig

_OLD_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "qkv": tuple(f"attention.attention.{part}" for part in ("query", "key", "value")),
    "projection": "attention.output.dense",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}
_NEW_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "qkv": tuple(f"attention.{part}_proj" for part in "qkv"),
    "projection": "attention.o_proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}


def _prefix(names: Collection[str]) -> str:
    for prefix in ("vit.", "deit."):
        if any(name.startswith(prefix) for name in names):
            return prefix
    return ""


def _blocks(names: Collection[str]) -> str:
    prefix = _prefix(names)
    old = any(name.startswith(f"{prefix}encoder.layer.") for name in names)
    return f"{prefix}encoder.layer." if old else f"{prefix}layers."


def _slots(config: ViTConfig, names: Collection[str]) -> dict[str, Slot]:
    prefix, blocks = _prefix(names), _blocks(names)
    embeddings = f"{prefix}embeddings."
    two_heads = config.distilled and config.distilled_head
    modules: dict[str, str | tuple[str, ...]] = {
        "patch_kernel": f"{embeddings}patch_embeddings.projection.weight",
        "patch_bias": f"{embeddings}patch_embeddings.projection.bias",
        "class_token": f"{embeddings}cls_token",
        "distillation_token": f"{embeddings}distillation_token",
        "positions": f"{embeddings}position_embeddings",
        "norm": f"{prefix}layernorm",
        "head": "cls_classifier" if two_heads else "classifier",
        "head_distilled": "distillation_classifier",
    }
    for ours, theirs in (_OLD_BLOCK if "encoder" in blocks else _NEW_BLOCK).items():
        parts = (theirs,) if isinstance(theirs, str) else theirs
        modules[ours] = tuple(f"{blocks}{{layer}}.{part}" for part in parts)
    return torch_slots(config, modules)


def _infer(shapes: Mapping[str, Shape], hints: Hints) -> ViTConfig:
    prefix, blocks = _prefix(shapes), _blocks(shapes)
    old = "encoder" in blocks
    patch = shape_of(shapes, f"{prefix}embeddings.patch_embeddings.projection.weight", 4)
    tokens = shape_of(shapes, f"{prefix}embeddings.position_embeddings", 3)[1]
    distilled = f"{prefix}embeddings.distillation_token" in shapes
    two_heads = "cls_classifier.weight" in shapes
    fc1 = f"{blocks}0.{'intermediate.dense' if old else 'mlp.fc1'}.weight"
    parts = (_OLD_BLOCK if old else _NEW_BLOCK)["qkv"]
    biases = tuple(f".{part}.bias" for part in parts)
    config = ViTConfig(
        image_size=image_size_of(tokens, 1 + distilled, (patch[2], patch[3]), hints),
        patch_size=(patch[2], patch[3]),
        hidden_size=patch[0],
        layers=layer_count(shapes, blocks.replace(".", r"\.") + r"([0-9]+)\."),
        mlp_size=shape_of(shapes, fc1, 2)[0],
        classes=class_count(shapes, "cls_classifier.weight" if two_heads else "classifier.weight"),
        layer_norm_epsilon=1e-12,
        qkv_bias=any(name.endswith(biases) for name in shapes),
        distilled=distilled,
        distilled_head=two_heads,
        channels=patch[1],
        heads=1,
    )
    return head_count(config, hints)


HUGGINGFACE = Family(
    name="Hugging Face",
    anchor=re.compile(
        r"((?:.+?\.)??)(?:(?:vit|deit)\.)?embeddings\.patch_embeddings\.projection\.weight"
    ),
    heads=("classifier", "cls_classifier", "distillation_classifier"),
    slots=_slots,
    infer=_infer,
    tells_heads=False,
    ignored=r"((vit|deit)\.)?(pooler\.dense\.(weight|bias)|embeddings\.mask_token|embeddings\.position_ids)$",
    refused=(
        (r".*relative_position_bias", "relative position bias (BEiT, Swin)"),
        (r".*\.lambda_[12]$|.*layer_scale", "layer scale"),
        (r".*register_tokens", "register tokens"),
        (r".*(q_norm|k_norm)\.", "query and key normalisation"),
        (r".*decoder\.", "a masked-image decoder (pretraining checkpoint)"),
    ),
)
