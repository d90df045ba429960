"""What the outputs of a model say: probabilities, or values; and one output as two classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jaxattr.cli.common import options

if TYPE_CHECKING:
    from jaxattr.data.labels import LabelTable
    from jaxattr.vit import Model


def classifier(model: Model, task: str) -> Model:
    """The model as a classifier of labelled images, or one line that says why it is none."""
    from jaxattr import heads

    return heads.classifier(model, task)


def named(
    before: Model, model: Model, root: Path, labels_file: str | Path | None, *, quiet: bool
) -> Model:
    """Call the other class of a head of one logit as the folder does, and say what it is.

    `before` is the model as it was loaded, `model` the one of two classes.
    """
    from jaxattr.audit.classifier import classifier_of_folder

    if model is before:
        return model
    model, sentences = classifier_of_folder(before, "", root, labels_file)
    for sentence in sentences:
        options.note(sentence, quiet=quiet)
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
