"""The architecture from a checkpoint's `config.json`: transformers' or timm's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, cast

from jaxattr.errors import CheckpointError
from jaxattr.models.positions import check_divisible
from jaxattr.types import ViTConfig

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu"]
_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
}
# What transformers leaves out of config.json when it equals these.
_DEFAULTS: dict[str, Any] = {
    "image_size": 224,
    "patch_size": 16,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "qkv_bias": True,
    "num_channels": 3,
}
_TIMM_SIZES = {
    "embed_dim": "hidden_size",
    "depth": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "img_size": "image_size",
    "patch_size": "patch_size",
    "qkv_bias": "qkv_bias",
    "in_chans": "num_channels",
}
# Arguments of timm's models that do not change inference, or that the tensors' names tell.
_TIMM_TOLD = {"num_classes", "class_token", "fc_norm", "mlp_ratio", "dynamic_img_size"}


def is_timm(json: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is timm's."""
    return "architecture" in json and "model_type" not in json


def check_supported(json: Mapping[str, Any]) -> None:
    """Refuse an unsupported architecture by its name, before its weights are looked at."""
    if is_timm(json):
        name = str(json["architecture"])
        if not name.startswith(("vit_", "deit_", "deit3_", "flexivit_")):
            raise CheckpointError(
                f"config.json: timm's {name} is not supported; use a vit_* or deit_* architecture."
            )
        return
    kind = json.get("model_type", "vit")
    if kind not in ("vit", "deit"):
        raise CheckpointError(
            f"config.json: model_type {kind} is not supported; use a ViT or DeiT image classifier "
            f'(model_type "vit" or "deit").'
        )
    # Old configs say vit for everything; the architecture says what lies in the weights.
    for architecture in json.get("architectures") or ():
        if "ForImageClassification" not in architecture:
            raise CheckpointError(
                f"config.json: {architecture} has no image-classification head; use a checkpoint "
                f"fine-tuned for image classification."
            )


def from_json(json: Mapping[str, Any], inferred: ViTConfig | None = None) -> ViTConfig:
    """Read `config.json`; `inferred` (from the tensors) fills in what it does not say.

    With a `model_type` the gaps are transformers' defaults; a JSON without it, as a sidecar of
    bare weights, corrects single values of the inferred architecture.

    Raises:
        CheckpointError: the model type, activation, or a size is not supported.
    """
    check_supported(json)
    if is_timm(json):
        return _from_timm(json, inferred)
    values = {**_DEFAULTS, **json} if "model_type" in json else dict(json)
    config = _apply(values, inferred or _blank(values))
    if "model_type" in json:
        distilled = json["model_type"] == "deit"
        teacher = any("WithTeacher" in name for name in json.get("architectures") or ())
        if inferred is not None:
            teacher = inferred.distilled_head
        config = replace(config, distilled=distilled, distilled_head=distilled and teacher)
    check_divisible(config.image_size, config.patch_size)
    return config


def class_count(json: Mapping[str, Any], fallback: int) -> int:
    """How many classes a `config.json` promises."""
    if isinstance(json.get("id2label"), Mapping):
        return len(json["id2label"])
    return int(json.get("num_labels", json.get("num_classes", fallback)))


def hints(json: Mapping[str, Any]) -> tuple[int | None, tuple[int, int] | None]:
    """The number of heads and the image size, where a `config.json` states them."""
    arguments = (json.get("model_args") or {}) if is_timm(json) else json
    heads = arguments.get("num_attention_heads", arguments.get("num_heads"))
    size = arguments.get("image_size", arguments.get("img_size"))
    if size is None and is_timm(json):
        size = ((json.get("pretrained_cfg") or {}).get("input_size") or [None])[1:] or None
    return (
        None if heads is None else _positive(heads, "number of heads"),
        None if size is None else _pair(size, "image_size"),
    )


def _apply(values: Mapping[str, Any], config: ViTConfig) -> ViTConfig:
    changes: dict[str, Any] = {}
    sizes = {
        "hidden_size": "hidden_size",
        "num_hidden_layers": "layers",
        "num_attention_heads": "heads",
        "intermediate_size": "mlp_size",
        "num_channels": "channels",
    }
    for key, field in sizes.items():
        if key in values:
            changes[field] = _positive(values[key], key)
    for key in ("image_size", "patch_size"):
        if key in values:
            changes[key] = _pair(values[key], key)
    if "layer_norm_eps" in values:
        changes["layer_norm_epsilon"] = float(values["layer_norm_eps"])
    if "qkv_bias" in values:
        changes["qkv_bias"] = bool(values["qkv_bias"])
    if "hidden_act" in values:
        changes["activation"] = _activation(values["hidden_act"])
    config = replace(config, **changes, classes=class_count(values, config.classes))
    if config.hidden_size % config.heads:
        raise CheckpointError(
            f"config.json: hidden_size {config.hidden_size} is not a multiple of "
            f"num_attention_heads {config.heads}; correct the config."
        )
    return config


def _from_timm(json: Mapping[str, Any], inferred: ViTConfig | None) -> ViTConfig:
    if inferred is None:
        raise CheckpointError(
            f"config.json: timm's {json['architecture']} names no sizes; they are read from the "
            f"weights, so pass the tensors as well."
        )
    arguments = dict(json.get("model_args") or {})
    pooling = arguments.pop("global_pool", json.get("global_pool", ""))
    unknown = sorted(arguments.keys() - _TIMM_SIZES.keys() - _TIMM_TOLD)
    if unknown:
        raise CheckpointError(
            f"config.json: timm's model_args {', '.join(unknown)} are not supported; use a model "
            f"with timm's default {json['architecture']}."
        )
    known = {_TIMM_SIZES[key]: value for key, value in arguments.items() if key in _TIMM_SIZES}
    if "quickgelu" in json["architecture"]:
        known["hidden_act"] = "quick_gelu"
    known["num_classes"] = json.get("num_classes", inferred.classes)
    config = _apply(known, inferred)
    if pooling in ("", "token") or config.pooling == "mean_then_norm":
        return config
    if pooling == "avg":
        return replace(config, pooling="mean")
    raise CheckpointError(
        f'config.json: global_pool "{pooling}" is not supported; use a model with "token" or "avg".'
    )


def _blank(values: Mapping[str, Any]) -> ViTConfig:
    """A starting point whose every size is overwritten."""
    if "model_type" not in values:
        raise CheckpointError(
            "config.json: has no model_type, so the architecture cannot be told; add one, or pass "
            "the tensors as well."
        )
    return ViTConfig((1, 1), (1, 1), 1, 1, 1, 1, classes=2)


def _pair(value: Any, key: str) -> tuple[int, int]:
    pair = value if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2:
        raise CheckpointError(
            f"config.json: {key} {value!r} is not supported; wanted one number or [height, width]."
        )
    return _positive(pair[0], key), _positive(pair[1], key)


def _positive(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CheckpointError(
            f"config.json: {key} {value!r} is not supported; wanted a positive whole number."
        )
    return value


def _activation(name: Any) -> Activation:
    if name not in _ACTIVATIONS:
        raise CheckpointError(
            f"config.json: hidden_act {name} is not supported; known: "
            f"{', '.join(cast('dict[str, str]', _ACTIVATIONS))}."
        )
    return _ACTIVATIONS[name]
