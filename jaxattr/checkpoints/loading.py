"""`load`: from an alias, a hub id, a folder or a file to a `Model`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxattr.checkpoints import embedded, hub, positions, preprocessing
from jaxattr.checkpoints.adapters import refuse_adapter_folder
from jaxattr.checkpoints.aliases import EMBEDDED, resolve
from jaxattr.checkpoints.checkpoint import read, renamed
from jaxattr.checkpoints.class_names import ClassNames
from jaxattr.checkpoints.config import epsilon
from jaxattr.checkpoints.files import refuse_pickle, weight_files
from jaxattr.errors import CheckpointError, quoted, short_name
from jaxattr.vit import Model

_DTYPES = ("float32", "float64", "bfloat16")


def load(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    dtype: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    layer_norm_epsilon: float | None = None,
    heads: int | None = None,
    class_names: ClassNames | None = None,
) -> Model:
    """Load a Vision Transformer with its labels and preprocessing.

    Bare weights (no `config.json` beside them) are taken to have a square image, exact GELU and
    their family's epsilon and preprocessing; they need `heads`. What was assumed or left out is in
    the model's `notes`.

    Args:
        source: an alias (`vit-base`, `deit-tiny-distilled`), `scenes` (the embedded model), a hub
            id `owner/name`, a folder, a `.safetensors` or a `.npz` file.
        revision: branch, tag or commit on the hub.
        dtype: `float32`, `float64` or `bfloat16`; by default float64 if JAX's 64-bit types are
            on, else float32.
        image_size: another input size; position embeddings are resampled, preprocessing follows.
        layer_norm_epsilon: overrides the checkpoint's, for weights that come without a config.
        heads: the number of attention heads, for weights that come without a config.
        class_names: the names of the classes in the order of the outputs: a sequence, a file (one
            name a line, or JSON), or `"imagenet"`. By default those of `labels.json` beside the
            weights, of `config.json`, or the numbers of the outputs. A head of one logit may be
            given two names, the class that the output stands for last: it becomes two classes.

    Raises:
        CheckpointError: one line with what came, what was wanted and what to do.
    """
    dtype, wide = _dtype(dtype), bool(jax.config.read("jax_enable_x64"))
    if heads is not None and not _is_positive(heads):
        raise CheckpointError(
            f"heads {quoted(heads)} is not supported; wanted a positive whole number."
        )
    model = _read(os.fspath(source), revision, "float64" if wide else "float32", heads, class_names)
    config = model.config
    if layer_norm_epsilon is not None:
        wanted = epsilon(layer_norm_epsilon, "layer_norm_epsilon")
        config = replace(config, layer_norm_epsilon=wanted)
    parameters, processing = model.parameters, model.preprocessing
    if image_size is not None:
        size = _size(image_size)
        parameters, config = positions.resample(parameters, config, size)
        processing = preprocessing.fit_to(processing, size)
    config = replace(config, dtype=dtype)
    parameters = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), parameters)
    return replace(model, parameters=parameters, config=config, preprocessing=processing)


def _read(
    source: str, revision: str | None, dtype: str, heads: int | None, names: ClassNames | None
) -> Model:
    try:
        path = Path(source).expanduser()
        folder, file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:  # a name too long, or no home folder
        shown = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{short_name(source)}: cannot be read ({shown}).") from error
    if revision is not None and (source in EMBEDDED or folder or file):
        raise CheckpointError(
            f"{source}: a revision ({revision}) belongs to a hub id, and this is not one; leave it "
            f"out."
        )
    if source in EMBEDDED:
        return renamed(embedded.load(source, dtype=dtype), heads, names)
    if folder:
        refuse_adapter_folder(path, source)
        return read(weight_files(path), name=source, dtype=dtype, heads=heads, names=names)
    if file:
        refuse_pickle(path)
        return read([path], name=source, dtype=dtype, heads=heads, names=names)
    refuse_pickle(path)
    if path.suffix in (".safetensors", ".npz") or source.startswith((".", "/", "~")):
        raise CheckpointError(f"{short_name(source)}: no such file or folder; check the path.")
    repository = source if "/" in source else resolve(source)
    snapshot = hub.download(repository, revision)
    name = f"{repository}@{revision}" if revision else repository
    refuse_adapter_folder(snapshot, name)
    return read(weight_files(snapshot), name=name, dtype=dtype, heads=heads, names=names)


def _dtype(name: str | None) -> str:
    wide = bool(jax.config.read("jax_enable_x64"))
    if name is None:
        return "float64" if wide else "float32"
    if name not in _DTYPES:
        raise CheckpointError(f"dtype {name} is not supported; choose {', '.join(_DTYPES)}.")
    if name == "float64" and not wide:
        raise CheckpointError(
            "dtype float64 needs JAX's 64-bit types; set JAX_ENABLE_X64=1 or choose float32."
        )
    return name


def _size(size: Any) -> tuple[int, int]:
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(map(_is_positive, sides)):
        raise CheckpointError(
            f"image_size {quoted(size)} is not supported; wanted a positive whole number, or "
            f"(height, width)."
        )
    return int(sides[0]), int(sides[1])


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) > 0
