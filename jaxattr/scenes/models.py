"""Which models know the drawn classes, and how they call them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int32

from jaxattr.data.labels import LabelTable
from jaxattr.errors import JaxattrError, LabelError
from jaxattr.scenes.classes import CLASSES
from jaxattr.vit import Model


def knows_scenes(model: Model) -> bool:
    """Whether the classes are those of the drawn scenes and no others, whatever their order."""
    return set(model.labels) == set(CLASSES)


def check_model(model: Model) -> tuple[int, Int32[np.ndarray, " class"]]:
    """The side of the model's input, and its outputs for `CLASSES`.

    Raises:
        LabelError: the model lacks one of the classes.
        JaxattrError: its input is not square.
    """
    height, width = model.config.image_size
    if height != width:
        raise JaxattrError(
            f"{model.name}: takes images of {height} x {width}, scenes are square; choose a square "
            "image size."
        )
    table = LabelTable(model.labels, model.config.classes)
    try:
        outputs = [table.resolve(name) for name in CLASSES]
    except LabelError as error:
        raise LabelError(
            f"{model.name}: does not know the classes of the scenes ({error}); name a model that "
            "was trained on them, such as scenes."
        ) from None
    return height, np.array(outputs, np.int32)
