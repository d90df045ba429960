"""What the outputs of a model say: probabilities, or values; and one output as two classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jaxattr.cli.common import options

if TYPE_CHECKING:
    import numpy as np

    from jaxattr.data.labels import LabelTable
    from jaxattr.vit import Model


def probabilities(model: Model, logits: np.ndarray) -> np.ndarray | None:
    """The probabilities of logits, `[..., class]`, by the head's function; `None` for values."""
    from jaxattr import heads

    return heads.probabilities(model.config, logits) if heads.link(model.config) else None


def said(probability: np.ndarray | None, logits: np.ndarray, index: int) -> str:
    """What a picture says of one output: probability and logit, or its value."""
    if probability is None:
        return f"value {logits[index]:.2f}"
    return f"p {probability[index]:.3f} · logit {logits[index]:.2f}"


def classifier(model: Model, task: str) -> Model:
    """The model as a classifier of labelled images, or one line that says why it is none."""
    from jaxattr import heads

    return heads.classifier(model, task)


def named(
    before: Model, model: Model, root: Path, labels_file: str | Path | None, *, quiet: bool
) -> Model:
    """Call the other class of a head of one logit as the folder does, and say what it is.

    `before` is the model as it was loaded, `model` the one of two classes. Of two names of classes
    one must be the output's own; the other one is then the class that it is not.
    """
    from jaxattr.data.dataset import class_names
    from jaxattr.data.labels import LabelTable, is_number
    from jaxattr.errors import DatasetError, printable

    if model is before:
        return model
    table, names = LabelTable(model.labels), class_names(root, labels_file)
    others = [name for name in names if not (table.candidates(name) or is_number(name))]
    if len(names) == len(others) == 2:
        raise DatasetError(
            f"{printable(root)}: this model has one output, {model.labels[1]}, and the classes are "
            f"{names[0]} and {names[1]}; say which is which with --class-names FILE, a line each, "
            "the one that the output stands for last."
        )
    if len(names) == 2 and len(others) == 1 and (1,) in map(table.candidates, names):
        model = replace(model, labels=(others[0], model.labels[1]))
    options.note(
        f"One output is two classes: {model.labels[1]} (probability: the output's sigmoid) and "
        f"{model.labels[0]} (the rest).",
        quiet=quiet,
    )
    return model


def one_label(model: Model, table: LabelTable, name: str, *, quiet: bool) -> tuple[Model, int]:
    """A model that gives each image one class, and which of them the name asks for.

    Of a sigmoid head that is one output as two classes, "not X" and X.
    """
    from jaxattr import heads

    if heads.link(model.config) != "sigmoid":
        return heads.classifier(model, "jaxattr rewrite"), table.resolve(name)
    start = heads.NOT if name.strip().casefold().startswith(heads.NOT) else ""
    if start and table.candidates(name):
        start = ""
    index = table.resolve(name.strip()[len(start) :])
    own = table.short(index)
    options.note(
        f"The output {own} is two classes: {heads.NOT}{own}, and {own}; the difference of their "
        "logits is the output.",
        quiet=quiet,
    )
    return heads.two_classes(model, index, (f"{heads.NOT}{own}", own)), 0 if start else 1
