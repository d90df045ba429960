"""The names of a checkpoint's classes: given by the user, or from the files beside the weights."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxattr.checkpoints.files import parse_json, quoted, read_bytes, read_json
from jaxattr.data.labels import imagenet_wnids
from jaxattr.errors import CheckpointError
from jaxattr.vit import ViTConfig

ClassNames = str | os.PathLike[str] | Sequence[str]
"""A file of names, `"imagenet"`, or the names themselves, in the order of the outputs."""
IMAGENET = "imagenet"


def counts(config: ViTConfig) -> tuple[int, ...]:
    """How many names a head may be given: one for each output, or two for a single logit's."""
    alone = config.classes == 1 and config.problem == "single_label"
    return (1, 2) if alone else (config.classes,)


def given(names: ClassNames, *classes: int) -> tuple[str, ...]:
    """The names that the user gives, as many as one of `classes`: see `ClassNames`.

    A file holds one name a line, or JSON: a list, or an object of number and name (either way
    round).

    Raises:
        CheckpointError: the file cannot be read, or does not hold one name for each class.
    """
    if isinstance(names, str) and names.casefold() == IMAGENET:
        if len(imagenet_wnids()) not in classes:
            raise CheckpointError(
                f"class names: ImageNet-1k has 1000 classes, the model {classes[0]}; give a file "
                f"of its own names."
            )
        return imagenet_wnids()
    if not isinstance(names, str | os.PathLike):
        return checked(list(names), "class names", *classes)
    path = Path(names).expanduser()
    content = read_bytes(path)
    if path.suffix.lower() == ".json" or content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{"):
        return checked(parse_json(content, path), str(path), *classes)
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not UTF-8 text ({error.reason}); save it so.") from error
    while lines and not lines[-1].strip():
        lines.pop()
    return checked([line.strip() for line in lines], str(path), *classes)


def read(
    folder: Path, json: Mapping[str, Any], config: ViTConfig
) -> tuple[tuple[str, ...], list[str]]:
    """The labels that a checkpoint's files give, else class numbers; and notes on them.

    `labels.json` comes first, then `id2label` (or `label2id` alone), then timm's `label_names`. A
    head of 1,000 classes without names is ImageNet's only where timm's `pretrained_cfg` says that
    it was trained on ImageNet-1k last.
    """
    path, classes = folder / "labels.json", config.classes
    pretrained = json.get("pretrained_cfg")
    pretrained = pretrained if isinstance(pretrained, Mapping) else {}
    if path.is_file():
        return checked(read_json(path), "labels.json", *counts(config)), []
    told = {
        "id2label": json.get("id2label"),
        "label2id": json.get("label2id"),
        "label_names": json.get("label_names"),
        "labels": json.get("labels"),
        "pretrained_cfg.label_names": pretrained.get("label_names"),
    }
    for key, labels in told.items():
        if labels is not None:
            return checked(labels, f"config.json: {key}", classes), []
    if classes == 1000:
        tag = _tag(json, pretrained)
        if (re.findall(r"in\d+k", tag) or [""])[-1] == "in1k":
            said = f"config.json names no classes; its tag {tag} says ImageNet-1k, whose are used."
            return imagenet_wnids(), [said]
        return tuple(map(str, range(1000))), [
            "the checkpoint does not name its 1000 classes; if they are ImageNet-1k's, say "
            "--class-names imagenet (class_names in jaxattr.load)."
        ]
    return tuple(str(index) for index in range(classes)), []


def _tag(json: Mapping[str, Any], pretrained: Mapping[str, Any]) -> str:
    """What timm says a model was trained on, e.g. `augreg_in21k_ft_in1k`."""
    tag = pretrained.get("tag", json.get("tag"))
    name = json.get("architecture")
    if isinstance(tag, str) and tag:
        return tag
    return name.partition(".")[2] if isinstance(name, str) else ""


def checked(labels: Any, origin: str, *classes: int) -> tuple[str, ...]:
    """Labels out of a file (a list, or an object of number and label), one for each class."""
    if isinstance(labels, Mapping):
        labels = _in_order(labels, origin)
    if not isinstance(labels, list | tuple) or len(labels) not in classes:
        many = isinstance(labels, list | tuple)
        single = f"{quoted(labels)}, which is not a list of labels"
        count = f"{len(labels)} labels" if many else single
        raise CheckpointError(
            f"{origin} holds {count}, the head has {classes[0]} classes; give one label for each "
            f"class, in the order of the outputs."
        )
    return tuple(_label(label, f"{origin}: {index}") for index, label in enumerate(labels))


def _label(label: Any, where: str) -> str:
    if isinstance(label, int) and not isinstance(label, bool):
        label = str(label)
    if not isinstance(label, str) or not label.strip():
        raise CheckpointError(f"{where} is {quoted(label)}, wanted the name of a class.")
    if "\0" in label or any("\ud800" <= letter <= "\udfff" for letter in label):
        raise CheckpointError(
            f"{where} is {quoted(label)}, which holds a NUL or half a surrogate pair; write the "
            f"name as plain text."
        )
    return label


def _in_order(labels: Mapping[Any, Any], origin: str) -> list[Any]:
    """The labels of an object of number and label, or of label and number."""
    if labels and all(type(value) is int for value in labels.values()):
        labels = {str(number): label for label, number in labels.items()}
    numbered: dict[int, Any] = {}
    for key, label in labels.items():
        if not (key.isascii() and key.isdigit() and len(key) < 10):
            raise CheckpointError(
                f"{origin} has the key {quoted(key)}, which is not a class number; wanted 0 to "
                f"{len(labels) - 1}."
            )
        numbered[int(key)] = label
    if sorted(numbered) != list(range(len(labels))):
        raise CheckpointError(
            f"{origin} does not number the classes from 0 to {len(labels) - 1}; correct the file."
        )
    return [numbered[index] for index in range(len(numbered))]
