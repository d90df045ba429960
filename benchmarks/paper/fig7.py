"""Fig. 7: photos of one class, explained directly.

Claim: the complete correction cannot interpret them; GAE can.
"""

from __future__ import annotations

from benchmarks.paper import lab as shared
from benchmarks.paper import subjects
from benchmarks.paper.lab import Drawn, Lab
from jaxattr.sheets import sheet

KINDS = "complete", "positive"
SHOWN = 4


def draw(lab: Lab) -> Drawn:
    rows, cells = [], []
    for number, subject in enumerate(subjects.one(lab)):
        name = lab.short(subject.classes[0])
        line = [shared.photo_cell(lab, subject)]
        for kind in KINDS:
            one = shared.class_maps(lab, subject, kind)[0]
            measured = shared.on_object(one, subject.regions[0])
            rows.append({"image": subject.name, "method": kind, **measured})
            words = shared.signed(name) if kind == "complete" else (f"for {name}", None)
            line.append(shared.map_cell(lab, subject, one, f"{kind}: {name}", words))
        if number < SHOWN:
            cells.append(line)
    return Drawn(
        {"": sheet(cells, footer=f"{lab.footer}  ·  loss logit")}, summarize(rows, KINDS), rows
    )


def summarize(rows: list[dict], methods: tuple[str, ...]) -> dict[str, float]:
    """The means over images, for each method."""
    summary = {}
    for kind in methods:
        mine = [one for one in rows if one["method"] == kind]
        right = [{"right": float(one["balance"] > 0)} for one in mine]
        if kind != "positive":
            summary[f"{kind}: sign right on the object, %"] = 100 * shared.mean(right, "right")
            summary[f"{kind}: balance on the object"] = shared.mean(mine, "balance")
            for key, where in (("positive_patches", "object"), ("positive_elsewhere", "rest")):
                summary[f"{kind}: patches of the {where} positive, %"] = shared.mean(mine, key)
        summary[f"{kind}: positive evidence on the object, %"] = shared.mean(
            mine, "positive_on_object"
        )
        summary[f"{kind}: all evidence on the object, %"] = shared.mean(mine, "all_on_object")
    summary["area of the object, %"] = shared.mean(rows, "area")
    return summary
