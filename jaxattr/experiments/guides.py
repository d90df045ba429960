"""Which images can guide: a bank of recognised images, and the classes far from what is explained.

What target and guide have in common cancels in the difference of their logits, so that a guide of a
close class explains what tells the two apart, not where the target is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32, UInt8
from scipy import special

from jaxattr import scenes
from jaxattr.data import images
from jaxattr.data.dataset import Dataset, index
from jaxattr.data.labels import LabelTable
from jaxattr.errors import DatasetError, ImageError, JaxattrError, printable
from jaxattr.explanation import classify
from jaxattr.heads import check_classifier
from jaxattr.scenes.models import check_model, knows_scenes
from jaxattr.vit import Model, head_rows

TOP = 5
"""An image's most probable classes take no part in guiding it; a third of all, if they are few."""
CONFIDENCE = 0.5
"""The probability that a guide's own class must have for it to be chosen automatically."""
DRAWN = "scenes"
"""What names drawn scenes where images of known classes are wanted."""
_BATCH = 16
SEEDS = 5_000_000
"""Seeds of drawn guides: none of training's, and none of the benchmarks'."""


class Bank(NamedTuple):
    """Images of known classes with the model's answer to each alone."""

    pixels: UInt8[np.ndarray, "guide height width 3"]
    targets: Int32[np.ndarray, " guide"]
    logits: Float[np.ndarray, "guide class"]
    names: tuple[str, ...]


def similarity(model: Model) -> Float64[np.ndarray, "class class"]:
    """How alike two classes are to the model: the cosine of their rows of the head, centred.

    The mean row, which no decision depends on, is subtracted first. Drawn twins, which differ in
    one part only, count as 1 whatever the head says.

    Raises:
        JaxattrError: the model does not give each image one class.
    """
    check_classifier(model, "choosing guides by their class")
    rows = np.asarray(head_rows(model), np.float64)
    rows = rows - rows.mean(axis=0)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    alike = rows @ rows.T
    if knows_scenes(model):
        for first, second, _ in scenes.PAIRS:
            pair = model.labels.index(first), model.labels.index(second)
            alike[pair], alike[pair[::-1]] = 1, 1
    return alike


def top(logits: Float[np.ndarray, " class"]) -> Int[np.ndarray, " place"]:
    """The classes that the model takes the image for: the first five, at most a third of all."""
    return np.argsort(-logits, kind="stable")[: max(1, min(TOP, len(logits) // 3))]


def far(
    alike: Float64[np.ndarray, "class class"],
    logits: Float[np.ndarray, " class"],
    target: int,
) -> Bool[np.ndarray, " class"]:
    """The classes that may guide: neither target nor top, and less like these than most classes.

    A class is as close as its largest similarity to the target or to one of the image's `top`;
    of the classes beyond those, the half that is least close may guide.
    """
    near = np.union1d(top(logits), [target])
    close = alike[near].max(axis=0)
    others = np.ones(len(logits), bool)
    others[near] = False
    if not others.any():
        return others
    return others & (close <= np.median(close[others])) & (close < 1)


def choose(
    bank: Bank,
    allowed: Bool[np.ndarray, " class"],
    target: int,
    count: int,
    *,
    confidence: float | int = CONFIDENCE,
) -> Int[np.ndarray, " guide"]:
    """Positions of the `count` best guides: recognised, sure of it, and of many classes.

    A guide's most probable class is its own, with at least `confidence`, and the target is not in
    its `top`. The best of each class come first, most probable first; then the second best.

    Raises:
        JaxattrError: the bank holds fewer; says how many, and of how many images.
    """
    own = np.arange(len(bank.targets)), bank.targets
    sure = special.softmax(bank.logits, axis=1)[own]
    good = (bank.logits.argmax(axis=1) == bank.targets) & (sure >= confidence)
    good &= allowed[bank.targets]
    good &= np.array([target not in top(one) for one in bank.logits], bool)
    best = sorted(np.flatnonzero(good), key=lambda i: -sure[i])
    turns: dict[int, int] = {}
    order = []
    for place in best:
        turn = turns[bank.targets[place]] = turns.get(bank.targets[place], -1) + 1
        order.append((turn, len(order), int(place)))
    if len(order) < count:
        asked = "1 guide" if count == 1 else f"{count} guides"
        fewer = "ask for fewer or " if order else ""
        raise JaxattrError(
            f"{asked} asked for, but of {len(bank.targets)} images {len(order) or 'none'} can "
            "guide (recognised by the model, and of a class that is far from the target's); "
            f"{fewer}give more images"
        )
    return np.array([place for _, _, place in sorted(order)[:count]], np.int64)


def typical(bank: Bank, class_: int) -> int | None:
    """Position of the image of a class that the model is surest of, if it recognises one."""
    places = np.flatnonzero((bank.targets == class_) & (bank.logits.argmax(axis=1) == class_))
    if not len(places):
        return None
    sure = special.log_softmax(bank.logits[places], axis=1)[:, class_]
    return int(places[sure.argmax()])


def drawn(
    size: int, each: int, names: Sequence[str] = scenes.CLASSES
) -> tuple[UInt8[np.ndarray, "guide height width 3"], tuple[str, ...]]:
    """Scenes of one large object without clutter, `each` of every class; their classes' names."""
    keys = [(name, i) for i in range(each) for name in names]
    pixels = [
        scenes.draw((SEEDS, scenes.CLASSES.index(name), i), [name], size=size, difficulty=0.0).image
        for name, i in keys
    ]
    return np.stack(pixels), tuple(name for name, _ in keys)


class Source(NamedTuple):
    """Where images of known classes come from: a labelled folder, or the drawn scenes."""

    model: Model
    table: LabelTable
    folder: Dataset | None


def open_source(model: Model, table: LabelTable, word: str | None) -> Source | None:
    """Find the images, without reading any; `None` where none were named and none can be drawn.

    Args:
        word: a folder with one folder per class, or `scenes`; by default scenes, where the model
            knows them.

    Raises:
        DatasetError: no such folder, or classes that the model does not know.
    """
    if word is None:
        square = model.config.image_size[0] == model.config.image_size[1]
        return Source(model, table, None) if knows_scenes(model) and square else None
    if word == DRAWN and not Path(word).is_dir():
        check_model(model)
        return Source(model, table, None)
    return Source(model, table, index(word, table))


def gather(
    source: Source,
    class_: int | None,
    limit: int,
    each: int,
    *,
    unreadable: Callable[[ImageError], None] = lambda error: None,
) -> Bank:
    """Images of one class or of all, with the model's answers: `limit` files, or `each` drawn.

    Args:
        unreadable: told of each file that cannot be read, and is left out.

    Raises:
        DatasetError: the folder holds no image of the class.
        ImageError: none of them can be read.
    """
    model, table, folder = source
    if folder is None:
        names = [source.table.short(class_)] if class_ is not None else list(model.labels)
        pixels, shown = drawn(model.config.image_size[0], each, names)
        targets = np.array([table.resolve(name) for name in shown], np.int32)
        return Bank(pixels, targets, answers(model, pixels), ("drawn",) * len(shown))
    places = np.arange(len(folder.files))
    if class_ is not None:
        places = places[folder.targets == class_]
    if not len(places):
        wanted = "" if class_ is None else f" of {table.short(class_)}"
        raise DatasetError(f"{folder.root}: holds no image{wanted}; choose another --guide")
    # One of each class, then a second of each: all classes take part however many images there are.
    turn = np.array([np.sum(folder.targets[:i] == folder.targets[i]) for i in places])
    chosen = places[np.argsort(turn, kind="stable")][:limit]
    paths = [folder.root / folder.files[i] for i in chosen]
    return bank_of(paths, model, folder.targets[chosen], unreadable=unreadable)


def answers(model: Model, pixels: np.ndarray) -> np.ndarray:
    """The logits of many images, computed in batches of one compiled shape."""
    size = min(_BATCH, len(pixels))
    logits = []
    for start in range(0, len(pixels), size):
        chosen = np.minimum(np.arange(start, start + size), len(pixels) - 1)
        arrays = np.stack([images.normalize(one, model.preprocessing) for one in pixels[chosen]])
        logits.append(np.asarray(_classify(model, arrays)))
    return np.concatenate(logits)[: len(pixels)].astype(np.float64)


_classify = jax.jit(classify)


def bank_of(
    paths: Sequence[Path],
    model: Model,
    targets: np.ndarray | None = None,
    *,
    unreadable: Callable[[ImageError], None] = lambda error: None,
) -> Bank:
    """Read files; without `targets` each is what the model takes it for, and all must be readable.

    Raises:
        ImageError: none of them can be read; without `targets`, one.
    """
    found, places = [], []
    for place, one in enumerate(images.read_ahead(paths, lambda path: _fitted(path, model))):
        if not isinstance(one, ImageError):
            found.append(one)
            places.append(place)
        elif targets is None:
            raise one
        else:
            unreadable(one)
    if not found:
        raise ImageError(f"none of {len(paths)} images of --guide-images can be read; check them")
    pixels = np.stack(found)
    logits = answers(model, pixels)
    own = logits.argmax(axis=1) if targets is None else targets[places]
    return Bank(pixels, own.astype(np.int32), logits, tuple(paths[i].name for i in places))


def _fitted(path: Path, model: Model) -> np.ndarray:
    image = images.decode(path, max_pixels=model.preprocessing.max_pixels)
    try:
        return images.fit(image, model.preprocessing)
    except ImageError as error:
        raise ImageError(f"{printable(path)}: {error}") from None
