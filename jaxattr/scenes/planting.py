"""Which defect is planted in which image: one decision per image, pure functions of a seed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxattr.errors import DatasetError, LabelError
from jaxattr.scenes.backgrounds import BACKGROUNDS
from jaxattr.scenes.classes import CLASSES
from jaxattr.scenes.defects import (
    BackgroundShortcut,
    Contamination,
    Defect,
    Duplicates,
    MissingPart,
    RandomNoise,
    SymmetricNoise,
    Watermark,
)
from jaxattr.scenes.scene import plan

CHANGES = ("re-encoded", "shifted", "brightened")
"""What is done to a copy that is not exact."""

_LABELS = (Contamination, SymmetricNoise, RandomNoise)


class Decision(NamedTuple):
    """What one image shows, and what its label says."""

    label: str
    shown: str
    """The class that is drawn."""
    defects: tuple[Defect, ...] = ()
    """What was planted here; none leaves the image as it is in the clean twin."""
    background: str | None = None
    """Instead of the one that the scene has at random."""
    without: str | None = None
    """A part that is not drawn."""
    watermark: bool = False
    copy_of: tuple[str, int] | None = None
    """Label and number of the image that is copied."""
    change: str = ""
    """What a copy went through: `exact`, or one of `CHANGES`."""


def decide(defects: Sequence[Defect], label: str, seed: int | Sequence[int]) -> Decision:
    """Decide about one image of an endless stream, for training: each share is a probability.

    `seed` is the image's own, that of `scenes.plan`. Copies of other images do not occur.
    """
    _check((label,))
    own = (seed,) if isinstance(seed, int) else tuple(seed)
    decision = Decision(label, label)
    for defect in _ordered(defects):
        rng = np.random.default_rng((*own, _key(defect)))
        if rng.random() < _chance(defect, label) and _fits(defect, decision):
            decision = _planted(defect, decision, rng, CLASSES)
        else:
            decision = _passed(defect, decision, rng, own)
    return decision


def assign(
    defects: Sequence[Defect],
    images_per_class: int,
    seed: int = 0,
    classes: Sequence[str] = CLASSES,
) -> dict[str, list[Decision]]:
    """Decide about all images of a folder: `{label: [decision, ...]}`.

    Each share is met to within one image per class, rounded at random. A larger share plants a
    defect in the same images and some more. Image `number` of a class has the seed
    `image_seed(seed, label, number)`.

    Raises:
        DatasetError: fewer than one image per class.
        LabelError: a class that does not exist.
    """
    _check(classes)
    if images_per_class < 1:
        raise DatasetError(f"{images_per_class} images per class: give at least 1.")
    decisions = {label: [Decision(label, label)] * images_per_class for label in classes}
    for defect in _ordered(defects):
        for label in classes:
            _plant(defect, label, decisions[label], seed, classes)
    for defect in defects:
        if isinstance(defect, Duplicates):
            _copy(defect, decisions, seed)
    return decisions


def image_seed(seed: int, label: str, number: int) -> tuple[int, int, int]:
    """The seed of a folder's image, as `scenes.plan` takes it."""
    return seed, CLASSES.index(label), number


def _plant(
    defect: Defect, label: str, images: list[Decision], seed: int, classes: Sequence[str]
) -> None:
    """Plant one defect into the images of one label, in place."""
    key, symmetric = _key(defect), isinstance(defect, SymmetricNoise)
    rng = np.random.default_rng((seed, key, CLASSES.index(label)))
    # Labels are exchanged one for one, so that all classes take part equally often.
    rounding = np.random.default_rng((seed, key)) if symmetric else rng
    count = _count(_chance(defect, label), len(images), rounding)
    open_ones = [int(i) for i in rng.permutation(len(images)) if _fits(defect, images[i])]
    others = open_ones[count:] if isinstance(defect, BackgroundShortcut) else []
    for place, number in enumerate(open_ones[:count]):
        lot = np.random.default_rng((seed, key, place, 1)) if symmetric else rng
        images[number] = _planted(defect, images[number], lot, classes)
    for number in others:
        images[number] = _passed(defect, images[number], rng, image_seed(seed, label, number))


def _count(share: float, total: int, rng: np.random.Generator) -> int:
    return math.floor(round(share * total, 9) + rng.random())


def _chance(defect: Defect, label: str) -> float:
    """The share of images with this label that get the defect."""
    match defect:
        case Contamination() | MissingPart():
            return defect.share if defect.label == label else 0.0
        case SymmetricNoise():
            return defect.share if label in defect.classes else 0.0
        case RandomNoise():
            return defect.share
        case Watermark() | BackgroundShortcut():
            return defect.share if defect.label == label else defect.others or 0.0
        case _:
            return 0.0


def _fits(defect: Defect, decision: Decision) -> bool:
    """A label is wrong once only, and a part can be missing only where its class is shown."""
    right = decision.shown == decision.label
    return right if isinstance(defect, (*_LABELS, MissingPart)) else True


def _planted(
    defect: Defect, decision: Decision, rng: np.random.Generator, classes: Sequence[str]
) -> Decision:
    members = [name for name in getattr(defect, "classes", ()) if name in classes]
    if isinstance(defect, SymmetricNoise) and len(members) < 2:
        return decision
    decision = decision._replace(defects=(*decision.defects, defect))
    match defect:
        case Contamination():
            return decision._replace(shown=defect.shown)
        case SymmetricNoise():
            # A cycle through the classes: each takes the next one's image.
            cycle = [members[i] for i in rng.permutation(len(members))]
            return decision._replace(shown=cycle[(cycle.index(decision.label) + 1) % len(cycle)])
        case RandomNoise():
            others = [name for name in CLASSES if name != decision.label]
            return decision._replace(shown=others[rng.integers(len(others))])
        case Watermark():
            return decision._replace(watermark=True)
        case BackgroundShortcut():
            return decision._replace(background=defect.background)
        case MissingPart():
            return decision._replace(without=defect.part)
        case _:
            return decision


def _passed(
    defect: Defect, decision: Decision, rng: np.random.Generator, seed: tuple[int, ...]
) -> Decision:
    """An image that does not get the defect: a background that has a class to itself leaves it."""
    if not isinstance(defect, BackgroundShortcut) or defect.others is None:
        return decision
    if defect.label == decision.label or plan(seed, 0).background != defect.background:
        return decision
    rest = [name for name in BACKGROUNDS if name != defect.background]
    chosen = rest[rng.integers(len(rest))]
    return decision._replace(defects=(*decision.defects, defect), background=chosen)


def _copy(defect: Duplicates, decisions: dict[str, list[Decision]], seed: int) -> None:
    """Replace images by copies of others, in place; copies are not copied."""
    rng = np.random.default_rng((seed, _key(defect)))
    slots = {(label, i): one for label, images in decisions.items() for i, one in enumerate(images)}
    sources = {one.copy_of for one in slots.values()}
    right = [at for at, one in slots.items() if _is_right(one) and at not in sources]
    order = [right[i] for i in rng.permutation(len(right))]
    count = min(_count(defect.share, len(slots), rng), len(order) // 2)
    for label, number in order[:count]:
        across = len(decisions) > 1 and rng.random() < defect.across
        source = next((one for one in order[count:] if (one[0] != label) == across), None)
        if source is None:
            continue
        # Each source once, while there are others: the next search begins behind it.
        order.remove(source)
        order.append(source)
        original = decisions[source[0]][source[1]]
        exact = rng.random() < 0.5
        decisions[label][number] = original._replace(
            label=label,
            defects=(*original.defects, defect),
            copy_of=source,
            change="exact" if exact else CHANGES[rng.integers(len(CHANGES))],
        )


def _is_right(decision: Decision) -> bool:
    return decision.shown == decision.label and decision.copy_of is None


def _ordered(defects: Sequence[Defect]) -> list[Defect]:
    """Wrong labels first: whether a part can be missing depends on what is shown."""
    labels = [one for one in defects if isinstance(one, _LABELS)]
    rest = [one for one in defects if not isinstance(one, (*_LABELS, Duplicates))]
    return [*labels, *rest]


def _key(defect: Defect) -> int:
    """Tells the random streams of defects apart; shares do not count, so that draws are nested."""
    return zlib.crc32(f"{defect.kind}:{defect.what()}".encode())


def _check(classes: Sequence[str]) -> None:
    for name in classes:
        if name not in CLASSES:
            raise LabelError(f"{name}: no such class of scenes; choose from {', '.join(CLASSES)}.")
