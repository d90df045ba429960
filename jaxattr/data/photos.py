"""A photo as the model sees it, and as a person does: the array, and the picture beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxattr.data import images
from jaxattr.data.images import as_rgb, fit
from jaxattr.errors import ImageError, printable
from jaxattr.vit import Preprocessing


class Photo(NamedTuple):
    """A decoded image: the model's input, and what a person looks at."""

    name: str
    path: Path
    array: np.ndarray
    """Normalised, `[height, width, channel]`."""
    picture: np.ndarray
    """The part that the model sees, 8-bit, `[height, width, 3]`, in the photo's proportions."""


def read_photo(
    path: str | os.PathLike[str], preprocessing: Preprocessing, *, name: str = ""
) -> Photo:
    """Decode one photo for the model and for a person; by default called as its file.

    Raises:
        ImageError: as `images.decode`, and where it does not fit the model's input.
    """
    path = Path(path)
    image = images.decode(path, max_pixels=preprocessing.max_pixels)
    try:
        return photo_of(image, preprocessing, path, name=name)
    except ImageError as error:
        raise ImageError(f"{printable(path)}: {error}") from None


def photo_of(
    image: Image.Image, preprocessing: Preprocessing, path: Path, *, name: str = ""
) -> Photo:
    """An image as `images.decode` gives it, for the model and for a person."""
    array = images.normalize(fit(image, preprocessing), preprocessing)
    return Photo(name or path.name, path, array, visible(image, preprocessing))


def visible(image: Image.Image, preprocessing: Preprocessing, longest: int = 640) -> np.ndarray:
    """The part of a photo that the model sees, in the photo's own proportions, `[h, w, 3]`."""
    if len(preprocessing.mean) == 1:
        image = image.convert("L").convert("RGB")
    width, height = image.size
    box = (0.0, 0.0, float(width), float(height))
    if preprocessing.crop is not None:
        resize = preprocessing.resize or (height, width)
        if isinstance(resize, int):
            resize = (resize * height / min(width, height), resize * width / min(width, height))
        if any(one > of + 1 for one, of in zip(preprocessing.crop, resize, strict=True)):
            return as_rgb(fit(image, preprocessing))  # black edges, which the map covers, too
        tall, wide = (
            min(1, one / of) * side / 2
            for one, of, side in zip(preprocessing.crop, resize, (height, width), strict=True)
        )
        box = (width / 2 - wide, height / 2 - tall, width / 2 + wide, height / 2 + tall)
    wide, tall = box[2] - box[0], box[3] - box[1]
    factor = min(longest / max(wide, tall), max(1.0, 224 / max(wide, tall)))
    size = max(1, round(wide * factor)), max(1, round(tall * factor))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, box=box))
