"""Names of timm's `VisionTransformer` and `VisionTransformerDistilled`."""

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


def _slots(config: ViTConfig, names: Collection[str]) -> dict[str, Slot]:
    block = {"norm1": "norm1", "norm2": "norm2", "qkv": "attn.qkv", "projection": "attn.proj"}
    block |= {"fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    modules: dict[str, str | tuple[str, ...]] = {
        "patch_kernel": "patch_embed.proj.weight",
        "patch_bias": "patch_embed.proj.bias",
        "class_token": "cls_token",
        "distillation_token": "dist_token",
        "positions": "pos_embed",
        "norm": "fc_norm" if "fc_norm.weight" in names else "norm",
        "head": "head",
        "head_distilled": "head_dist",
    }
    modules |= {ours: f"blocks.{{layer}}.{theirs}" for ours, theirs in block.items()}
    return torch_slots(config, modules)


def _infer(shapes: Mapping[str, Shape], hints: Hints) -> ViTConfig:
    patch = shape_of(shapes, "patch_embed.proj.weight", 4)
    tokens = shape_of(shapes, "pos_embed", 3)[1]
    class_token, distilled = "cls_token" in shapes, "dist_token" in shapes
    pooled = "fc_norm.weight" in shapes
    config = ViTConfig(
        image_size=image_size_of(tokens, class_token + distilled, (patch[2], patch[3]), hints),
        patch_size=(patch[2], patch[3]),
        hidden_size=patch[0],
        layers=layer_count(shapes, r"blocks\.([0-9]+)\."),
        mlp_size=shape_of(shapes, "blocks.0.mlp.fc1.weight", 2)[0],
        classes=class_count(shapes, "head.weight"),
        layer_norm_epsilon=1e-6,
        qkv_bias=any(name.endswith(".attn.qkv.bias") for name in shapes),
        distilled=distilled,
        distilled_head="head_dist.weight" in shapes,
        class_token=class_token,
        pooling="mean_then_norm" if pooled else "class_token" if class_token else "mean",
        channels=patch[1],
        heads=1,
    )
    return head_count(config, hints)


TIMM = Family(
    name="timm",
    anchor=re.compile(r"((?:.+\.)?)patch_embed\.proj\.weight"),
    heads=("head", "head_dist"),
    slots=_slots,
    infer=_infer,
    tells_heads=False,
    ignored=r"$^",
    refused=(
        (r"pre_logits\.", "a representation layer (pre_logits)"),
        (r".*\.(ls[12]\.gamma|gamma_[12])$", "layer scale"),
        (r".*\.(q_norm|k_norm)\.", "query and key normalisation"),
        (r"reg_token", "register tokens"),
        (r".*relative_position|.*\.rel_pos", "relative position bias"),
        (r"norm_pre\.", "a normalisation before the blocks (CLIP)"),
        (r"attn_pool\.", "attention pooling"),
        (r"layers\.\d+\.(blocks|downsample)", "a hierarchical transformer (Swin)"),
        (r"blocks\.\d+\.mlp\.(w12|w3|fc1_g)\.", "a gated MLP (SwiGLU)"),
        (r"blocks\.\d+\.(attn|mlp)\.norm\.", "a normalisation inside the block"),
    ),
)
