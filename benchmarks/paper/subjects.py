"""The images of the figures, and where on them the explained classes are.

Photos are found by their file's name anywhere under `--images`. Their objects were marked by hand
after looking at them, as boxes in fractions of the sides (left, top, right, bottom); `None` takes
the mask that lies beside the photo. Without `--images` scenes are drawn that are held out from
training, and whose masks are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from jaxattr import metrics, scenes
from jaxattr.bench.explanations import trials
from jaxattr.data import images
from jaxattr.data.photos import Photo, read_photo
from jaxattr.errors import ImageError

if TYPE_CHECKING:
    from benchmarks.paper.lab import Lab

Box = tuple[float, float, float, float]
Marked = tuple[str, tuple[Box, ...] | None]

TWO: dict[str, tuple[Marked, Marked]] = {
    "el1.png": (
        ("zebra", ((0.0, 0.39, 0.34, 0.80),)),
        ("African elephant", ((0.50, 0.07, 1.0, 0.90),)),
    ),
    "catdog.png": (
        ("bull mastiff", ((0.35, 0.06, 0.72, 0.56),)),
        ("tiger cat", ((0.21, 0.57, 0.88, 1.0),)),
    ),
    "el2.png": (
        ("zebra", ((0.43, 0.42, 0.93, 0.90),)),
        ("African elephant", ((0.05, 0.06, 0.70, 0.42),)),
    ),
    "dogbird.png": (
        ("basset", ((0.46, 0.0, 1.0, 1.0),)),
        ("macaw", ((0.05, 0.20, 0.45, 1.0),)),
    ),
    "el3.png": (
        ("zebra", ((0.40, 0.50, 1.0, 0.88),)),
        ("African elephant", ((0.05, 0.27, 0.37, 0.82),)),
    ),
    "el4.png": (
        ("zebra", ((0.03, 0.48, 1.0, 0.94),)),
        ("African elephant", ((0.08, 0.14, 0.88, 0.46),)),
    ),
    "el5.png": (
        ("zebra", ((0.14, 0.64, 0.93, 0.90),)),
        ("African elephant", ((0.05, 0.51, 0.95, 0.63),)),
    ),
}
"""Two classes in one photo."""
ONE: dict[str, Marked] = {
    "snail.jpg": ("snail", ((0.13, 0.11, 0.81, 0.86),)),
    "tusker.jpg": ("tusker", ((0.13, 0.20, 0.79, 0.90),)),
    "bald_eagle.jpg": ("bald eagle", ((0.17, 0.32, 0.75, 0.88),)),
    "conch.jpg": ("conch", ((0.21, 0.10, 0.57, 0.59),)),
    "blackswan.jpg": ("black swan", None),
    "camel.jpg": ("Arabian camel", None),
}
"""One class in the photo."""
HEADS: tuple[Box, ...] = ((0.285, 0.53, 0.34, 0.575), (0.714, 0.32, 0.775, 0.36))
"""Of the two kites, the left one first."""
ALIKE: dict[str, tuple[tuple[str, ...], tuple[Box, ...]]] = {
    "snail.jpg": (("snail", "conch", "slug"), ()),
    "ILSVRC2012_val_00000073.jpeg": (("kite", "bald eagle"), HEADS),
}
"""Classes that the model sees in one object, and the part that the paper's argument is about."""
GUIDE = "zebra.jpg"
SHOWN = 384  # pixels of a picture's longer side
TWINS = 1  # pairs of drawn twins: of `scenes.PAIRS`, the first is bald eagle and kite


class Subject(NamedTuple):
    """An image, the classes that are explained on it, and where they are."""

    photo: Photo
    classes: tuple[int, ...]
    regions: np.ndarray
    """`[class, row, column]`: the share of each patch that shows the class. Of `alike`, instead:
    `[part, row, column]`, each place of the part by which the classes differ, none if unknown."""

    @property
    def name(self) -> str:
        return self.photo.path.name


def two(lab: Lab) -> list[Subject]:
    """Images of two classes."""
    if lab.images is not None:
        return [_photo(lab, name, marked) for name, marked in TWO.items()]
    size = lab.model.config.image_size[0]
    drawn = [trials.scene_of_two(i, 0, size) for i in range(lab.drawn)]
    return [_scene(lab, f"two-{i}", one, one.classes) for i, one in enumerate(drawn)]


def one(lab: Lab) -> list[Subject]:
    """Images of one class."""
    if lab.images is not None:
        return [_photo(lab, name, (marked,)) for name, marked in ONE.items()]
    size = lab.model.config.image_size[0]
    drawn = [scenes.draw((trials.HELD_OUT, 1, i), 1, size=size) for i in range(lab.drawn)]
    return [_scene(lab, f"one-{i}", one, one.classes) for i, one in enumerate(drawn)]


def alike(lab: Lab) -> list[Subject]:
    """Images of one object in which the model sees several classes."""
    if lab.images is not None:
        found = []
        for name, (classes, boxes) in ALIKE.items():
            parts = [_filled((box,), lab.model.config.image_size) for box in boxes]
            subject = _photo(lab, name, tuple((label, ()) for label in classes))
            regions = [metrics.pool(one, lab.model.config.grid) for one in parts]
            found.append(subject._replace(regions=np.array(regions)))
        return found
    found = []
    for first, second, part in scenes.PAIRS[:TWINS]:
        scene = scenes.draw((trials.HELD_OUT, 3, 0), [first], size=lab.model.config.image_size[0])
        subject = _scene(lab, f"twins-{first}", scene, (first, second))
        region = metrics.pool(scene.parts[0][part][None], lab.model.config.grid)
        found.append(subject._replace(regions=region))
    return found


def guide(lab: Lab, avoid: Sequence[int]) -> tuple[np.ndarray, int, str]:
    """One guide for all figures, normalised, with its class: the zebra, or a drawn object."""
    if lab.images is not None:
        path = find(lab, GUIDE)
        return images.preprocess(path, lab.model.preprocessing), lab.table.resolve("zebra"), GUIDE
    from jaxattr.experiments import guides

    names = [name for name in scenes.CLASSES if lab.table.resolve(name) not in avoid]
    pixels, drawn = guides.drawn(lab.model.config.image_size[0], 1, names[:1])
    array = images.normalize(pixels[0], lab.model.preprocessing)
    return array, lab.table.resolve(drawn[0]), f"drawn {drawn[0]}"


def find(lab: Lab, name: str) -> Path:
    """A photo of this name anywhere under `--images`.

    Raises:
        ImageError: there is none.
    """
    assert lab.images is not None
    for path in sorted(lab.images.rglob(name)):
        return path
    raise ImageError(
        f"{lab.images}: holds no {name}, which this figure shows; see benchmarks/paper/subjects.py "
        "for all names."
    )


def _photo(lab: Lab, name: str, marked: Sequence[Marked]) -> Subject:
    path = find(lab, name)
    photo = _read(lab, path)
    size = lab.model.config.image_size
    masks = [_mask(path, size) if boxes is None else _filled(boxes, size) for _, boxes in marked]
    classes = tuple(lab.table.resolve(label) for label, _ in marked)
    return Subject(photo, classes, metrics.pool(np.stack(masks), lab.model.config.grid))


def _read(lab: Lab, path: Path) -> Photo:
    """A photo as the model sees it: all pictures get its input's proportions, as in the paper."""
    photo = read_photo(path, lab.model.preprocessing, name=path.stem)
    height, width = lab.model.config.image_size
    size = round(SHOWN * width / max(height, width)), round(SHOWN * height / max(height, width))
    picture = Image.fromarray(photo.picture).resize(size, Image.Resampling.LANCZOS)
    return photo._replace(picture=np.asarray(picture))


def _filled(boxes: Sequence[Box], size: tuple[int, int]) -> np.ndarray:
    """Pixels of the model's input that lie in any of the boxes."""
    height, width = size
    y, x = (np.arange(height)[:, None] + 0.5) / height, (np.arange(width)[None] + 0.5) / width
    inside = np.zeros(size, bool)
    for left, top, right, bottom in boxes:
        inside |= (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return inside


def _mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    mask = images.decode(path.with_suffix(".png")).convert("L")
    return np.asarray(mask.resize((size[1], size[0]), Image.Resampling.NEAREST)) >= 128


def _scene(lab: Lab, name: str, scene: Any, classes: Sequence[str]) -> Subject:
    """A drawn scene as a file, because commands take files."""
    folder = lab.output / "scenes"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    Image.fromarray(scene.image).save(path)
    photo = _read(lab, path)
    regions = metrics.pool(np.stack(scene.objects), lab.model.config.grid)
    return Subject(photo, tuple(lab.table.resolve(label) for label in classes), regions)
