"""Fig. 5: complete against positive correction (GAE) on photos of two classes.

Claim: the complete correction is positive on the target and negative on the other class at once,
with less on the background; GAE gives the other class positive values, too. Beside them the
conservative correction, and complete with the same losses: what is the method's, what the loss's.
"""

from __future__ import annotations

from benchmarks.paper import lab as shared
from benchmarks.paper import subjects
from benchmarks.paper.lab import OURS, Drawn, Lab, named
from jaxattr import metrics
from jaxattr.methods import METHODS
from jaxattr.plot.sheets import sheet

DRAWN = ("complete", "logit"), ("positive", "logit"), (OURS, "log-odds"), (OURS, "difference")
ASKED = (*DRAWN, ("complete", "log-odds"), ("complete", "difference"))
SHOWN = 4


def draw(lab: Lab) -> Drawn:
    rows, cells = [], []
    for number, subject in enumerate(subjects.two(lab)):
        found = {named(*one): shared.class_maps(lab, subject, *one) for one in ASKED}
        line = [shared.photo_cell(lab, subject)]
        for method, loss in DRAWN:
            kind = named(method, loss)
            for place, class_ in enumerate(subject.classes):
                words = shared.words(lab, method, loss, class_, subject.classes[1 - place])
                line.append(shared.map_cell(lab, subject, found[kind][place], kind, words))
        if number < SHOWN:
            cells.append(line)
        rows += [_row(lab, subject, found, place) for place in (0, 1)]
    footer = f"{lab.footer}  ·  loss logit, unless named"
    return Drawn({"": sheet(cells, footer=footer)}, _summary(rows), rows)


def _row(lab: Lab, subject: subjects.Subject, found: dict, place: int) -> dict:
    """One class as the target, the other as its rival."""
    target, rival = subject.regions[place], subject.regions[1 - place]
    background = 1 - subject.regions.max(axis=0)
    row = {
        "image": subject.name,
        "target": lab.short(subject.classes[place]),
        "background": shared.percent(background.mean()),
    }
    for method, loss in ASKED:
        kind = named(method, loss)
        one = found[kind][place]
        shares = {
            "background": metrics.absolute_share(one, background),
            "target": metrics.positive_share(one, target),
            "rival": metrics.positive_share(one, rival),
        }
        row |= {f"{kind}_{key}": shared.percent(value) for key, value in shares.items()}
        if METHODS[method].signed:
            on_target, on_rival = shared.balance(one, target), shared.balance(one, rival)
            row |= {
                f"{kind}_target_balance": round(on_target, 3),
                f"{kind}_rival_balance": round(on_rival, 3),
                f"{kind}_target_right": float(on_target > 0),
                f"{kind}_rival_right": float(on_rival < 0),
            }
    return row


def _summary(rows: list[dict]) -> dict[str, float]:
    """The means over images and both classes, for each method and loss."""
    summary = {"area of the background, %": shared.mean(rows, "background")}
    for method, loss in ASKED:
        kind = named(method, loss)
        if METHODS[method].signed:
            for place, words in (("target", "target"), ("rival", "other class")):
                right = sum(one[f"{kind}_{place}_right"] for one in rows)
                summary |= {
                    f"{kind}, sign right on the {words}, of {len(rows)}": int(right),
                    f"{kind}, balance on the {words}": shared.mean(rows, f"{kind}_{place}_balance"),
                }
        summary |= {
            f"{kind}, evidence on the background, %": shared.mean(rows, f"{kind}_background"),
            f"{kind}, positive evidence on the target, %": shared.mean(rows, f"{kind}_target"),
            f"{kind}, positive evidence on the other class, %": shared.mean(rows, f"{kind}_rival"),
        }
    return summary
