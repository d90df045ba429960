"""Fig. 3: absolute correction on two classes (a), complete correction on one class (b).

Claim: the first does not tell classes apart, the second does not cover the object.
"""

from __future__ import annotations

import numpy as np

from benchmarks.paper import lab as shared
from benchmarks.paper import subjects
from benchmarks.paper.lab import OURS, Drawn, Lab
from jaxattr import metrics
from jaxattr.plot.sheets import sheet

SHOWN = 2


def draw(lab: Lab) -> Drawn:
    rows, cells = [], []
    for number, subject in enumerate(subjects.two(lab)):
        found = {kind: shared.class_maps(lab, subject, kind) for kind in ("absolute", "complete")}
        ours = shared.class_maps(lab, subject, OURS, "log-odds")
        objects = subject.regions.max(axis=0)
        rows.append(
            {
                "part": "a",
                "image": subject.name,
                "absolute_likeness": round(float(metrics.likeness(*found["absolute"])), 3),
                "complete_likeness": round(float(metrics.likeness(*found["complete"])), 3),
                "our_likeness": round(float(metrics.likeness(*ours)), 3),
                "absolute_on_objects": shared.percent(
                    metrics.absolute_share(found["absolute"], np.stack([objects] * 2)).mean()
                ),
                "area": shared.percent(objects.mean()),
            }
        )
        if number < SHOWN:
            line = [shared.photo_cell(lab, subject)]
            for class_, one in zip(subject.classes, found["absolute"], strict=True):
                words = f"for or against {lab.short(class_)}", None
                title = f"(a) absolute: {lab.short(class_)}"
                line.append(shared.map_cell(lab, subject, one, title, words))
            cells.append(line)
    for number, subject in enumerate(subjects.one(lab)):
        name = lab.short(subject.classes[0])
        complete = shared.class_maps(lab, subject)[0]
        absolute = shared.class_maps(lab, subject, "absolute")[0]
        rows.append(
            {"part": "b", "image": subject.name}
            | shared.on_object(complete, subject.regions[0])
            | {
                "absolute_on_objects": shared.percent(
                    metrics.absolute_share(absolute, subject.regions[0])
                )
            }
        )
        if number < SHOWN:
            title, words = f"(b) complete: {name}", shared.signed(name)
            both = shared.map_cell(lab, subject, complete, title, words)
            words = f"for or against {name}", None
            other = shared.map_cell(lab, subject, absolute, f"absolute: {name}", words)
            cells.append([shared.photo_cell(lab, subject), both, other])
    first = [one for one in rows if one["part"] == "a"]
    second = [one for one in rows if one["part"] == "b"]
    summary = {
        "likeness of two classes' maps, absolute": shared.mean(first, "absolute_likeness"),
        "likeness of two classes' maps, complete": shared.mean(first, "complete_likeness"),
        f"likeness of two classes' maps, {OURS}, log-odds": shared.mean(first, "our_likeness"),
        "absolute map on the objects, %": shared.mean(first, "absolute_on_objects"),
        "area of the objects, %": shared.mean(first, "area"),
        "one class, complete: patches of the object positive, %": shared.mean(
            second, "positive_patches"
        ),
        "one class, complete: balance on the object": shared.mean(second, "balance"),
    }
    return Drawn({"": sheet(cells, footer=f"{lab.footer}  ·  loss logit")}, summary, rows)
