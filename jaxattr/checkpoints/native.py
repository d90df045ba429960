"""This library's own checkpoint file: flat parameters, config, labels and preprocessing in one.

A safetensors file whose tensors are called by their path (`blocks_0/qkv/kernel`) and whose
metadata holds `config`, `labels` and `preprocessing` as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Never, TypeVar, get_args, get_origin, get_type_hints

import jax.numpy as jnp
from jax.dtypes import canonicalize_dtype

from jaxattr.checkpoints.class_names import checked
from jaxattr.checkpoints.config import epsilon
from jaxattr.checkpoints.convert import flat_parameters, from_tensors
from jaxattr.checkpoints.files import parse_json, quoted, read_metadata, read_tensors
from jaxattr.errors import CheckpointError
from jaxattr.vit import Model, Preprocessing, ViTConfig

_LARGE = 1e30  # of what is finite in float32, too
_Config = TypeVar("_Config", ViTConfig, Preprocessing)


def save(model: Model, path: str | Path) -> None:
    """Write a model with its config, labels and preprocessing, for `load` to read.

        jaxattr.save(model, "my-model")
        model = jaxattr.load("my-model")

    Args:
        path: a file that ends in `.safetensors`, or a folder, made where it is missing, in which
            the file is `model.safetensors`.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        path.mkdir(parents=True, exist_ok=True)
        path /= "model.safetensors"
    metadata = {
        "config": json.dumps(asdict(model.config)),
        "labels": json.dumps(model.labels, ensure_ascii=False),
        "preprocessing": json.dumps(asdict(model.preprocessing)),
    }
    save_file(flat_parameters(model.parameters), str(path), metadata=metadata)


def read(path: str | Path, *, name: str = "", dtype: str | None = None) -> Model:
    """Read a model that `save` wrote, in the dtype that it was saved in unless told otherwise.

    Raises:
        CheckpointError: the file is not one of ours, damaged, or does not fit its own config.
    """
    path = Path(path)
    metadata = read_metadata(path)
    if not is_native(metadata):
        raise CheckpointError(
            f"{path}: no config, labels and preprocessing in its metadata, so jaxattr did not "
            f"write it; load it with jaxattr.load."
        )
    config = _parse(ViTConfig, metadata["config"], path)
    epsilon(config.layer_norm_epsilon, f"{path}: layer_norm_epsilon")
    if config.dtype not in ("float32", "float64", "bfloat16"):
        raise CheckpointError(f"{path}: dtype {quoted(config.dtype)} is not supported.")
    # A float64 model reads as float32 where 64-bit types are off.
    dtype = canonicalize_dtype(jnp.dtype(dtype or config.dtype)).name
    config = replace(config, dtype=dtype)
    preprocessing = _parse(Preprocessing, metadata["preprocessing"], path)
    tensors = read_tensors(path)
    channels = {len(preprocessing.mean), len(preprocessing.std), config.channels}
    try:
        if len(channels) > 1 or preprocessing.rescale <= 0 or min(preprocessing.std) <= 0:
            raise CheckpointError(
                f"its preprocessing has mean {preprocessing.mean}, std {preprocessing.std} and "
                f"rescale {preprocessing.rescale} for {config.channels} channels; wanted one mean "
                f"and one std above 0 for each channel."
            )
        labels = parse_json(metadata["labels"].encode("utf-8", "replace"), path)
        labels = checked(labels, "labels", config.classes) if labels != [] else ()
        parameters = from_tensors(tensors, config)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Model(parameters, config, labels, preprocessing, name or path.stem)


def is_native(metadata: Mapping[str, str]) -> bool:
    """Whether a safetensors file's metadata is that of `save`."""
    return {"config", "labels", "preprocessing"} <= metadata.keys()


def _parse(kind: type[_Config], text: str, path: Path) -> _Config:
    values = parse_json(text.encode("utf-8", "replace"), path)
    hints, known = get_type_hints(kind), ", ".join(field.name for field in fields(kind))
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path}: its {kind.__name__} metadata holds {quoted(values)}, wanted a JSON object "
            f"with the fields {known}: save the model again."
        )
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    wrong = [key for key, value in values.items() if not _fits(value, hints.get(key, Never))]
    try:
        if not wrong:
            return kind(**{key: _cast(value, hints[key]) for key, value in values.items()})
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: its {kind.__name__} metadata cannot be read ({quoted(str(error))}); wanted "
            f"the fields {known}: save the model again."
        ) from error
    raise CheckpointError(
        f"{path}: its {kind.__name__} metadata says {quoted(wrong[0])} is "
        f"{quoted(values[wrong[0]])}, wanted {known}, each of its own kind: save the model again."
    )


def _cast(value: Any, hint: Any) -> Any:
    """With whole numbers made floats where a field holds such."""
    if hint is float:
        return float(value)
    return tuple(map(float, value)) if hint == tuple[float, ...] else value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a field's type; numbers are finite, whole ones and sizes above 0."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Literal:
        return isinstance(value, str) and value in inner
    if kind is UnionType:
        return any(_fits(value, one) for one in inner)
    if kind is tuple:
        many = inner[-1] is Ellipsis
        return (
            isinstance(value, tuple)
            and (many or len(value) == len(inner))
            and all(_fits(one, inner[0]) for one in value)
        )
    if hint is int:
        return type(value) is int and 0 < value < 1 << 31
    if hint is float:
        return type(value) in (int, float) and abs(value) < _LARGE
    return value is None if hint is NoneType else type(value) is hint
