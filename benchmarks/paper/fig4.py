"""Fig. 4: absolute and positive correction (GAE) on photos of one class, tusker and snail.

Claim: the absolute correction cannot distinguish categories. The second class asked for is one
that is not in the photo: the next photo's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.paper import lab as shared
from benchmarks.paper import subjects
from benchmarks.paper.lab import Drawn, Lab
from jaxattr import losses, metrics
from jaxattr.plot.sheets import sheet

KINDS = "absolute", "positive"
SHOWN = 2


def draw(lab: Lab) -> Drawn:
    rows, cells = [], []
    every = subjects.one(lab)
    for number, subject in enumerate(every):
        own = subject.classes[0]
        others = [one.classes[0] for one in (*every[number + 1 :], *every[:number])]
        others.append((own + 1) % lab.model.config.classes)
        absent = next(one for one in others if one != own)
        asked = losses.target_logit(np.array([own, absent]))
        row: dict[str, Any] = {"image": subject.name, "absent": lab.short(absent)}
        line = [shared.photo_cell(lab, subject)]
        for kind in KINDS:
            found = shared.maps(lab, subject.photo.array, asked, kind)
            row[f"{kind}_likeness"] = round(float(metrics.likeness(*found)), 3)
            row[f"{kind}_on_object"] = shared.percent(
                metrics.absolute_share(found[0], subject.regions[0])
            )
            for class_, one in zip((own, absent), found, strict=True):
                name = lab.short(class_)
                words = (f"for {name}" if kind == "positive" else f"for or against {name}"), None
                line.append(shared.map_cell(lab, subject, one, f"{kind}: {name}", words))
        row["area"] = shared.percent(subject.regions[0].mean())
        rows.append(row)
        if number < SHOWN:
            cells.append(line)
    summary = {
        f"{kind}, {what}": shared.mean(rows, f"{kind}_{key}")
        for kind in KINDS
        for what, key in (
            ("likeness of own and absent class", "likeness"),
            ("own class on the object, %", "on_object"),
        )
    }
    summary["area of the object, %"] = shared.mean(rows, "area")
    return Drawn({"": sheet(cells, footer=f"{lab.footer}  ·  loss logit")}, summary, rows)
