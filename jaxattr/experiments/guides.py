"""Which images can guide: a bank of recognised images, and the classes far from what is explained.

What target and guide have in common cancels in the difference of their logits, so that a guide of a
close class explains what tells the two apart, not where the target is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32, UInt8

from jaxattr import scenes
from jaxattr.errors import JaxattrError
from jaxattr.heads import check_classifier
from jaxattr.vit import Model

TOP = 5
"""An image's most probable classes take no part in guiding it; a third of all, if they are few."""
CONFIDENCE = 0.5
"""The probability that a guide's own class must have for it to be chosen automatically."""
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
    names = ("head", "head_distilled") if "head_distilled" in model.parameters else ("head",)
    kernels = [np.asarray(model.parameters[name]["kernel"], np.float64) for name in names]
    rows = np.sum(kernels, axis=0).T
    rows = rows - rows.mean(axis=0)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    alike = rows @ rows.T
    if knows_scenes(model):
        for first, second, _ in scenes.PAIRS:
            pair = model.labels.index(first), model.labels.index(second)
            alike[pair], alike[pair[::-1]] = 1, 1
    return alike


def knows_scenes(model: Model) -> bool:
    """Whether the classes are those of the drawn scenes, so that guides can be drawn."""
    return set(model.labels) == set(scenes.CLASSES)


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
    shifted = np.exp(bank.logits - bank.logits.max(axis=1, keepdims=True))
    own = np.arange(len(bank.targets)), bank.targets
    sure = (shifted / shifted.sum(axis=1, keepdims=True))[own]
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
    logits = bank.logits[places]
    peak = logits.max(axis=1)
    margin = logits[:, class_] - peak - np.log(np.exp(logits - peak[:, None]).sum(axis=1))
    return int(places[margin.argmax()])


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
