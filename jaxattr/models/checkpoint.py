"""One checkpoint on disk: its weights, and the files beside them that describe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxattr.errors import CheckpointError
from jaxattr.labels import imagenet_wnids
from jaxattr.models import config as configs
from jaxattr.models import native, preprocessing
from jaxattr.models.convert import detect, from_tensors, infer_config
from jaxattr.models.files import read_json, read_metadata, read_object, read_tensors
from jaxattr.types import Model, Preprocessing, ViTConfig

_HEADS = {"classifier.weight": 0, "cls_classifier.weight": 0, "head.weight": 0, "head/kernel": 1}


def read(weights: Sequence[Path], *, name: str, dtype: str = "float32") -> Model:
    """Read weights with the config, processor and labels in JSON files beside them.

    Raises:
        CheckpointError: unsupported, incomplete or damaged, with `name` in front.
    """
    first = weights[0]
    if first.suffix == ".safetensors" and native.is_native(read_metadata(first)):
        return native.read(first, name=name, dtype=dtype)
    folder = first.parent
    path = folder / "config.json"
    json = read_object(path) if path.is_file() else {}
    try:
        configs.check_supported(json)
        tensors = read_tensors(*weights)
        config = replace(_config(json, tensors), dtype=dtype)
        parameters = from_tensors(tensors, config)
        processing, notes = _preprocessing(folder, json, config)
        labels = _labels(folder, json, config.classes)
    except CheckpointError as error:
        named = str(error).startswith((name, str(folder)))
        raise error if named else CheckpointError(f"{name}: {error}") from error
    return Model(parameters, config, labels, processing, name, notes)


def _config(json: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> ViTConfig:
    detect(tensors)
    if "model_type" not in json:
        heads, image_size = configs.hints(json)
        inferred = infer_config(tensors, heads=heads, image_size=image_size)
        return configs.from_json(json, inferred) if json else inferred
    config = configs.from_json(json)
    if config.distilled:
        heads = ("distillation_classifier.weight", "head_dist.weight")
        config = replace(config, distilled_head=any(name in tensors for name in heads))
    if "id2label" not in json and "num_labels" not in json:
        # Transformers leaves the labels out where there are two, its default.
        sizes = [tensors[name].shape[axis] for name, axis in _HEADS.items() if name in tensors]
        config = replace(config, classes=sizes[0] if sizes else config.classes)
    return config


def _preprocessing(
    folder: Path, json: Mapping[str, Any], config: ViTConfig
) -> tuple[Preprocessing, tuple[str, ...]]:
    """How photos are prepared, and what was assumed.

    An image processor within the file of a larger one comes first, as in transformers.
    """
    nested, path = folder / preprocessing.NESTED, folder / preprocessing.PROCESSOR
    inner = read_object(nested).get("image_processor") if nested.is_file() else None
    if isinstance(inner, Mapping) or path.is_file():
        return preprocessing.from_processor(
            inner if isinstance(inner, Mapping) else read_object(path),
            config.image_size,
            model_type=str(json.get("model_type", "vit")),
            channels=config.channels,
            file=nested.name if isinstance(inner, Mapping) else path.name,
        )
    if configs.is_timm(json) and "pretrained_cfg" in json:
        return preprocessing.from_timm(
            json["pretrained_cfg"], config.image_size, channels=config.channels
        )
    return preprocessing.default(config.image_size), ()


def _labels(folder: Path, json: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    """From `labels.json`, `id2label` or timm's `label_names`; else wnids or class numbers.

    A head of 1,000 classes without names is ImageNet's, in the order of the wnids: all published
    ViT checkpoints of that size are.
    """
    path = folder / "labels.json"
    origin, labels = "labels.json", None
    if path.is_file():
        labels = read_json(path)
    elif "id2label" in json:
        origin, labels = "config.json's id2label", json["id2label"]
    else:
        origin = "config.json's label_names"
        labels = json.get("label_names") or json.get("pretrained_cfg", {}).get("label_names")
    if labels is None and classes == 1000:
        return imagenet_wnids()
    if labels is None:
        return tuple(str(index) for index in range(classes))
    if isinstance(labels, Mapping):
        labels = _in_order(labels, origin)
    if not isinstance(labels, list) or len(labels) != classes:
        count = f"{len(labels)} labels" if isinstance(labels, list) else "no list of labels"
        raise CheckpointError(
            f"{origin} holds {count}, the head has {classes} classes; give one label for each "
            f"class, in the order of the outputs."
        )
    return tuple(str(label) for label in labels)


def _in_order(labels: Mapping[str, Any], origin: str) -> list[Any]:
    try:
        numbered = {int(key): label for key, label in labels.items()}
    except ValueError as error:
        raise CheckpointError(
            f"{origin} has a key that is not a class number; wanted 0 to {len(labels) - 1}."
        ) from error
    if sorted(numbered) != list(range(len(numbered))):
        raise CheckpointError(
            f"{origin} does not number the classes from 0 to {len(labels) - 1}; correct the file."
        )
    return [numbered[index] for index in range(len(numbered))]
