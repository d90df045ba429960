"""Two objects, one label: crops prove that the image shows both classes."""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import numpy as np

from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.probes import crops
from jaxattr.audit.probes.store import Answered, answers
from jaxattr.data.labels import LabelTable

POINTED = 0.8
"""Calibrated probability that a class must have in the crop that the map points at."""
QUARTERS = 0.9
"""The same in two of the four quarters, of which the best two are chosen."""
HALVES = 0.95
"""The same in two opposite halves: what cuts through one object leaves much of it in both."""
COMPARED = 10
"""Right images of the two classes, below which it is not known whether these are confused."""


_Pairs = tuple[tuple[int, int], ...]
TRIED: tuple[tuple[str, float, _Pairs], ...] = (
    ("pointed", POINTED, ((0, 1),)),
    ("quarters", QUARTERS, tuple(permutations(range(2, 6), 2))),
    ("halves", HALVES, ((6, 7), (7, 6), (8, 9), (9, 8))),
)
"""What may prove two objects, the least probability, and pairs of crops for label and rival."""


class Witnesses(NamedTuple):
    """Two crops, in cells, and the probabilities of the label in one and the rival in the other."""

    boxes: tuple[tuple[int, ...], tuple[int, ...]]
    seen: tuple[float, float]
    found: str
    """`pointed` where the pair map chose them, else `quarters` or `halves`."""


def two_objects(analysis: Analysis) -> list[Finding]:
    """Images of which one crop is recognised as the label and another as the strongest rival.

    Either the crops are those where the pair map speaks for one and for the other, both recognised
    with a calibrated probability of `POINTED`; or two quarters of the image are, with `QUARTERS`,
    as the best two of four are chosen; or two opposite halves, with `HALVES`. Proven means that,
    besides, no image with one
    object of the same two classes passes the same test: parts of one class can be taken for
    another that looks like it. Where the folder holds fewer than `COMPARED` right images of the
    two classes, that cannot be told, and the finding says "perhaps". How often one object passes
    was measured (`docs/notebook/audit.md`).
    Severity is always `low`: the label is right, as far as it goes. The score is the smaller of the
    two probabilities; nothing without answers of the probe `crops`.
    """
    grid = analysis.ledger.receipt.grid
    asked = answers(analysis.ledger, "crops")
    controls: dict[frozenset[int], list[bool]] = {}
    for one in asked:
        if one.question["role"] == "control":
            controls.setdefault(_pair(one), []).append(witnesses(one, grid) is not None)
    small = analysis.ledger.read("label", "prediction")
    right = np.bincount(
        small["label"][small["label"] == small["prediction"]],
        minlength=len(analysis.ledger.receipt.labels),
    )
    names = analysis.names
    candidates = [one for one in asked if one.question["role"] == "candidate"]
    proven = [
        (one, found)
        for one in candidates
        if (found := witnesses(one, grid)) is not None and not any(controls.get(_pair(one), ()))
    ]
    counts = {"candidates": len(candidates), "proven": len(proven)}
    return [
        _finding(
            names,
            analysis.extent.noun,
            one,
            found,
            {
                **counts,
                "controls": len(controls.get(_pair(one), ())),
                "compared": int(right[sorted(_pair(one))].sum()),
            },
        )
        for one, found in proven
    ]


def witnesses(one: Answered, grid: tuple[int, int]) -> Witnesses | None:
    """The two crops that prove both classes, the map's where they do; none where none do."""
    seen = np.array(one.answer["seen"], np.float64)
    pointed = [tuple(box) for box in one.question["boxes"]]
    boxes = [*pointed, *crops.quadrants(grid), *crops.halves(grid)]
    both = np.minimum(seen[:, None, 0], seen[None, :, 1])
    for found, least, pairs in TRIED:
        if max(map(max, pairs)) >= len(seen):
            break  # answered by an earlier version, which had no halves
        best = max(pairs, key=lambda pair: both[pair])
        if both[best] >= least:
            first, second = best
            values = float(seen[first, 0]), float(seen[second, 1])
            return Witnesses((boxes[first], boxes[second]), values, found)
    return None


def _pair(one: Answered) -> frozenset[int]:
    return frozenset((one.question["label"], one.question["rival"]))


def _finding(
    names: LabelTable, noun: str, one: Answered, found: Witnesses, counts: dict[str, int]
) -> Finding:
    label, rival = one.question["label"], one.question["rival"]
    first, second = names.short(label), names.short(rival)
    proven = counts["compared"] >= COMPARED
    where = {
        "pointed": "where the map speaks for it",
        "quarters": "in a quarter of the image",
        "halves": "in a half of the image",
    }[found.found]
    compared = (
        f"Of the {counts['compared']:,} images of these classes that the model gets right, "
        f"{counts['controls']} with the other class for rival were put to the same test, and none "
        f"passed."
        if proven
        else f"The {noun} has too few images of these classes to tell whether one object passes."
    )
    return Finding(
        kind="two_objects",
        severity="low",
        title=f"{'Two' if proven else 'Perhaps two'} objects, one label: {first} and {second}",
        detail=(
            f"Seen alone, one part of the image is recognised as {first} ({found.seen[0]:.0%}) and "
            f"another as {second} ({found.seen[1]:.0%}), each {where}. {compared}"
        ),
        classes=(label, rival),
        images=(one.question["image"],),
        score=min(found.seen),
        effect=min(found.seen),
        effect_name="smaller calibrated probability of the two crops for their classes",
        action=(
            f"Keep it, or give it both labels: not an error, even where it is listed as labelled "
            f"{first} and looking like {second}."
            if proven
            else "Look at it. If both are there, keep it, or give it both labels."
        ),
        caveat=(
            f"A picture of one thing whose parts look like {first} and like {second} can pass, too."
        ),
        extra={
            **counts,
            "boxes": [list(box) for box in found.boxes],
            "seen": list(found.seen),
            "crops": found.found,
            "certain": proven,
        },
    )
