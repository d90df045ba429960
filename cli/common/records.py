"""What one `jaxattr explain` holds fixed, and what it finds out about each photo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxattr.cli.common import targets

if TYPE_CHECKING:
    import numpy as np

    from jaxattr.cli.common.output import Names
    from jaxattr.data.labels import LabelTable
    from jaxattr.data.photos import Photo
    from jaxattr.experiments.guidance import Guided
    from jaxattr.methods import Method
    from jaxattr.vit import Model


class Run(NamedTuple):
    """What one run holds fixed."""

    model: Model
    table: LabelTable
    question: targets.Question
    method: Method
    formats: tuple[str, ...]
    folder: Path
    drawing: dict[str, Any]
    together: bool
    class_files: list[str]
    """A part of a file's name for each class."""
    given: Names
    """The names of the files so far."""
    views: int = 1
    """Of the image, over which each map is averaged."""


class Beside(NamedTuple):
    """One class of a photo, explained beside its guides."""

    result: Guided
    """As NumPy arrays."""
    against: np.ndarray
    names: tuple[str, ...]
    canvas: np.ndarray
    """The photo and the first guide as the model sees them, 8-bit."""
    alone: np.ndarray
    """The map without a guide: what the class' logit says."""


class Typical(NamedTuple):
    """An image of a class, to be shown beside a map."""

    pixels: np.ndarray
    name: str


class Explained(NamedTuple):
    """One photo with its answer."""

    photo: Photo
    logits: np.ndarray
    probabilities: np.ndarray | None
    """By the head's own function; `None` for a regression, whose logits are values."""
    asked: list[targets.Asked]
    maps: np.ndarray
    guided: tuple[Beside, ...] = ()
    """One for each asked, where `--guide` is given; `maps` are then the means over the guides."""
    typical: dict[int, Typical] = {}  # noqa: RUF012  (never changed)
    """Images of the classes of `--details`."""


def model_name(model: Model) -> str:
    """A picture that is passed on need not tell where on this disk the model lies."""
    from jaxattr.explanation import shown_name

    return shown_name(model.name)
