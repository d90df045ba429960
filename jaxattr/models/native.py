"""This library's own checkpoint file: flat parameters, config, labels and preprocessing in one.

A safetensors file whose tensors are called by their path (`blocks_0/qkv/kernel`) and whose
metadata holds `config`, `labels` and `preprocessing` as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
from jax.dtypes import canonicalize_dtype

from jaxattr.errors import CheckpointError
from jaxattr.models.convert import flat_parameters, from_tensors
from jaxattr.models.files import read_metadata, read_tensors
from jaxattr.types import Model, Preprocessing, ViTConfig

_Config = TypeVar("_Config", ViTConfig, Preprocessing)


def save(model: Model, path: str | Path) -> None:
    """Write a model to one `.safetensors` file."""
    from safetensors.numpy import save_file

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
    # A float64 model reads as float32 where 64-bit types are off.
    dtype = canonicalize_dtype(jnp.dtype(dtype or config.dtype)).name
    config = replace(config, dtype=dtype)
    preprocessing = _parse(Preprocessing, metadata["preprocessing"], path)
    tensors = read_tensors(path)
    try:
        labels = tuple(json.loads(metadata["labels"]))
        parameters = from_tensors(tensors, config)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Model(parameters, config, labels, preprocessing, name or path.stem)


def is_native(metadata: Mapping[str, str]) -> bool:
    """Whether a safetensors file's metadata is that of `save`."""
    return {"config", "labels", "preprocessing"} <= metadata.keys()


def _parse(kind: type[_Config], text: str, path: Path) -> _Config:
    try:
        values: dict[str, Any] = json.loads(text)
        values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return kind(**values)
    except (TypeError, ValueError, AttributeError) as error:
        known = ", ".join(field.name for field in fields(kind))
        raise CheckpointError(
            f"{path}: its {kind.__name__} metadata cannot be read ({error}); wanted a JSON object "
            f"with the fields {known}: save the model again."
        ) from error
