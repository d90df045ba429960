"""Where the object of an image is, when the folder says so: masks or boxes beside the images."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from jaxattr.data import images
from jaxattr.scenes.folder import hidden_bits
from jaxattr.vit import Preprocessing

BOXES = "boxes.csv"
MASKS = "masks"

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
    drawn = _mask(root, file, preprocessing.max_pixels)
    if drawn is None:
        drawn = _box(root, file, preprocessing.max_pixels)
    if drawn is None:
        return None
    fitted = images.fit_mask(drawn, preprocessing)
    rows, columns = np.flatnonzero(fitted.any(axis=1)), np.flatnonzero(fitted.any(axis=0))
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _mask(root: Path, file: str, max_pixels: int) -> Bool[np.ndarray, "height width"] | None:
    for folder in (root, root.parent):
        path = (folder / MASKS / file).with_suffix(".png")
        if path.is_file():
            return images.read_mask(path, ignored=hidden_bits(folder), max_pixels=max_pixels)
    return None


def _box(root: Path, file: str, max_pixels: int) -> Bool[np.ndarray, "height width"] | None:
    path = root / file
    for folder in (root, root.parent):
        listed = folder / BOXES
        table = _table(listed, listed.stat().st_mtime_ns) if listed.is_file() else {}
        entry = table.get(path.relative_to(folder).as_posix())
        if entry is None:
            continue
        left, top, right, bottom = entry
        size = images.decode(path, name=file, max_pixels=max_pixels).size
        marked = np.zeros(size[::-1], bool)
        marked[max(top, 0) : bottom + 1, max(left, 0) : right + 1] = True
        return marked
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
