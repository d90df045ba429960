"""Fig. 8: the same photos beside a guide of another class, the zebra.

Claim: with a guide the complete correction interprets the whole object. How much the map depends
on the guide, and scenes with truth: `docs/notebook/guidance.md`. Beside it the
conservative correction.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from benchmarks.paper import lab as shared
from benchmarks.paper import subjects
from benchmarks.paper.fig7 import summarize
from benchmarks.paper.lab import LOSSES, OURS, Drawn, Lab
from jaxattr.data import images
from jaxattr.experiments.guidance import guided, stitch
from jaxattr.methods import METHODS
from jaxattr.plot.sheets import sheet

ALONE = ("complete", "logit"), (OURS, "log-odds")
BESIDE = (("complete", "logit"), ("complete", "difference"), (OURS, "log-odds"),
          (OURS, "difference"))  # fmt: skip
"""The first is the paper's."""
SHOWN = 4


@partial(jax.jit, static_argnames=("method", "loss"))
def _guided(model, image, guides, target, against, method, loss):
    chosen = {"method": METHODS[method].function, "loss": LOSSES[loss]}
    return guided(model, image, guides, target, against, **chosen)


def draw(lab: Lab) -> Drawn:
    every = subjects.one(lab)
    array, class_, file = subjects.guide(lab, [one.classes[0] for one in every])
    rows, cells = [], []
    for number, subject in enumerate(every):
        target, name = subject.classes[0], lab.short(subject.classes[0])
        line = [shared.photo_cell(lab, subject)]
        for method, loss in ALONE:
            one = shared.class_maps(lab, subject, method, loss)[0]
            rows.append(_row(subject, f"{method} alone, {loss}", one))
            words = shared.signed(name)
            line.append(shared.map_cell(lab, subject, one, f"{method}, no guide", words))
        for method, loss in BESIDE:
            given = (lab.model, subject.photo.array, array[None], target, np.array([class_]))
            found = jax.tree.map(np.asarray, _guided(*given, method=method, loss=loss))
            one = found.mean.astype(np.float64)
            rows.append(_row(subject, f"{method} guided, {loss}", one))
            words = shared.words(lab, method, loss, target, class_)
            if (method, loss) == BESIDE[0]:
                canvas = stitch(subject.photo.array, array)
                picture = images.denormalize(np.asarray(canvas), lab.model.preprocessing)
                whole = shared.map_cell(lab, subject, found.canvas[0], f"{name} beside", words)
                line.append(whole._replace(picture=picture, title=f"{name} beside {file}"))
            line.append(shared.map_cell(lab, subject, one, f"{method}, {loss}", words))
        if number < SHOWN:
            cells.append(line)
    names = [f"{method} alone, {loss}" for method, loss in ALONE]
    names += [f"{method} guided, {loss}" for method, loss in BESIDE]
    return Drawn({"": sheet(cells, footer=lab.footer)}, summarize(rows, tuple(names)), rows)


def _row(subject: subjects.Subject, method: str, one: np.ndarray) -> dict:
    return {
        "image": subject.name,
        "method": method,
        **shared.on_object(one, subject.regions[0]),
    }
