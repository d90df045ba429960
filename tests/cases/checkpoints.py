"""Small checkpoints as transformers and timm write them, drawn with NumPy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import jaxattr
from jaxattr.checkpoints.convert import flat_parameters

Tensors = Mapping[str, np.ndarray]
WIDTH, MLP, LAYERS, CLASSES = 12, 20, 2, 5
NAMES = ("cat", "dog", "bird", "fish", "horse")
CONFIG: dict[str, Any] = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "image_size": 16,
    "patch_size": 8,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 3,
    "intermediate_size": MLP,
    "num_channels": 3,
    "id2label": {str(index): name for index, name in enumerate(NAMES)},
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "qkv_bias": True,
}
PROCESSOR = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}


def transformers_tensors(*, channels: int = 3, distilled: bool = False) -> dict[str, np.ndarray]:
    """Those of `ViTForImageClassification`, or of DeiT's without a teacher's head."""
    base = "deit." if distilled else "vit."
    shapes: dict[str, tuple[int, ...]] = {
        f"{base}embeddings.cls_token": (1, 1, WIDTH),
        f"{base}embeddings.position_embeddings": (1, 5 + distilled, WIDTH),
        f"{base}embeddings.patch_embeddings.projection.weight": (WIDTH, channels, 8, 8),
        f"{base}embeddings.patch_embeddings.projection.bias": (WIDTH,),
    }
    if distilled:
        shapes[f"{base}embeddings.distillation_token"] = (1, 1, WIDTH)
    linear = {f"attention.attention.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
    linear |= {"attention.output.dense": (WIDTH, WIDTH)}
    linear |= {"intermediate.dense": (MLP, WIDTH), "output.dense": (WIDTH, MLP)}
    for layer in range(LAYERS):
        block = f"{base}encoder.layer.{layer}."
        for name, shape in linear.items():
            shapes |= {f"{block}{name}.weight": shape, f"{block}{name}.bias": shape[:1]}
        for norm in ("layernorm_before", "layernorm_after"):
            shapes |= {f"{block}{norm}.{leaf}": (WIDTH,) for leaf in ("weight", "bias")}
    shapes |= {f"{base}layernorm.{leaf}": (WIDTH,) for leaf in ("weight", "bias")}
    shapes |= {"classifier.weight": (CLASSES, WIDTH), "classifier.bias": (CLASSES,)}
    return _drawn(shapes)


def timm_tensors(
    width: int = WIDTH, mlp: int = MLP, layers: int = 1, classes: int = CLASSES
) -> dict[str, np.ndarray]:
    """Those of timm's `VisionTransformer`."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 5, width),
        "patch_embed.proj.weight": (width, 3, 8, 8),
        "patch_embed.proj.bias": (width,),
        "head.weight": (classes, width),
        "head.bias": (classes,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    linear = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
    linear |= {"mlp.fc1": (mlp, width), "mlp.fc2": (width, mlp)}
    for layer in range(layers):
        for name, shape in linear.items():
            block = f"blocks.{layer}.{name}"
            shapes |= {f"{block}.weight": shape, f"{block}.bias": shape[:1]}
        for norm in ("norm1", "norm2"):
            for leaf in ("weight", "bias"):
                shapes[f"blocks.{layer}.{norm}.{leaf}"] = (width,)
    return _drawn(shapes)


def _drawn(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def write(
    folder: Path,
    tensors: Tensors,
    config: Mapping[str, Any] | None = CONFIG,
    processor: Mapping[str, Any] | None = PROCESSOR,
) -> Path:
    """Write a checkpoint's folder; without a config these are bare weights."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), folder / "model.safetensors")
    for name, content in (("config.json", config), ("preprocessor_config.json", processor)):
        if content is not None:
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def renamed(tensors: Tensors, rename: Callable[[str], str]) -> dict[str, np.ndarray]:
    """The same tensors under other names."""
    return {rename(name): tensor for name, tensor in tensors.items()}


def same_network(one: jaxattr.Model, other: jaxattr.Model) -> bool:
    """Whether two models compute the same: configs and all numbers are equal."""
    first, second = flat_parameters(one.parameters), flat_parameters(other.parameters)
    equal = all((first[name] == second[name]).all() for name in first)
    return one.config == other.config and first.keys() == second.keys() and equal


def refusal(source: Any, **arguments: Any) -> str:
    """The one line of an error that says why a checkpoint is not loaded."""
    try:
        jaxattr.load(source, **arguments)
    except jaxattr.CheckpointError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) < 900
        return message
    raise AssertionError(f"{source} loads")
