"""What `bench methods` reads: images, masks, and the maps of a shard that are already there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from jaxattr.bench.methods.maps import Explainer, Row
from jaxattr.bench.methods.scoring import Shard
from jaxattr.bench.perturbation.passes import Unmasked
from jaxattr.bench.store import SHARD, Store
from jaxattr.data import images
from jaxattr.data.dataset import Dataset
from jaxattr.errors import DatasetError, ImageError, printable
from jaxattr.metrics.context import Fellows
from jaxattr.metrics.grid_pointing import CONFIDENT
from jaxattr.scenes.folder import hidden_bits

Target = Literal["label", "prediction"]


class Run(NamedTuple):
    """A run's folder of images, and where its results are kept."""

    dataset: Dataset
    explainer: Explainer
    store: Store
    rows: tuple[Row, ...]
    masks: Path | None
    workers: int | None
    target: Target = "label"

    def explained(self, members: Sequence[int], prediction: np.ndarray) -> np.ndarray:
        """The classes explained of some images, given what the model says of them."""
        return prediction if self.target == "prediction" else self.dataset.targets[list(members)]


def shard(this: Run, number: int, decoded: Sequence[np.ndarray | ImageError]) -> Shard:
    """The images of a shard with their maps and masks.

    Raises:
        DatasetError: a mask is missing, or images have changed since the maps were made.
    """
    errors, unmasked = kept(this.store, number)
    good = [index for index, e in zip(this.store.shards[number], errors, strict=True) if not e]
    pictures = [one for one in decoded if not isinstance(one, ImageError)]
    if len(pictures) != len(good):
        raise DatasetError(
            f"{this.dataset.root}: an image can no longer be read, or can again; delete "
            f"{this.store.folder} and start again."
        )
    c = this.explainer.model.config
    given = np.stack(pictures) if good else np.zeros((0, *c.image_size, c.channels), np.float32)
    labels = this.explained(good, unmasked.prediction)
    right = (unmasked.prediction == labels) & (unmasked.probability[:, 0] >= CONFIDENT)
    maps = {name: found[:, 0] for name, found in unmasked.maps.items()}
    names, masks = [this.dataset.files[index] for index in good], None
    if this.masks is not None:
        read = [_mask(this, name) for name in names]
        masks = np.stack(read) if read else np.zeros((0, *c.image_size), bool)
    return Shard(given, labels, names, maps, right, masks)


def fellows(this: Run, classes: int) -> Fellows:
    """The image of each class that is recognised best, of the best recognised classes."""
    labels, right = _classes(this), recognised(this)
    chance = _every(this, lambda unmasked: unmasked.probability[:, 0])
    best: dict[int, int] = {}
    for index in np.argsort(-np.where(right, chance, -1), kind="stable"):
        if right[index]:
            best.setdefault(int(labels[index]), int(index))
    chosen = list(best.items())[:classes]
    decoded = decode(this, [index for _, index in chosen])
    shown = [one for one in decoded if not isinstance(one, ImageError)]
    c = this.explainer.model.config
    pictures = np.stack(shown) if shown else np.zeros((0, *c.image_size, c.channels), np.float32)
    return Fellows(np.array([label for label, _ in chosen], np.int32), pictures)


def recognised(this: Run) -> np.ndarray:
    """Which images of the folder have the class explained on top, and `CONFIDENT` for it."""
    chance = _every(this, lambda unmasked: unmasked.probability[:, 0])
    top = _every(this, lambda unmasked: unmasked.prediction)
    return (top == _classes(this)) & (chance >= CONFIDENT)


def _classes(this: Run) -> np.ndarray:
    """The class explained of each image of the folder."""
    if this.target == "label":
        return this.dataset.targets
    return _every(this, lambda unmasked: unmasked.prediction).astype(np.int32)


def _every(this: Run, read: Callable[[Unmasked], np.ndarray]) -> np.ndarray:
    """A number for each image of the folder, -1 for unreadable ones."""
    result = np.full(len(this.dataset.files), -1.0)
    for number, members in enumerate(this.store.shards):
        errors, unmasked = kept(this.store, number)
        result[[i for i, e in zip(members, errors, strict=True) if not e]] = read(unmasked)
    return result


def kept(store: Store, number: int) -> tuple[list[str], Unmasked]:
    """The errors and maps of a shard that is finished."""
    kept = store.maps(number)
    assert kept is not None  # written before anything is scored
    return kept


def decode(this: Run, wanted: Sequence[int]) -> Iterator[np.ndarray | ImageError]:
    """Images in the order wanted, preprocessed, in threads."""

    def one(index: int) -> np.ndarray:
        file = this.dataset.files[index]
        path = this.dataset.root / file
        return images.preprocess(path, this.explainer.model.preprocessing, name=file)

    return images.read_ahead(wanted, one, workers=this.workers, ahead=2 * SHARD)


def mask_path(this: Run, name: str) -> Path:
    """Where the mask of an image lies; `DatasetError` where there is none."""
    assert this.masks is not None
    path = (this.masks / name).with_suffix(".png")
    if not path.is_file():
        raise DatasetError(f"{path}: no such mask; give each image a PNG, where 0 is background.")
    return path


def _mask(this: Run, name: str) -> np.ndarray:
    """Where the mask is not 0, brought to the model's size as the image was."""
    path, preprocessing = mask_path(this, name), this.explainer.model.preprocessing
    assert this.masks is not None
    try:
        mask = images.read_mask(
            path, ignored=hidden_bits(this.masks.parent), max_pixels=preprocessing.max_pixels
        )
        return images.fit_mask(mask, preprocessing)
    except ImageError as error:
        reason = str(error).removeprefix(f"{printable(path)}: ")
        raise DatasetError(
            f"{path}: this mask cannot be read; give a whole PNG ({reason})."
        ) from None
