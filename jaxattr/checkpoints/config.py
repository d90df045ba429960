"""The architecture from a checkpoint's `config.json`, compared with what its tensors say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from typing import Any, NamedTuple, cast

from jaxattr.checkpoints import timm_table
from jaxattr.checkpoints.adapters import refuse_quantised
from jaxattr.checkpoints.files import quoted
from jaxattr.checkpoints.positions import check_divisible
from jaxattr.errors import CheckpointError
from jaxattr.vit import Activation, Problem, ViTConfig

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
    "quickgelu": "quick_gelu",
    "relu": "relu",
}
_PROBLEMS: dict[str, Problem] = {
    "single_label_classification": "single_label",
    "multi_label_classification": "multi_label",
    "regression": "regression",
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
_FIELDS = {
    "image_size": "image_size",
    "img_size": "image_size",
    "patch_size": "patch_size",
    "hidden_size": "hidden_size",
    "embed_dim": "hidden_size",
    "num_hidden_layers": "layers",
    "depth": "layers",
    "num_attention_heads": "heads",
    "num_heads": "heads",
    "intermediate_size": "mlp_size",
    "num_channels": "channels",
    "in_chans": "channels",
    "num_labels": "classes",
    "num_classes": "classes",
    "layer_norm_eps": "layer_norm_epsilon",
    "qkv_bias": "qkv_bias",
    "hidden_act": "activation",
    "act_layer": "activation",
    "problem_type": "problem",
}
# Arguments of timm's models that do not change inference, or that the tensors tell.
_TIMM_TOLD = {"class_token", "fc_norm", "mlp_ratio", "dynamic_img_size", "init_values"}
_TIMM_TOLD |= {f"{part}drop_rate" for part in ("", "pos_", "patch_", "proj_", "attn_")}
_TIMM_TOLD |= {"drop_path_rate", "weight_init", "fix_init", "pretrained", "strict_img_size"}
_TIMM_SIZES = {"img_size", "patch_size", "embed_dim", "depth", "num_heads", "in_chans"}
_TIMM_SIZES |= {"num_classes", "qkv_bias", "act_layer"}
_CLASSIFIERS = {
    "ViTForImageClassification",
    "DeiTForImageClassification",
    "DeiTForImageClassificationWithTeacher",
}
_MEANT = {"hidden_size": "width", "layers": "number of blocks", "mlp_size": "width of the MLP"}
_MEANT |= {"channels": "image channels", "classes": "outputs of the head"}
_ONLY_HERE = ("heads", "activation", "layer_norm_epsilon", "problem")


class Told(NamedTuple):
    """What a `config.json` says, by fields of `ViTConfig`."""

    values: Mapping[str, Any]
    keys: Mapping[str, str]
    """Under which key of the file each value stands."""
    notes: tuple[str, ...] = ()


def is_timm(json: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is timm's."""
    return "architecture" in json and "model_type" not in json


def check_supported(json: Mapping[str, Any]) -> None:
    """Refuse an unsupported architecture by its name, before its weights are looked at."""
    refuse_quantised((), json)
    if is_timm(json):
        return timm_table.refuse(_timm_name(json))
    kind = json.get("model_type", "vit")
    if kind == "timm_wrapper":
        name = quoted(json.get("architecture"))
        raise CheckpointError(
            f"config.json: model_type timm_wrapper (timm's {name} saved by transformers) is not "
            f"supported; save the model itself with timm's save_for_hf or push_to_hf_hub."
        )
    if kind not in ("vit", "deit"):
        raise CheckpointError(
            f"config.json: model_type {_plain(kind)} is not supported; use a ViT or DeiT image "
            f'classifier (model_type "vit" or "deit").'
        )
    # Old configs say vit for everything; the architecture says what lies in the weights.
    for architecture in _architectures(json):
        if "ForImageClassification" not in architecture:
            raise CheckpointError(
                f"config.json: {_plain(architecture)} has no image-classification head; use a "
                f"checkpoint fine-tuned for image classification."
            )
    return None


def tell(json: Mapping[str, Any]) -> Told:
    """Read and check every key of a `config.json` that says something of the network.

    With a `model_type` what is left out has transformers' defaults; for timm the architecture's
    name says what else is not in the file.

    Raises:
        CheckpointError: the model type, activation, or a value is not supported, by its key.
    """
    check_supported(json)
    if is_timm(json):
        return _tell_timm(json)
    values = {**_DEFAULTS, **json} if "model_type" in json else dict(json)
    if json.get("id2label") is not None:
        values.pop("num_labels", None)  # which transformers counts again
    told = _read({key: value for key, value in values.items() if key in _FIELDS})
    if "model_type" not in json:
        return told
    distilled = json["model_type"] == "deit"
    named = {"distilled": distilled, "class_token": True, "pooling": "class_token"}
    notes = tuple(
        f"config.json names the class {_plain(name)}, which transformers does not have; it is read "
        f"as transformers' own image classifier."
        for name in _architectures(json)
        if name not in _CLASSIFIERS
    )
    return Told(
        {**told.values, **named}, {**told.keys, **dict.fromkeys(named, "model_type")}, notes
    )


def settle(told: Told, seen: ViTConfig) -> ViTConfig:
    """The architecture that the tensors (`seen`) and the config agree on.

    Raises:
        CheckpointError: they do not, by the key.
    """
    for field, value in told.values.items():
        real = getattr(seen, field)
        if field in _ONLY_HERE or value == real or (field == "pooling" and value == "avg"):
            continue
        if field == "pooling" and value == "token" and seen.class_token:
            continue
        key, meant = told.keys[field], _MEANT.get(field, field.replace("_", " "))
        raise CheckpointError(
            f"config.json: {key} says {meant} {quoted(value)}, the weights say {quoted(real)}; use "
            f"the config.json that belongs to them."
        )
    changes = {field: told.values[field] for field in _ONLY_HERE if field in told.values}
    pooling = told.values.get("pooling")
    if pooling == "token":
        changes["pooling"] = "class_token"
    elif pooling == "avg":
        changes["pooling"] = "mean_then_norm" if seen.pooling == "mean_then_norm" else "mean"
    return replace(seen, **changes)


def _read(values: Mapping[str, Any]) -> Told:
    """Check values of known keys."""
    fields: dict[str, Any] = {}
    for key, value in values.items():
        field = _FIELDS[key]
        if field in ("image_size", "patch_size"):
            fields[field] = pair(value, key)
        elif field == "layer_norm_epsilon":
            fields[field] = epsilon(value, f"config.json: {key}")
        elif field == "qkv_bias":
            if not isinstance(value, bool):
                raise _unsupported(key, value, "true or false")
            fields[field] = value
        elif field == "activation":
            fields[field] = _activation(value, key)
        elif field == "problem":
            if value is not None:  # null is told by the number of outputs
                fields[field] = _problem(value)
        else:
            fields[field] = _positive(value, key)
    if {"image_size", "patch_size"} <= fields.keys():
        try:
            check_divisible(fields["image_size"], fields["patch_size"])
        except CheckpointError as error:
            raise CheckpointError(f"config.json: image_size and patch_size: {error}") from error
    if {"hidden_size", "heads"} <= fields.keys() and fields["hidden_size"] % fields["heads"]:
        raise CheckpointError(
            f"config.json: hidden_size {quoted(fields['hidden_size'])} is not a multiple of "
            f"num_attention_heads {quoted(fields['heads'])}; correct the config."
        )
    return Told(fields, {_FIELDS[key]: key for key in values})


def _tell_timm(json: Mapping[str, Any]) -> Told:
    arguments = dict(mapping(json, "model_args"))
    pool = arguments.pop("global_pool", None) or json.get("global_pool") or None
    name, notes = _timm_name(json), []
    unknown = sorted(arguments.keys() - _TIMM_SIZES - _TIMM_TOLD)
    if unknown:
        raise CheckpointError(
            f"config.json: timm's model_args {', '.join(map(_plain, unknown))} are not supported; "
            f"use a model with timm's default {_plain(name)}."
        )
    stated = {key: value for key, value in arguments.items() if key in _TIMM_SIZES}
    stated = {key: value for key, value in stated.items() if value is not None}
    if json.get("num_classes") is not None:
        stated = {"num_classes": json["num_classes"], **stated}
    stated["problem_type"] = json.get("problem_type")
    told = _read(stated)
    known = timm_table.find(name)
    values, keys = dict(told.values), dict(told.keys)
    if known is None and "heads" not in values:
        raise CheckpointError(
            f"config.json: timm has no architecture {_plain(name)}, so nothing says how many "
            f'attention heads it has; put "model_args": {{"num_heads": N}} there.'
        )
    if known is None:
        notes.append(
            f"config.json: timm has no architecture {_plain(name)}; it is taken for a plain ViT "
            f"with GELU and an epsilon of 1e-6."
        )
    else:
        if "heads" not in values:
            values.setdefault("hidden_size", known.width)
            keys.setdefault("hidden_size", f"architecture {name}")
        values = {"heads": known.heads, "activation": known.activation, **values}
    values.setdefault("activation", "gelu")
    values["layer_norm_epsilon"] = known.epsilon if known else 1e-6
    values["pooling"] = pool or (known.pool if known else "token")
    keys["pooling"] = "global_pool"
    if values["pooling"] not in ("token", "avg"):
        raise _unsupported("global_pool", values["pooling"], '"token" or "avg"')
    return Told(values, keys, tuple(notes))


def _timm_name(json: Mapping[str, Any]) -> str:
    name = json["architecture"]
    if not isinstance(name, str) or not name:
        raise _unsupported("architecture", name, "the name of a timm architecture")
    return timm_table.base_name(name)


def mapping(json: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object in `config.json`; empty where the key is missing or null."""
    value = json.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _unsupported(key, value, "an object")
    return value


def pair(value: Any, key: str) -> tuple[int, int]:
    """A size: one number for a square, or `[height, width]`."""
    sides = value if isinstance(value, list | tuple) else (value, value)
    if len(sides) != 2:
        raise _unsupported(key, value, "one number or [height, width]")
    return _positive(sides[0], key), _positive(sides[1], key)


def epsilon(value: Any, where: str) -> float:
    """A LayerNorm's epsilon."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not abs(value) < 1e300 or not isfinite(value) or value < 0:
        raise CheckpointError(
            f"{where} {quoted(value)} is not supported; wanted a small number such as 1e-12."
        )
    return float(value)


def _positive(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
        raise _unsupported(key, value, "a positive whole number")
    return value


def _activation(name: Any, key: str) -> Activation:
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        known = ", ".join(cast("dict[str, str]", _ACTIVATIONS))
        raise CheckpointError(
            f"config.json: {key} {_plain(name)} is not supported; known: {known}."
        )
    return _ACTIVATIONS[name]


def _problem(name: Any) -> Problem:
    if not isinstance(name, str) or name not in _PROBLEMS:
        raise CheckpointError(
            f"config.json: problem_type {_plain(name)} is not supported; known: "
            f"{', '.join(cast('dict[str, str]', _PROBLEMS))}, or null."
        )
    return _PROBLEMS[name]


def _architectures(json: Mapping[str, Any]) -> list[str]:
    names = json.get("architectures")
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _unsupported("architectures", names, "a list of names")
    return names


def _plain(value: Any) -> str:
    """A name of the file, without quotes where it is an ordinary one."""
    return value if isinstance(value, str) and value.isidentifier() else quoted(value)


def _unsupported(key: str, value: Any, wanted: str) -> CheckpointError:
    return CheckpointError(f"config.json: {key} {quoted(value)} is not supported; wanted {wanted}.")
