"""Fig. 13: all methods on photos of two classes, each asked for the first.

Claim: only the complete correction gives the target positive and the other class negative values;
the others give the other class positive ones, and some hardly tell the two apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.paper import lab as shared
from benchmarks.paper import side_by_side, subjects
from benchmarks.paper.lab import Drawn, Lab
from jaxattr import metrics
from jaxattr.grid import Row, grid
from jaxattr.methods import METHODS

SHOWN = 4


def draw(lab: Lab) -> Drawn:
    every = subjects.two(lab)[:SHOWN]
    questions = [
        (subject.photo.array, side_by_side.weights(lab, subject.classes[place]))
        for place in (0, 1)
        for subject in every
    ]
    regions = np.stack([one.regions[:2] for one in every], axis=1)  # [class, image, row, column]
    regions = np.concatenate([regions, regions[::-1]], axis=1)  # [target or rival, question, ...]
    rows, columns = [], []
    for method in lab.methods:
        answers = side_by_side.explain(lab, questions, method)
        rows.append({"method": method, **_measured(method, answers, regions, len(every))})
        columns.append(side_by_side.column(method, answers, [*answers.maps[: len(every)]]))
    figure = grid(
        [Row(one.photo.picture, f"{one.name}: {lab.short(one.classes[0])}") for one in every],
        columns,
        title="Every method, one class of two",
        footer=f"{lab.footer}  ·  loss logit  ·  blue: against the class; yellow to purple: "
        "no sign",
    )
    return Drawn({"": figure}, _summary(rows), rows)


def _measured(
    method: str, answers: side_by_side.Answers, regions: np.ndarray, count: int
) -> dict[str, Any]:
    """Means over images and both classes; shares in percent."""
    maps = answers.maps
    background = 1 - regions.max(axis=0)
    row: dict[str, Any] = {
        "signed": METHODS[method].signed,
        "positive_on_target": shared.percent(np.nanmean(metrics.positive_share(maps, regions[0]))),
        "positive_on_rival": shared.percent(np.nanmean(metrics.positive_share(maps, regions[1]))),
        "background": shared.percent(np.nanmean(metrics.absolute_share(maps, background))),
        "likeness": round(float(np.nanmean(metrics.likeness(maps[:count], maps[count:]))), 3),
        "milliseconds": round(1000 * answers.seconds, 1),
    }
    if METHODS[method].signed:
        balances = [
            [shared.balance(one, region) for one, region in zip(maps, regions[place], strict=True)]
            for place in (0, 1)
        ]
        target, rival = np.array(balances)
        row |= {
            "both_signs_right": shared.percent(((target > 0) & (rival < 0)).mean()),
            "target_balance": round(float(target.mean()), 3),
            "rival_balance": round(float(rival.mean()), 3),
        }
    return row


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    signed = {one["method"]: one["both_signs_right"] for one in rows if one["signed"]}
    least = min(rows, key=lambda one: one["positive_on_rival"])
    alike = [one["method"] for one in rows if one["likeness"] >= 0.9]
    return {
        "methods": len(rows),
        "both signs right, %, methods with a sign": signed,
        "positive evidence on the other class, %: least": {
            least["method"]: least["positive_on_rival"]
        },
        "maps of the two classes correlate with 0.9 or more": alike,
    }
