"""Fig. 9: detail interpretation, classes that the model sees in one object set in pairs.

Claim: the pair maps show which details speak for one class over another; the last row shows typical
images of the second class. On the kite, the white head speaks for kite against bald eagle, which
the paper takes for a fault of the training labels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.paper import lab as shared
from benchmarks.paper import subjects
from benchmarks.paper.lab import Drawn, Lab
from jaxattr import guides, losses, metrics
from jaxattr.audit import dataset
from jaxattr.cli.guides import Source, gather
from jaxattr.details import details
from jaxattr.methods import complete
from jaxattr.sheets import Cell, sheet

TRIED = 8  # images of a class, to find a typical one
LOSSES = {"Eq. 8": losses.relative_difference, "difference": losses.difference}

_details = jax.jit(partial(details, method=complete), static_argnames="loss")  # the paper's


def draw(lab: Lab) -> Drawn:
    rows: list[dict[str, Any]] = []
    cells: list[list[Cell | None]] = []
    folder = None if lab.labelled is None else dataset.index(lab.labelled, lab.table)
    source = Source(lab.model, lab.table, folder)
    for subject in subjects.alike(lab):
        given = lab.model, subject.photo.array, np.array(subject.classes, np.int32)
        found = {
            name: jax.tree.map(np.asarray, _details(*given, loss=loss))
            for name, loss in LOSSES.items()
        }
        line: list[Cell | None] = [shared.photo_cell(lab, subject)]
        below: list[Cell | None] = [None]
        for number, (a, b) in enumerate(
            zip(found["Eq. 8"].first, found["Eq. 8"].second, strict=True)
        ):
            rows.append(_row(lab, subject, found, number))
            words = f"for {lab.short(a)}", f"for {lab.short(b)}"
            title = f"{words[0]} against {lab.short(b)}"
            one = found["Eq. 8"].maps[number]
            line.append(shared.map_cell(lab, subject, one, title, words))
            below.append(_typical(lab, source, int(b), subject))
        cells += [line, below]
    summary = {
        "both logits positive, so that Eq. 8 guides, %": 100 * shared.mean(rows, "guiding"),
        "Eq. 8 and difference: correlation": shared.mean(rows, "likeness_of_losses"),
        "(a, b) and (b, a): correlation": shared.mean(rows, "likeness_of_orders"),
    }
    for one in rows:
        if one["parts"]:
            key = f"{one['first']} against {one['second']}: balance on each part that differs"
            summary[key] = one["parts"]
            summary[f"{key}, loss difference"] = one["parts_of_difference"]
    return Drawn({"": sheet(cells, footer=f"{lab.footer}  ·  loss Eq. 8")}, summary, rows)


def _row(lab: Lab, subject: subjects.Subject, found: Any, number: int) -> dict[str, Any]:
    """One ordered pair; the part that differs is the head, where it was marked."""
    eq8, plain = found["Eq. 8"], found["difference"]
    a, b = int(eq8.first[number]), int(eq8.second[number])
    back = int(np.flatnonzero((eq8.first == b) & (eq8.second == a))[0])
    maps = eq8.maps.astype(np.float64)
    return {
        "image": subject.name,
        "first": lab.short(a),
        "second": lab.short(b),
        "logits": [round(float(eq8.logits[one]), 2) for one in (a, b)],
        "guiding": float(losses.is_guiding(jnp.asarray(eq8.logits), a, b)),
        "likeness_of_losses": round(float(metrics.likeness(maps[number], plain.maps[number])), 3),
        "likeness_of_orders": round(float(metrics.likeness(maps[number], maps[back])), 3),
        "parts": _parts(maps[number], subject),
        "parts_of_difference": _parts(plain.maps[number].astype(np.float64), subject),
    }


def _parts(one: np.ndarray, subject: subjects.Subject) -> list[float]:
    return [round(shared.balance(one, part), 3) for part in subject.regions]


def _typical(lab: Lab, source: Source, class_: int, subject: subjects.Subject) -> Cell | None:
    """The image of a class that the model is surest of, not the photo itself."""
    if source.folder is not None and not (source.folder.targets == class_).any():
        return None
    if source.folder is None and lab.images is not None:
        return None
    bank = gather(source, class_, TRIED, TRIED)
    own = [name == subject.name for name in bank.names]
    place = guides.typical(bank._replace(targets=np.where(own, -1, bank.targets)), class_)
    if place is None:
        return None
    return Cell(bank.pixels[place], f"typical {lab.short(class_)}", bank.names[place])
