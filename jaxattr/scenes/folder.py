"""Write scenes as a labelled image folder, with defects planted and their truth beside it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxattr.errors import DatasetError, LabelError
from jaxattr.scenes.classes import CLASSES
from jaxattr.scenes.scene import SIZE, draw

TRUTH = "truth.csv"


@dataclass(frozen=True)
class Mislabelled:
    """Wrong labels to plant.

    `contaminated` holds `(folder, class, share)`: that share of the folder's images shows the
    class, and not the other way round. `random` is the share of all other images that show a
    class taken by lot.
    """

    contaminated: tuple[tuple[str, str, float], ...] = (("kite", "bald eagle", 0.12),)
    random: float = 0.01


class Truth(NamedTuple):
    """A row of `truth.csv`."""

    file: str
    label: str
    """What the folder says."""
    true_label: str
    """What the image shows."""
    defect: str
    """Empty, `contamination` or `random`."""
    background: str


def write_folder(
    path: str | Path,
    images_per_class: int = 40,
    *,
    seed: int = 0,
    size: int = SIZE,
    mislabelled: Mislabelled | None = Mislabelled(),
    classes: Sequence[str] = CLASSES,
    suffix: str = ".png",
) -> list[Truth]:
    """Write one-object scenes to `path/<class>/<number>.png`, and `path/truth.csv`.

    Spaces of class names become underscores. `mislabelled=None` writes the clean twin of the same
    seed: it differs in the planted images only, and in a folder contaminated by a twin class in
    one part of them only.

    Args:
        path: made if it is not there; must be empty.
        suffix: `.png`, or `.jpg` (quality 92).

    Returns:
        The rows of `truth.csv`, in its order.

    Raises:
        DatasetError: the folder is not empty, or a number is out of range.
        LabelError: a class that does not exist.
    """
    path = Path(path)
    shown = plant(images_per_class, seed, mislabelled, classes)
    if size < 16:
        raise DatasetError(f"size {size}: too small to recognise anything; give 16 or more pixels.")
    if suffix not in (".png", ".jpg"):
        raise DatasetError(f"suffix {suffix}: cannot be written; choose .png or .jpg.")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DatasetError(f"{path}: is not an empty folder; name a new one.")
    rows = []
    for label in classes:
        folder = label.replace(" ", "_")
        (path / folder).mkdir(parents=True)
        for number, (name, defect) in enumerate(shown[label]):
            file = f"{folder}/{number:04d}{suffix}"
            scene = draw((seed, CLASSES.index(label), number), [name], size=size)
            Image.fromarray(scene.image).save(path / file, quality=92)
            rows.append(Truth(file, label, name, defect, scene.background))
    with (path / TRUTH).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(Truth._fields)
        writer.writerows(rows)
    return rows


def plant(
    images_per_class: int,
    seed: int,
    mislabelled: Mislabelled | None,
    classes: Sequence[str] = CLASSES,
) -> dict[str, list[tuple[str, str]]]:
    """Decide which class each image shows: `{folder: [(class, defect), ...]}`."""
    if images_per_class < 1:
        raise DatasetError(f"{images_per_class} images per class: give at least 1.")
    defects = mislabelled or Mislabelled((), 0.0)
    names = [*classes, *(name for a, b, _ in defects.contaminated for name in (a, b))]
    for name in names:
        if name not in CLASSES:
            raise LabelError(f"{name}: no such class of scenes; choose from {', '.join(CLASSES)}.")
    for share in (defects.random, *(share for *_, share in defects.contaminated)):
        if not 0 <= share <= 1:
            raise DatasetError(f"share {share}: out of range; give a number from 0 to 1.")
    rng = np.random.default_rng((seed, 7))
    shown = {label: [(label, "")] * images_per_class for label in classes}
    for label, name, share in defects.contaminated:
        if label in shown:
            _replace(rng, shown[label], round(share * images_per_class), [name], "contamination")
    for label in classes:
        # Rounded by lot, so that small folders have their few wrong labels too.
        count = int(defects.random * images_per_class + rng.random())
        others = [name for name in CLASSES if name != label]
        _replace(rng, shown[label], count, others, "random")
    return shown


def _replace(
    rng: np.random.Generator,
    images: list[tuple[str, str]],
    count: int,
    names: list[str],
    defect: str,
) -> None:
    """Let `count` images that are still right show one of `names`."""
    right = [i for i, (_, planted) in enumerate(images) if not planted]
    for i in rng.permutation(right)[:count]:
        images[i] = (names[rng.integers(len(names))], defect)
