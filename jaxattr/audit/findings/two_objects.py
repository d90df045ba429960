"""Two objects, one label: crops prove that the image shows both classes."""

from __future__ import annotations

from typing import Any

from jaxattr.audit.finding import Finding
from jaxattr.audit.ledger import Ledger
from jaxattr.audit.probes.store import Answered, answers
from jaxattr.labels import LabelTable

SEEN = 0.5
"""Calibrated probability that a class must have in its crop."""


def two_objects(ledger: Ledger) -> list[Finding]:
    """Images of which one crop is recognised as the label and another as the strongest rival.

    The crops lie where the pair map speaks for one and for the other (`probes.crops`). Proven
    means that both are recognised, with a calibrated probability of `SEEN`, and that no image with
    one object of the same two classes passes the same test: crops of a class's parts can be
    taken for a class that looks like it. How often one object passes was measured
    (`docs/audit.md`). Severity is always `low`: the label is right, as far as it goes. The score
    is the smaller of the two probabilities; nothing without answers of the probe `crops`.
    """
    asked = answers(ledger, "crops")
    controls: dict[frozenset[int], list[bool]] = {}
    for one in asked:
        if one.question["role"] == "control":
            controls.setdefault(_pair(one), []).append(passes(one.answer))
    names = LabelTable(ledger.receipt.labels)
    proven = [
        one
        for one in asked
        if one.question["role"] == "candidate"
        and passes(one.answer)
        and not any(controls.get(_pair(one), ()))
    ]
    candidates = sum(one.question["role"] == "candidate" for one in asked)
    counts = {"candidates": candidates, "proven": len(proven)}
    return [_finding(names, one, len(controls.get(_pair(one), ())), counts) for one in proven]


def passes(answer: dict[str, Any]) -> bool:
    """Whether both crops are recognised."""
    return min(answer["label"], answer["rival"]) >= SEEN


def _pair(one: Answered) -> frozenset[int]:
    return frozenset((one.question["label"], one.question["rival"]))


def _finding(names: LabelTable, one: Answered, controls: int, counts: dict[str, int]) -> Finding:
    label, rival = one.question["label"], one.question["rival"]
    first, second = names.short(label), names.short(rival)
    seen = min(one.answer["label"], one.answer["rival"])
    compared = (
        f"None of {controls} images with one object of these classes passes this test."
        if controls
        else "The folder has no image with one object of these classes to compare with."
    )
    return Finding(
        kind="two_objects",
        severity="low",
        title=f"Two objects, one label: {first} and {second}",
        detail=(
            f"The part of the image where the map speaks for {first} is recognised as {first} "
            f"({one.answer['label']:.0%}) when the model sees nothing else, and the part where it "
            f"speaks for {second} as {second} ({one.answer['rival']:.0%}). {compared}"
        ),
        classes=(label, rival),
        images=(one.question["image"],),
        score=seen,
        effect=seen,
        effect_name="smaller calibrated probability of the two crops for their classes",
        action=(
            f"Keep it, or give it both labels: not an error, even where it is listed as labelled "
            f"{first} and looking like {second}."
        ),
        caveat=(
            f"A picture of one thing whose parts look like {first} and like {second} can pass, too."
        ),
        extra={
            **counts,
            "boxes": one.question["boxes"],
            "seen": [one.answer["label"], one.answer["rival"]],
            "controls": controls,
        },
    )
