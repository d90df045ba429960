"""Fig. 5: complete against positive correction (GAE) on photos of two classes.

Claim: the complete correction is positive on the target and negative on the other class at once,
with less on the background; GAE gives the other class positive values, too.
"""

from __future__ import annotations

from benchmarks.paper import lab as shared
from benchmarks.paper import subjects
from benchmarks.paper.lab import Drawn, Lab
from jaxattr import metrics
from jaxattr.sheets import sheet

KINDS = "complete", "positive"
SHOWN = 4


def draw(lab: Lab) -> Drawn:
    rows, cells = [], []
    for number, subject in enumerate(subjects.two(lab)):
        found = {kind: shared.class_maps(lab, subject, kind) for kind in KINDS}
        line = [shared.photo_cell(lab, subject)]
        for kind in KINDS:
            for place, class_ in enumerate(subject.classes):
                name = lab.short(class_)
                words = shared.signed(name) if kind == "complete" else (f"for {name}", None)
                one = found[kind][place]
                line.append(shared.map_cell(lab, subject, one, f"{kind}: {name}", words))
        if number < SHOWN:
            cells.append(line)
        rows += [_row(lab, subject, found, place) for place in (0, 1)]
    summary = {
        "complete, sign right on the target, %": 100 * shared.mean(rows, "target_right"),
        "complete, sign right on the other class, %": 100 * shared.mean(rows, "rival_right"),
        "complete, balance on the target": shared.mean(rows, "target_balance"),
        "complete, balance on the other class": shared.mean(rows, "rival_balance"),
        "area of the background, %": shared.mean(rows, "background"),
    }
    for kind in KINDS:
        summary |= {
            f"{kind}, evidence on the background, %": shared.mean(rows, f"{kind}_background"),
            f"{kind}, positive evidence on the target, %": shared.mean(rows, f"{kind}_target"),
            f"{kind}, positive evidence on the other class, %": shared.mean(rows, f"{kind}_rival"),
        }
    return Drawn({"": sheet(cells, footer=f"{lab.footer}  ·  loss logit")}, summary, rows)


def _row(lab: Lab, subject: subjects.Subject, found: dict, place: int) -> dict:
    """One class as the target, the other as its rival."""
    target, rival = subject.regions[place], subject.regions[1 - place]
    complete = found["complete"][place]
    row = {
        "image": subject.name,
        "target": lab.short(subject.classes[place]),
        "target_balance": round(shared.balance(complete, target), 3),
        "rival_balance": round(shared.balance(complete, rival), 3),
        "background": shared.percent(1 - subject.regions.max(axis=0).mean()),
    }
    row["target_right"] = float(row["target_balance"] > 0)
    row["rival_right"] = float(row["rival_balance"] < 0)
    for kind in KINDS:
        one = found[kind][place]
        shares = {
            "background": metrics.absolute_share(one, 1 - subject.regions.max(axis=0)),
            "target": metrics.positive_share(one, target),
            "rival": metrics.positive_share(one, rival),
        }
        row |= {f"{kind}_{key}": shared.percent(value) for key, value in shares.items()}
    return row
