"""Fig. 7: photos of one class, explained directly.

Claim: the complete correction cannot interpret them; GAE can. Beside them the conservative
correction of the log-odds, and both of them with the other's loss.
"""

from __future__ import annotations

from benchmarks.paper import lab as shared
from benchmarks.paper import subjects
from benchmarks.paper.lab import OURS, Drawn, Lab, named
from jaxattr.plot.sheets import sheet

DRAWN = ("complete", "logit"), ("positive", "logit"), (OURS, "log-odds")
ASKED = (*DRAWN, (OURS, "logit"), ("complete", "log-odds"))
SHOWN = 4


def draw(lab: Lab) -> Drawn:
    rows, cells = [], []
    for number, subject in enumerate(subjects.one(lab)):
        line = [shared.photo_cell(lab, subject)]
        for method, loss in ASKED:
            one, kind = shared.class_maps(lab, subject, method, loss)[0], named(method, loss)
            measured = shared.on_object(one, subject.regions[0])
            rows.append({"image": subject.name, "method": kind, **measured})
            if (method, loss) in DRAWN:
                words = shared.words(lab, method, loss, subject.classes[0], subject.classes[0])
                line.append(shared.map_cell(lab, subject, one, kind, words))
        if number < SHOWN:
            cells.append(line)
    summary = summarize(rows, tuple(named(*one) for one in ASKED))
    footer = f"{lab.footer}  ·  loss logit, unless named"
    return Drawn({"": sheet(cells, footer=footer)}, summary, rows)


def summarize(rows: list[dict], methods: tuple[str, ...]) -> dict[str, float]:
    """The means over images, for each method."""
    summary = {}
    for kind in methods:
        mine = [one for one in rows if one["method"] == kind]
        if kind != "positive":
            right = sum(one["balance"] > 0 for one in mine)
            summary[f"{kind}: sign right on the object, of {len(mine)}"] = right
            summary[f"{kind}: balance on the object"] = shared.mean(mine, "balance")
            for key, where in (("positive_patches", "object"), ("positive_elsewhere", "rest")):
                summary[f"{kind}: patches of the {where} positive, %"] = shared.mean(mine, key)
        summary[f"{kind}: positive evidence on the object, %"] = shared.mean(
            mine, "positive_on_object"
        )
        summary[f"{kind}: all evidence on the object, %"] = shared.mean(mine, "all_on_object")
    summary["area of the object, %"] = shared.mean(rows, "area")
    return summary
