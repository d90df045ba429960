"""Pasting: are the pixels at one place of one class's images enough to make the model say it?

A window is cut out of an image of the class (a donor) and put onto an image of another class (a
recipient), at the same place. It is compared with two other windows on the same recipient: the one
with the most evidence elsewhere in the class's own images, and one from the same place of a third
class's image. The first is what tells a place from an object: parts of an object raise its class
wherever they are cut from.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxattr.audit import places
from jaxattr.audit.gather import default_batch_size
from jaxattr.audit.ledger import Ledger
from jaxattr.audit.places import Place
from jaxattr.audit.probes.store import Question
from jaxattr.audit.running import log_softmax, lot, unit_maps
from jaxattr.vit import predict as predict_one

if TYPE_CHECKING:
    from jaxattr.audit.probes import Subject

NAME = "pasting"
VERSION = 1
RECIPIENTS = 24
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


def questions(ledger: Ledger) -> list[Question]:
    """One question a candidate of `places.candidates`: which windows go onto which images."""
    found = places.candidates(places.scan(ledger))
    return raise_questions(ledger, found)


def raise_questions(ledger: Ledger, found: list[Place]) -> list[Question]:
    """Questions about given places; see `questions`."""
    grid = ledger.receipt.grid
    found = [one for one in found if len(places.elsewhere(one.box, grid))]
    if not found:
        return []
    columns = ledger.read("index", "label", "prediction")
    small = Small(columns["index"], columns["label"], columns["prediction"])
    maps = _maps(ledger, small, [one.label for one in found])
    return [_question(ledger, small, one, *maps[one.label]) for one in found]


def _maps(
    ledger: Ledger, small: Small, labels: list[int]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Indices and maps of the images of some classes, evenly spaced where there are many."""
    wanted = {}
    for label in labels:
        own = small.image[small.label == label]
        step = -(-len(own) // _LOOKED_AT)
        wanted[label] = own[::step]
    every = np.concatenate(list(wanted.values()))
    parts: dict[int, np.ndarray] = {}
    for shard in ledger.iterate("index", "map_positive"):
        for row in np.flatnonzero(np.isin(shard["index"], every)).tolist():
            parts[int(shard["index"][row])] = shard["map_positive"][row]
    return {
        label: (own, unit_maps(np.stack([parts[int(i)] for i in own])))
        for label, own in wanted.items()
    }


def _question(
    ledger: Ledger, small: Small, one: Place, own: np.ndarray, units: np.ndarray
) -> Question:
    grid = ledger.receipt.grid
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
    return {
        "class": one.label,
        "box": list(one.box),
        "statistic": round(one.statistic, 4),
        "mean": round(one.mean, 4),
        "images": [int(i) for i in own[donors]][:_LISTED],
        "trials": trials,
    }


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
    class after the paste from its own place.
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
    return found


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
