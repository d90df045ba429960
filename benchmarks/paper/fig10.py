"""Fig. 10: what other methods show of the kite, for kite and for bald eagle.

Claim: they cannot show that the model takes the white head for a kite's; the pair map can (Fig. 9).
Here all methods are asked for both classes, and those with a sign also for the difference of the
two logits, which is what a pair map explains, and for the log-odds of the first class, which do not
name the second.
"""

from __future__ import annotations

from typing import Any

from benchmarks.paper import lab as shared
from benchmarks.paper import side_by_side, subjects
from benchmarks.paper.lab import Drawn, Lab
from jaxattr import losses, metrics
from jaxattr.methods import METHODS
from jaxattr.plot.grid import Row, grid


def draw(lab: Lab) -> Drawn:
    subject = subjects.alike(lab)[-1]
    first, second = (lab.short(one) for one in subject.classes[:2])
    array, part = subject.photo.array, subject.regions.max(axis=0)
    questions = [
        (array, side_by_side.weights(lab, subject.classes[0])),
        (array, side_by_side.weights(lab, subject.classes[1])),
        (array, side_by_side.weights(lab, *subject.classes[:2])),
    ]
    alone = array, losses.log_odds(subject.classes[0])
    rows: list[dict[str, Any]] = []
    columns = []
    for method in lab.methods:
        answers = side_by_side.explain(lab, questions, method)
        a, b, pair = answers.maps
        row: dict[str, Any] = {
            "method": method,
            "likeness": round(float(metrics.likeness(a, b)), 3),
            "density_first": round(float(metrics.absolute_share(a, part) / part.mean()), 2),
            "density_second": round(float(metrics.absolute_share(b, part) / part.mean()), 2),
        }
        if METHODS[method].signed:
            (odds,) = side_by_side.explain(lab, [alone], method).maps
            named = {"first": a, "second": b, "difference": pair, "log_odds": odds}
            row |= {
                f"balance_{key}": round(shared.balance(one, part), 3) for key, one in named.items()
            }
        rows.append(row)
        columns.append(side_by_side.column(method, answers, [a, b, pair]))
    photo = subject.photo.picture
    titles = (first, second, f"{first} against {second}: the difference of the logits")
    figure = grid(
        [Row(photo, f"{subject.name}: {title}") for title in titles],
        columns,
        title=f"{first} or {second}?",
        footer=lab.footer,
    )
    return Drawn({"": figure}, _summary(rows, first, second), rows)


def _summary(rows: list[dict[str, Any]], first: str, second: str) -> dict[str, Any]:
    signed = [one for one in rows if "balance_difference" in one]
    seen = [one for one in signed if one["balance_difference"] < 0]
    odds = [one for one in signed if one["balance_log_odds"] < 0]
    return {
        "methods": len(rows),
        "of these with a sign": len(signed),
        f"with a sign, difference: part speaks for {second}": len(seen),
        f"with a sign, log-odds of {first}: part negative": len(odds),
        "difference, balance on the part": {
            one["method"]: one["balance_difference"] for one in signed
        },
        f"log-odds of {first}, balance on the part": {
            one["method"]: one["balance_log_odds"] for one in signed
        },
        f"with a sign, {first}'s logit: part negative": sum(
            one["balance_first"] < 0 for one in signed
        ),
        "likeness of the two classes' maps, mean": shared.mean(rows, "likeness"),
        "evidence on the part over its area, first class, mean": shared.mean(rows, "density_first"),
        "evidence on the part over its area, second, mean": shared.mean(rows, "density_second"),
    }
