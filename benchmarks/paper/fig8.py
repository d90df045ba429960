"""Fig. 8: the same photos beside a guide of another class, the zebra.

Claim: with a guide the complete correction interprets the whole object. How much the map depends
on the guide, and scenes with truth: `docs/guidance.md`.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from benchmarks.paper import lab as shared
from benchmarks.paper import subjects
from benchmarks.paper.fig7 import summarize
from benchmarks.paper.lab import Drawn, Lab
from jaxattr import images, losses
from jaxattr.guidance import guided, stitch
from jaxattr.methods import complete
from jaxattr.sheets import Cell, sheet

LOSSES = {
    "logit": lambda target, _: losses.target_logit(target),  # the paper's
    "difference": losses.difference,
}
SHOWN = 4

_guided = jax.jit(partial(guided, method=complete), static_argnames="loss")  # the paper's


def draw(lab: Lab) -> Drawn:
    every = subjects.one(lab)
    array, class_, file = subjects.guide(lab, [one.classes[0] for one in every])
    rows, cells = [], []
    for number, subject in enumerate(every):
        target, name = subject.classes[0], lab.short(subject.classes[0])
        alone = shared.class_maps(lab, subject)[0]
        measured = shared.on_object(alone, subject.regions[0])
        rows.append({"image": subject.name, "method": "alone, logit", **measured})
        line = [
            shared.photo_cell(lab, subject),
            shared.map_cell(lab, subject, alone, f"{name}, no guide", shared.signed(name)),
        ]
        for loss, build in LOSSES.items():
            given = (lab.model, subject.photo.array, array[None], target, np.array([class_]))
            found = jax.tree.map(np.asarray, _guided(*given, loss=build))
            one = found.mean.astype(np.float64)
            measured = shared.on_object(one, subject.regions[0])
            rows.append({"image": subject.name, "method": f"guided, {loss}", **measured})
            negative = f"against {name}" if loss == "logit" else f"for {lab.short(class_)}"
            words = f"for {name}", negative
            if loss == "logit":
                canvas = stitch(subject.photo.array, array)
                picture = images.denormalize(np.asarray(canvas), lab.model.preprocessing)
                whole = shared.map_cell(lab, subject, found.canvas[0], f"{name} beside", words)
                line.append(whole._replace(picture=picture, title=f"{name} beside {file}"))
            line.append(shared.map_cell(lab, subject, one, f"guided, {loss}", words))
        if number < SHOWN:
            cells.append(line)
    names = ("alone, logit", *(f"guided, {loss}" for loss in LOSSES))
    return Drawn({"": _sheet(lab, cells)}, summarize(rows, names), rows)


def _sheet(lab: Lab, cells: list[list[Cell]]):
    return sheet(cells, footer=f"{lab.footer}  ·  method complete")
