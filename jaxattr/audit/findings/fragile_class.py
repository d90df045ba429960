"""Fragile class: its images lose their label to smaller changes than those of other classes."""

from __future__ import annotations

import numpy as np

from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.probes.store import Answered, answers
from jaxattr.audit.statistics.fragility import NULL, RATIO, Fragility, compare_budgets
from jaxattr.data.labels import LabelTable


def fragile_class(analysis: Analysis) -> list[Finding]:
    """Classes whose rewriting budgets are smaller, `q <= 0.05` and at most 2/3 of the others'.

    The budget of an image is the smallest change of its pixels, as a root mean square in grey
    levels, that was found to take its label away (`probes.rewriting`); nothing without answers of
    that probe. The score is one over the ratio of medians. Severity is `medium` where the whole
    interval of that ratio lies below 2/3 and pictures of whole grey levels need less, too
    (`probes.pictures`), else `low`: it is a weakness of the model, no error of a label.
    """
    asked = answers(analysis.ledger, "rewriting")
    if not asked:
        return []
    budget = np.array([one.answer["budget"] for one in asked], np.float64)
    label = np.array([one.question["label"] for one in asked], np.int64)
    found = compare_budgets(budget, label)
    names = analysis.names
    present = len(np.unique(analysis.ledger.read("label")["label"]))
    pictures = answers(analysis.ledger, "pictures")
    return [_finding(names, found, at, asked, present, pictures) for at in found.fragile]


def _finding(
    names: LabelTable,
    found: Fragility,
    at: int,
    asked: list[Answered],
    present: int,
    pictures: list[Answered],
) -> Finding:
    class_, count = int(found.classes[at]), int(found.images[at])
    own = sorted(
        (one for one in asked if one.question["label"] == class_),
        key=lambda one: one.answer["budget"],
    )
    others = [one.answer["budget"] for one in asked if one.question["label"] != class_]
    medians = float(np.median([one.answer["budget"] for one in own])), float(np.median(others))
    toward = [one.answer["to"] for one in own]
    most = max(sorted(set(toward)), key=toward.count)
    low, high = float(found.low[at]), float(found.high[at])
    levels = _levels(pictures, class_)
    return Finding(
        kind="fragile_class",
        severity="medium" if high <= RATIO and not _denied(*levels) else "low",
        title=f"The model loses {names.short(class_)} more easily than other classes",
        detail=(
            f"A change of {medians[0]:.2g} grey levels (root mean square, median of {count} "
            f"images) takes the label away; images of other classes need {medians[1]:.2g}. "
            f"{toward.count(most)} of {count} become {names.short(most)}.{_confirmed(*levels)}"
        ),
        classes=(class_, most),
        images=tuple(int(one.question["image"]) for one in own),
        score=1 / max(float(found.ratio[at]), 1e-9),
        effect=float(found.ratio[at]),
        effect_name="median budget of the class, over that of all other classes",
        interval=(low, high),
        p_value=float(found.p_value[at]),
        null=NULL,
        q_value=float(found.q_value[at]),
        power=(
            f"{count} images of the class against {len(others)} of {len(found.classes) - 1} others "
            f"({present} classes were audited): a ratio of {found.detectable[at]:.2g} is "
            f"found with 80 % power."
        ),
        action=(
            "Compare its images with those of the class they become: more or more varied examples "
            "of both help. Nothing has to be relabelled."
        ),
        caveat=(
            "Only images that the model gets right, and one kind of change, were tried; it can be "
            "that these images are hard, not that the class is."
        ),
        extra={
            "budgets": [one.answer["budget"] for one in own],
            "others_median": medians[1],
            "to": toward,
            "levels": levels[0],
            "others_levels": levels[1],
            "tests": len(found.classes),
            "classes_present": present,
        },
    )


def _levels(pictures: list[Answered], class_: int) -> tuple[list[int], list[int]]:
    """Grey levels that pictures of the class needed, and those of the others beside it."""
    members = [one for one in pictures if one.question["for"] == class_]
    sides = [
        [int(one.answer["levels"]) for one in members if (one.question["label"] == class_) == own]
        for own in (True, False)
    ]
    return sides[0], sides[1]


def _denied(own: list[int], others: list[int]) -> bool:
    return bool(own and others and np.median(own) >= np.median(others))


def _confirmed(own: list[int], others: list[int]) -> str:
    if not own or not others:
        return ""
    return (
        f" In pictures of whole grey levels the largest change was {np.median(own):g} "
        f"(median of {len(own)}), of other classes {np.median(others):g} ({len(others)})."
    )
