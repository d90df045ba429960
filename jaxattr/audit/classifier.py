"""A model as a classifier of a folder's classes, called as the folder calls them."""

from __future__ import annotations

import os
from dataclasses import replace

from jaxattr.data.dataset import class_names
from jaxattr.data.labels import LabelTable, is_number
from jaxattr.errors import DatasetError, printable
from jaxattr.heads import classifier
from jaxattr.vit import Model


def classifier_of_folder(
    model: Model,
    task: str,
    root: str | os.PathLike[str],
    labels_file: str | os.PathLike[str] | None = None,
) -> tuple[Model, tuple[str, ...]]:
    """`heads.classifier`, whose classes are called as a folder calls them; and what to say of it.

    Of a head of one logit, of two names of classes one must be the output's own; the other one is
    then the class that it is not. Any other model stays as it is, and nothing is said.

    Args:
        labels_file: as of `jaxattr.data.dataset.index`.

    Raises:
        JaxattrError: as `heads.classifier`.
        DatasetError: neither class of the folder is the output's own.
    """
    two = classifier(model, task)
    if two is model:
        return model, ()
    table, names = LabelTable(two.labels), class_names(root, labels_file)
    others = [name for name in names if not (table.candidates(name) or is_number(name))]
    if len(names) == len(others) == 2:
        raise DatasetError(
            f"{printable(root)}: this model has one output, {two.labels[1]}, and the classes are "
            f"{names[0]} and {names[1]}; say which is which with --class-names FILE, a line each, "
            "the one that the output stands for last."
        )
    if len(names) == 2 and len(others) == 1 and (1,) in map(table.candidates, names):
        two = replace(two, labels=(others[0], two.labels[1]))
    sentence = (
        f"One output is two classes: {two.labels[1]} (probability: the output's sigmoid) and "
        f"{two.labels[0]} (the rest)."
    )
    return two, (sentence,)
