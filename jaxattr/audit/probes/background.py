"""Background: does what surrounds a class's objects decide, more than the objects themselves?

A recipient's object is put over the object of a donor, an image of the class, so that nothing is
left of the donor but its surroundings. That is compared with the surroundings of a third class's
image, and with the opposite: the donor's object put over that of the recipient. Where neither
boxes nor masks say where objects are, nothing is asked: the middle of an image is not its object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxattr.audit.inference import places
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger.columns import log_softmax, lot
from jaxattr.audit.probes.objects import Span, object_box
from jaxattr.audit.probes.pasting import RECIPIENTS, Small, predict, recipients, third
from jaxattr.audit.probes.store import Question

if TYPE_CHECKING:
    from jaxattr.audit.probes import Subject

NAME = "background"
VERSION = 1
ROOM = 0.6
"""Largest share of an image that a box may take: there must be a background."""
_SMALLEST = 0.02
_SPARE = 3  # images asked about for every one used: boxes may be missing or too large


def questions(analysis: Analysis) -> list[Question]:
    """One question a class of `places.border_candidates`: donors, recipients and third images."""
    found = places.border_candidates(analysis.places)
    if not found:
        return []
    columns = analysis.ledger.read("index", "label", "prediction")
    small = Small(columns["index"], columns["label"], columns["prediction"])
    label_of = dict(zip(small.image.tolist(), small.label.tolist(), strict=True))
    return [_question(small, label_of, label, statistic) for label, statistic in found]


def _question(small: Small, label_of: dict[int, int], label: int, statistic: float) -> Question:
    own = sorted(small.image[small.label == label].tolist(), key=lot)
    ranked = recipients(small, label)
    return {
        "class": label,
        "statistic": round(statistic, 4),
        "donors": own[: _SPARE * RECIPIENTS],
        "others": ranked[: 2 * _SPARE * RECIPIENTS],
        "labels": [label_of[one] for one in ranked[: 2 * _SPARE * RECIPIENTS]],
    }


def answer(subject: Subject, question: Question) -> dict[str, Any]:
    """Log-probability of the class on every recipient: as it is, and after three exchanges.

    `before`; `after`: the recipient's object in the donor's surroundings; `third`: in those of a
    third class's image; `object`: the donor's object in the recipient's surroundings. `turned`:
    predicted as the class in the donor's surroundings. `donors`: whose surroundings they were.
    `boxes` says whether boxes or masks were found; without them all others are empty.
    """
    donors, marked = _placed(subject, question["donors"], RECIPIENTS)
    others = _placed(subject, question["others"], 2 * RECIPIENTS)[0] if donors else {}
    label_of = dict(zip(question["others"], question["labels"], strict=True))
    found: dict[str, Any] = {"boxes": marked, "donors": [], "recipients": []}
    pictures: list[np.ndarray] = []
    for number, recipient in enumerate(list(others)[:RECIPIENTS]):
        donor = list(donors)[number % len(donors)]
        other = third(list(others), label_of, number)
        here, there, else_ = others[recipient], donors[donor], others[other]
        images = {one: subject.image(one) for one in (recipient, donor, other)}
        pictures += [
            images[recipient],
            exchange(images[donor], there, images[recipient], here),
            exchange(images[other], else_, images[recipient], here),
            exchange(images[recipient], here, images[donor], there),
        ]
        found["donors"].append(donor)
        found["recipients"].append(recipient)
    names, label = ("before", "after", "third", "object"), question["class"]
    if not pictures:
        return found | {name: [] for name in names} | {"turned": []}
    logits = predict(subject, pictures)
    chance = log_softmax(logits)[:, label].reshape(-1, 4)
    found |= {name: [round(float(v), 5) for v in chance[:, i]] for i, name in enumerate(names)}
    found["turned"] = (logits.argmax(axis=1).reshape(-1, 4)[:, 1] == label).tolist()
    return found


def _placed(subject: Subject, indices: list[int], count: int) -> tuple[dict[int, Span], bool]:
    """The first images with a box that leaves room, and whether any image has a box at all."""
    preprocessing, size = subject.model.preprocessing, subject.model.config.image_size
    files = subject.ledger.rows(indices, "file")
    boxes: dict[int, Span] = {}
    marked = False
    for index in indices:
        box = object_box(subject.root, files[index]["file"], preprocessing)
        marked |= box is not None
        if box is not None and _SMALLEST <= _area(box, size) <= ROOM:
            boxes[index] = box
        if len(boxes) == count:
            break
    return boxes, marked


def exchange(
    ground: Float[np.ndarray, "height width channel"],
    at: Span,
    source: Float[np.ndarray, "height width channel"],
    object_: Span,
) -> Float[np.ndarray, "height width channel"]:
    """`ground` with the box `at` filled by the other image's object, stretched to fit."""
    changed = ground.copy()
    top, left, bottom, right = at
    rows = np.linspace(object_[0], object_[2] - 1, bottom - top).round().astype(int)
    columns = np.linspace(object_[1], object_[3] - 1, right - left).round().astype(int)
    changed[top:bottom, left:right] = source[rows[:, None], columns[None, :]]
    return changed


def _area(box: Span, size: tuple[int, int]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) / (size[0] * size[1])
