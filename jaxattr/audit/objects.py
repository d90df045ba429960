"""Where the object of an image is, when the folder says so: masks or boxes beside the images."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from jaxattr import images
from jaxattr.errors import ImageError
from jaxattr.types import Preprocessing

BOXES = "boxes.csv"
MASKS = "masks"
_OBJECT = 0x7F  # in masks of drawn scenes the highest bit is the watermark

Span = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels of the model's input; the last two exclusive."""


def object_box(root: Path, file: str, preprocessing: Preprocessing) -> Span | None:
    """The smallest box around the object, in the model's input; None where nothing tells.

    Read from a mask of the same name (`masks/<file>.png` in the image folder or beside it; any
    value but 0 is the object), or from the first `boxes.csv` in the folder or above it (columns
    file, xmin, ymin, xmax, ymax; pixels of the photo, the last ones inclusive; files relative to
    the table).

    Raises:
        ImageError: the mask or the image cannot be read.
    """
    drawn = _mask(root, file) or _box(root, file)
    if drawn is None:
        return None
    fitted = images.fit(drawn.convert("RGB"), preprocessing)[..., 0] >= 128
    rows, columns = np.flatnonzero(fitted.any(axis=1)), np.flatnonzero(fitted.any(axis=0))
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _mask(root: Path, file: str) -> Image.Image | None:
    for folder in (root, root.parent):
        path = (folder / MASKS / file).with_suffix(".png")
        if path.is_file():
            try:
                with Image.open(path) as mask:
                    return Image.fromarray(((np.array(mask) & _OBJECT) > 0).astype(np.uint8) * 255)
            except (OSError, ValueError, TypeError) as error:
                raise ImageError(f"{path}: is no mask that can be read ({error})") from None
    return None


def _box(root: Path, file: str) -> Image.Image | None:
    path = root / file
    for folder in (root, root.parent):
        listed = folder / BOXES
        table = _table(listed, listed.stat().st_mtime_ns) if listed.is_file() else {}
        entry = table.get(path.relative_to(folder).as_posix())
        if entry is None:
            continue
        left, top, right, bottom = entry
        size = images.decode(path, name=file).size
        marked = np.zeros(size[::-1], np.uint8)
        marked[max(top, 0) : bottom + 1, max(left, 0) : right + 1] = 255
        return Image.fromarray(marked)
    return None


@lru_cache(maxsize=4)
def _table(path: Path, changed: int) -> dict[str, tuple[int, int, int, int]]:
    """The rows of a table of boxes, those that are none left out; `changed` is its age."""
    found = {}
    with path.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            try:
                corners = [int(float(row[name])) for name in ("xmin", "ymin", "xmax", "ymax")]
                found[row["file"]] = (corners[0], corners[1], corners[2], corners[3])
            except (KeyError, TypeError, ValueError):
                continue
    return found
