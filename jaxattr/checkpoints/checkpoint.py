"""One checkpoint on disk: its weights, and the files beside them that describe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxattr.checkpoints import class_names, native, preprocessing
from jaxattr.checkpoints import config as configs
from jaxattr.checkpoints.convert import assemble, detect, slots_of, used
from jaxattr.checkpoints.files import quoted, read_headers, read_metadata, read_object, read_values
from jaxattr.checkpoints.infer import Hints
from jaxattr.checkpoints.wrappers import Unwrapped
from jaxattr.errors import CheckpointError
from jaxattr.heads import two_classes
from jaxattr.vit import Model, Preprocessing, ViTConfig

_READ = {
    "class_token": "the class token",
    "mean": "the mean of the patches",
    "mean_then_norm": "the normalised mean of the patches",
}


def read(
    weights: Sequence[Path],
    *,
    name: str,
    dtype: str = "float32",
    heads: int | None = None,
    names: class_names.ClassNames | None = None,
) -> Model:
    """Read weights with the config, processor and labels in JSON files beside them.

    Names and shapes are looked at before any number is read. `heads` is for weights that come
    without a config; `names` go before all other class names.

    Raises:
        CheckpointError: unsupported, incomplete or damaged, with `name` in front.
    """
    first = weights[0]
    folder = first.parent
    try:
        if first.suffix == ".safetensors" and native.is_native(read_metadata(first)):
            return renamed(native.read(first, name=name, dtype=dtype), heads, names)
        path = folder / "config.json"
        json = read_object(path) if path.exists() else {}
        configs.check_supported(json)
        stored = read_headers(*weights)
        found = detect(stored)
        config, notes = _config(json, found, heads)
        config = replace(config, dtype=dtype)
        slots = slots_of(found, config)
        processing, said = _preprocessing(folder, json, config)
        notes += said
        if names is None:
            labels, said = class_names.read(folder, json, config)
            notes += said
        else:
            labels = class_names.given(names, *class_names.counts(config))
        values = read_values({source: stored[found.sources[source]] for source in used(slots)})
        parameters = assemble(slots, values, config)
    except CheckpointError as error:
        named = str(error).startswith((name, str(folder)))
        raise error if named else CheckpointError(f"{name}: {error}") from error
    return labelled(Model(parameters, config, (), processing, name, tuple(notes)), labels)


def renamed(model: Model, heads: int | None, names: class_names.ClassNames | None) -> Model:
    """A model whose file says all of itself, with the names that the user gives."""
    if heads not in (None, model.config.heads):
        raise CheckpointError(
            f"its file says {model.config.heads} heads, not {heads}; leave it out."
        )
    if names is None:
        return model
    return labelled(model, class_names.given(names, *class_names.counts(model.config)))


def labelled(model: Model, labels: tuple[str, ...]) -> Model:
    """The model with these labels; two for one logit make two classes of it."""
    if len(labels) == model.config.classes:
        return replace(model, labels=labels)
    no, yes = labels
    said = f"one output has two names: it stands for {yes} (its sigmoid), and {no} is the rest."
    return replace(two_classes(model, 0, (no, yes)), notes=(*model.notes, said))


def _config(
    json: Mapping[str, Any], found: Unwrapped, heads: int | None
) -> tuple[ViTConfig, list[str]]:
    """What the config, the user and the shapes say together; and notes on what none says."""
    told = configs.tell(json)
    said = told.values.get("heads")
    if heads is not None and said not in (None, heads):
        raise CheckpointError(
            f"config.json: {told.keys.get('heads', 'architecture')} says {said} heads, not {heads} "
            f"as asked; leave that out, or correct the file."
        )
    size = told.values.get("image_size") or _timm_size(json)
    seen = found.family.infer(found.shapes, Hints(heads or said, size))
    if heads not in (None, seen.heads):
        raise CheckpointError(f"the weights say {seen.heads} heads, not {heads} as asked.")
    config, notes = configs.settle(told, seen), [*found.notes, *told.notes]
    assumed = {
        "heads": f"{config.heads} heads (--heads N is for another number)",
        "activation": f"activation {config.activation}",
        "layer_norm_epsilon": f"epsilon {config.layer_norm_epsilon:g}",
        "pooling": f"a head that reads {_READ[config.pooling]}",
    }
    known = {"heads"} if heads is not None or found.family.tells_heads else set()
    unknown = [text for field, text in assumed.items() if field not in {*told.values, *known}]
    if unknown:
        notes.append(f"no config.json says so, but assumed: {'; '.join(unknown)}.")
    pooler = any("pooler.dense" in source for source in found.sources)
    if pooler and not json.get("architectures"):
        notes.append(
            "the pooler (pooler.dense) is left out: the head is taken to read the class token, as "
            "in transformers' ViTForImageClassification."
        )
    if config.channels not in (1, 3):
        raise CheckpointError(
            f"the model takes images of {config.channels} channels (num_channels, in_chans); only "
            f"those of three (RGB) or one (grey) are supported."
        )
    return config, notes


def _timm_size(json: Mapping[str, Any]) -> tuple[int, int] | None:
    """The image size in timm's `pretrained_cfg`, where an image has to have one shape."""
    if not configs.is_timm(json):
        return None
    size = configs.mapping(json, "pretrained_cfg").get("input_size", json.get("input_size"))
    if size is None:
        return None
    if not isinstance(size, list) or len(size) != 3:
        raise CheckpointError(
            f"config.json: input_size {quoted(size)} is not supported; wanted [channels, height, "
            f"width]."
        )
    return configs.pair(size[1:], "input_size")


def _preprocessing(
    folder: Path, json: Mapping[str, Any], config: ViTConfig
) -> tuple[Preprocessing, tuple[str, ...]]:
    """How photos are prepared, by the checkpoint's own files or its family; and what was assumed.

    An image processor within the file of a larger one comes first, as in transformers.
    """
    nested, path = folder / preprocessing.NESTED, folder / preprocessing.PROCESSOR
    inner = read_object(nested).get("image_processor") if nested.exists() else None
    kind = str(json.get("model_type", "deit" if config.distilled else "vit"))
    if isinstance(inner, Mapping) or path.exists():
        return preprocessing.from_processor(
            inner if isinstance(inner, Mapping) else read_object(path),
            config.image_size,
            model_type=kind,
            channels=config.channels,
            file=nested.name if isinstance(inner, Mapping) else path.name,
        )
    if configs.is_timm(json):
        # Older files of timm hold these keys themselves.
        nests = json.get("pretrained_cfg") is not None
        given = configs.mapping(json, "pretrained_cfg") if nests else json
        read, notes = preprocessing.from_timm(given, config.image_size, channels=config.channels)
        if not {"mean", "std", "crop_pct"} & given.keys():
            assumed = (
                f"config.json has no pretrained_cfg; timm's default is assumed: {_recipe(read)}."
            )
            notes = (*notes, assumed)
        return read, notes
    read, notes = preprocessing.from_processor(
        {}, config.image_size, model_type=kind, channels=config.channels
    )
    family = "DeiT" if kind == "deit" else "ViT"
    return read, (
        f"no {path.name} says how photos are prepared; {family}'s own default is assumed: "
        f"{_recipe(read)}.",
    )


def _recipe(processing: Preprocessing) -> str:
    """In a few words."""
    size = processing.resize
    if isinstance(size, tuple):
        words = [f"resized to {size[0]} x {size[1]}"]
    else:
        words = [f"the shorter side resized to {size}"]
    words[0] += f" ({processing.resample})"
    if processing.crop is not None:
        words.append(f"centre crop {processing.crop[0]} x {processing.crop[1]}")
    for name, values in (("mean", processing.mean), ("std", processing.std)):
        words.append(f"{name} {' '.join(f'{value:g}' for value in dict.fromkeys(values))}")
    return ", ".join(words)
