"""Pasting: are the pixels at one place of one class's images enough to make the model say it?

A window is cut out of an image of the class (a donor) and put onto an image of another class (a
recipient), at the same place. It is compared with two other windows on the same recipient: the one
with the most evidence elsewhere in the class's own images, and one from the same place of a third
class's image. The first is what tells a place from an object: parts of an object raise its class
wherever they are cut from.

Besides, the pixels that the donors share are pasted alone: a stamp is the same in all of them, and
objects are not. They are compared with the same pixels of a third class's images.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxattr.audit.evidence.gather import default_batch_size
from jaxattr.audit.inference import places
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.places import Place
from jaxattr.audit.ledger.columns import log_softmax, lot, unit_maps
from jaxattr.audit.probes.store import Question
from jaxattr.vit import predict as predict_one

if TYPE_CHECKING:
    from jaxattr.audit.probes import Subject

NAME = "pasting"
VERSION = 2
RECIPIENTS = 24
SHARED_RECIPIENTS = 48
"""Recipients of the shared pixels: more, for these are one patch, and only recipients differ."""
EQUAL = 0.25
"""Spread of a shared pixel between donors, at most, in units of that between other images."""
SAME, SHARED = 0.1, 0.1
"""Pixels that differ at most a tenth as much must be a tenth of the box: else there is no test."""
_THIRDS = 8  # classes that stand for the others, in turn
DONORS = 12
"""At most; and at most half of the class's images, so that chance does not choose them."""
_LISTED = 48
_LOOKED_AT = 1000  # images of a class that donors are chosen from: bounded memory


# One image after the other would leave most cores idle: these networks are small.
_predict = jax.jit(jax.vmap(predict_one, in_axes=(None, 0)))


class Window(NamedTuple):
    """A place in one image."""

    image: int
    box: tuple[int, int, int, int]


class Small(NamedTuple):
    """Ledger index, label and prediction of every readable image."""

    image: Int[np.ndarray, " image"]
    label: Int[np.ndarray, " image"]
    prediction: Int[np.ndarray, " image"]


def questions(analysis: Analysis) -> list[Question]:
    """One question a candidate of `places.candidates`: which windows go onto which images."""
    found = places.candidates(analysis.places)
    return raise_questions(analysis, found)


def raise_questions(analysis: Analysis, found: list[Place]) -> list[Question]:
    """Questions about given places; see `questions`."""
    grid = analysis.ledger.receipt.grid
    found = [one for one in found if len(places.elsewhere(one.box, grid))]
    if not found:
        return []
    columns = analysis.ledger.read("index", "label", "prediction")
    small = Small(columns["index"], columns["label"], columns["prediction"])
    maps = _maps(analysis, small, [one.label for one in found])
    return [_question(analysis, small, one, *maps[one.label]) for one in found]


def _maps(
    analysis: Analysis, small: Small, labels: list[int]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Indices and maps of the images of some classes, evenly spaced where there are many."""
    wanted = {}
    for label in labels:
        own = small.image[small.label == label]
        step = -(-len(own) // _LOOKED_AT)
        wanted[label] = own[::step]
    every = np.concatenate(list(wanted.values()))
    parts: dict[int, np.ndarray] = {}
    for shard in analysis.ledger.iterate("index", "map_positive"):
        for row in np.flatnonzero(np.isin(shard["index"], every)).tolist():
            parts[int(shard["index"][row])] = shard["map_positive"][row]
    return {
        label: (own, unit_maps(np.stack([parts[int(i)] for i in own])))
        for label, own in wanted.items()
    }


def _question(
    analysis: Analysis, small: Small, one: Place, own: np.ndarray, units: np.ndarray
) -> Question:
    grid = analysis.ledger.receipt.grid
    count = min(DONORS, len(own) // 2)
    here = places.shares(units, np.array([one.box]), grid)[:, 0]
    donors = np.argsort(-here, kind="stable")
    windows = places.elsewhere(one.box, grid)
    there = places.shares(units, windows, grid)
    strongest = np.argsort(-there.max(axis=1), kind="stable")
    ranked = recipients(small, one.label)
    label_of = dict(zip(small.image.tolist(), small.label.tolist(), strict=True))
    trials = []
    for number, recipient in enumerate(ranked[:RECIPIENTS]):
        other = strongest[number % count]
        box = windows[there[other].argmax()].tolist()
        trials.append(
            {
                "recipient": recipient,
                "donor": int(own[donors[number % count]]),
                "elsewhere": {"image": int(own[other]), "box": box},
                "third": third(ranked, label_of, number),
            }
        )
    every = [int(i) for i in own[donors[:count]]]
    return {
        "class": one.label,
        "box": list(one.box),
        "statistic": round(one.statistic, 4),
        "mean": round(one.mean, 4),
        "images": [int(i) for i in own[donors]][:_LISTED],
        "trials": trials,
        "shared": {
            "donors": every,
            "recipients": ranked[:SHARED_RECIPIENTS],
            "labels": [label_of[i] for i in ranked[:SHARED_RECIPIENTS]],
            "thirds": _third_classes(small, one.label, count),
        },
    }


def _third_classes(small: Small, label: int, count: int) -> list[dict[str, Any]]:
    """Other classes at random, and `count` images of each, at random."""
    sizes = np.bincount(small.label)
    sizes[label] = 0
    chosen = sorted(np.flatnonzero(sizes >= count).tolist(), key=lot)[:_THIRDS]
    return [
        {"label": one, "donors": sorted(small.image[small.label == one].tolist(), key=lot)[:count]}
        for one in chosen
    ]


def third(ranked: list[int], label_of: dict[int, int], number: int) -> int:
    """An image of another class than a recipient's, in turn; itself if there is no such image."""
    rest = ranked[RECIPIENTS:] or ranked
    turn = rest[number % len(rest) :] + rest[: number % len(rest)]
    own = label_of[ranked[number]]
    return next((one for one in turn if label_of[one] != own), ranked[number])


def recipients(small: Small, label: int) -> list[int]:
    """Images of the other classes that the model does not take for `label`, classes in turn."""
    fit = np.flatnonzero((small.label != label) & (small.prediction != label))
    queues: dict[int, list[int]] = {}
    for position in sorted(fit.tolist(), key=lambda one: lot(int(small.image[one]))):
        queues.setdefault(int(small.label[position]), []).append(int(small.image[position]))
    return list(islice(_in_turn(list(queues.values())), 4 * RECIPIENTS))


def _in_turn(queues: list[list[int]]) -> Iterator[int]:
    for depth in range(max(map(len, queues), default=0)):
        yield from (queue[depth] for queue in queues if depth < len(queue))


def answer(subject: Subject, question: Question) -> dict[str, Any]:
    """Log-probability of the class on every recipient: as it is, and after each of three pastes.

    `before`, `after`, `elsewhere`, `third`, in the order of the trials; `turned`: predicted as the
    class after the paste from its own place. `shared` holds the same of the shared pixels alone:
    their `share` of the box, and where enough are the same (`SHARED`), `before`, `after`, `third`,
    `turned`. Costs 96 forward passes and then 96 more.
    """
    box, label = tuple(question["box"]), question["class"]
    pictures: list[np.ndarray] = []
    for trial in question["trials"]:
        plain = subject.image(trial["recipient"])
        elsewhere = trial["elsewhere"]
        windows = (
            Window(trial["donor"], box),
            Window(elsewhere["image"], tuple(elsewhere["box"])),
            Window(trial["third"], box),
        )
        pictures += [plain, *(paste(subject, plain, box, one) for one in windows)]
    logits = predict(subject, pictures)
    chance = log_softmax(logits)[:, label].reshape(-1, 4)
    names = ("before", "after", "elsewhere", "third")
    found: dict[str, Any] = {"donors": [trial["donor"] for trial in question["trials"]]}
    found |= {name: [round(float(v), 5) for v in chance[:, i]] for i, name in enumerate(names)}
    found["turned"] = (logits.argmax(axis=1).reshape(-1, 4)[:, 1] == label).tolist()
    return found | {"shared": _answer_shared(subject, question)}


def _answer_shared(subject: Subject, question: Question) -> dict[str, Any]:
    box, label, asked = tuple(question["box"]), question["class"], question["shared"]
    own = _windows(subject, asked["donors"], box)
    thirds = {one["label"]: _windows(subject, one["donors"], box) for one in asked["thirds"]}
    others = np.concatenate(list(thirds.values()))
    equal = shared(own, others)
    found: dict[str, Any] = {"share": round(float(equal.mean()), 4)}
    names = ("before", "after", "third")
    if shared(own, others, SAME).mean() < SHARED:
        return found | {name: [] for name in (*names, "turned")}
    common = {one: np.median(windows, axis=0) for one, windows in thirds.items()}
    pictures: list[np.ndarray] = []
    for number, recipient in enumerate(asked["recipients"]):
        turn = list(common)[number % len(common) :] + list(common)[: number % len(common)]
        other = next((one for one in turn if one != asked["labels"][number]), turn[0])
        plain = subject.image(recipient)
        for pixels_of in (np.median(own, axis=0), common[other]):
            changed = plain.copy()
            changed[pixels(box, subject.model.config.patch_size)][equal] = pixels_of[equal]
            pictures.append(changed)
    logits = predict(subject, pictures)
    rows = subject.ledger.rows(asked["recipients"], "logits")
    plain_logits = np.stack([rows[one]["logits"] for one in asked["recipients"]])
    chance = log_softmax(logits)[:, label].reshape(-1, 2)
    every = (log_softmax(plain_logits)[:, label], chance[:, 0], chance[:, 1])
    found |= {
        name: [round(float(v), 5) for v in one] for name, one in zip(names, every, strict=True)
    }
    turned = logits.argmax(axis=1).reshape(-1, 2)[:, 0] == label
    return found | {"turned": turned.tolist()}


def _windows(
    subject: Subject, images: list[int], box: tuple[int, ...]
) -> Float[np.ndarray, "image height width channel"]:
    at = pixels(box, subject.model.config.patch_size)
    return np.stack([subject.image(one)[at] for one in images])


def shared(
    own: Float[np.ndarray, "image height width channel"],
    others: Float[np.ndarray, "other height width channel"],
    most: float = EQUAL,
) -> Bool[np.ndarray, "height width"]:
    """Pixels that differ at most so much between `own` images, in units of that between `others`.

    By the median absolute deviation, averaged over channels: up to half of the images may differ.
    """
    spread = [np.median(np.abs(x - np.median(x, axis=0)), axis=0).mean(-1) for x in (own, others)]
    return spread[0] <= most * spread[1]


def paste(
    subject: Subject, image: np.ndarray, box: tuple[int, ...], window: Window
) -> Float[np.ndarray, "height width channel"]:
    """The image with another's window put into its box; both of one size, in cells of the grid."""
    changed = image.copy()
    patch = subject.model.config.patch_size
    changed[pixels(box, patch)] = subject.image(window.image)[pixels(window.box, patch)]
    return changed


def pixels(box: tuple[int, ...], patch: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a box of cells."""
    top, left, bottom, right = box
    height, width = patch
    return slice(top * height, bottom * height), slice(left * width, right * width)


def predict(subject: Subject, pictures: list[np.ndarray]) -> Float[np.ndarray, "image class"]:
    """Logits of normalised images, a batch at a time."""
    size, found = default_batch_size(), []
    for first in range(0, len(pictures), size):
        part = pictures[first : first + size]
        batch = np.stack(part + part[:1] * (size - len(part)))
        logits = _predict(subject.model, jax.numpy.asarray(batch))
        found.append(np.asarray(logits, np.float32)[: len(part)])
    return np.concatenate(found)
