"""Fig. 13: all methods on photos of two classes, each asked for the first.

Claim: only the complete correction gives the target positive and the other class negative values;
the others give the other class positive ones, and some hardly tell the two apart. Those with a sign
are asked for the log-odds and the difference, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.paper import lab as shared
from benchmarks.paper import side_by_side, subjects
from benchmarks.paper.lab import Drawn, Lab
from jaxattr import losses, metrics
from jaxattr.methods import METHODS
from jaxattr.plot.grid import Row, grid

SHOWN = 4
LOSSES = {
    "logit": lambda lab, first, _: side_by_side.weights(lab, first),
    "log-odds": lambda lab, first, _: losses.log_odds(first),
    "difference": side_by_side.weights,
}


def draw(lab: Lab) -> Drawn:
    every = subjects.two(lab)[:SHOWN]
    places = [(one, place) for place in (0, 1) for one in every]
    asked = {
        loss: [
            (one.photo.array, build(lab, one.classes[place], one.classes[1 - place]))
            for one, place in places
        ]
        for loss, build in LOSSES.items()
    }
    regions = np.stack([one.regions[:2] for one in every], axis=1)  # [class, image, row, column]
    regions = np.concatenate([regions, regions[::-1]], axis=1)  # [target or rival, question, ...]
    rows, columns = [], []
    for method in lab.methods:
        answers = side_by_side.explain(lab, asked["logit"], method)
        row = {"method": method, "milliseconds": round(1000 * answers.seconds, 1)}
        row |= _measured(method, answers.maps, regions)
        if METHODS[method].signed:
            for loss in ("log-odds", "difference"):
                others = side_by_side.explain(lab, asked[loss], method).maps
                row[loss] = _measured(method, others, regions)
        rows.append(row)
        columns.append(side_by_side.column(method, answers, [*answers.maps[: len(every)]]))
    figure = grid(
        [Row(one.photo.picture, f"{one.name}: {lab.short(one.classes[0])}") for one in every],
        columns,
        title="Every method, one class of two",
        footer=f"{lab.footer}  ·  loss logit  ·  blue: against the class; yellow to purple: "
        "no sign",
    )
    return Drawn({"": figure}, _summary(rows), rows)


def _measured(method: str, maps: np.ndarray, regions: np.ndarray) -> dict[str, Any]:
    """Means over images and both classes; shares in percent."""
    count = len(maps) // 2
    background = 1 - regions.max(axis=0)
    row: dict[str, Any] = {
        "signed": METHODS[method].signed,
        "positive_on_target": shared.percent(np.nanmean(metrics.positive_share(maps, regions[0]))),
        "positive_on_rival": shared.percent(np.nanmean(metrics.positive_share(maps, regions[1]))),
        "background": shared.percent(np.nanmean(metrics.absolute_share(maps, background))),
        "likeness": round(float(np.nanmean(metrics.likeness(maps[:count], maps[count:]))), 3),
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
    signed = [one for one in rows if one["signed"]]
    right = {one["method"]: one["both_signs_right"] for one in signed}
    least = min(rows, key=lambda one: one["positive_on_rival"])
    alike = [one["method"] for one in rows if one["likeness"] >= 0.9]
    return {
        "methods": len(rows),
        "both signs right, %, methods with a sign": right,
        **{
            f"both signs right, %, loss {loss}": {
                one["method"]: one[loss]["both_signs_right"] for one in signed
            }
            for loss in ("log-odds", "difference")
        },
        "positive evidence on the other class, %: least": {
            least["method"]: least["positive_on_rival"]
        },
        "maps of the two classes correlate with 0.9 or more": alike,
    }
