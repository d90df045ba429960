"""Fig. 9: detail interpretation, classes that the model sees in one object set in pairs.

Claim: the pair maps show which details speak for one class over another; the last row shows typical
images of the second class. On the kite, the white head speaks for kite against bald eagle, which
the paper takes for a fault of the training labels. A row of conservative maps of the difference
stands beneath the paper's.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.paper import lab as shared
from benchmarks.paper import subjects
from benchmarks.paper.lab import OURS, Drawn, Lab
from jaxattr import losses, metrics
from jaxattr.data import dataset
from jaxattr.experiments import guides
from jaxattr.experiments.details import details
from jaxattr.experiments.guides import Source, gather
from jaxattr.methods import METHODS
from jaxattr.plot.sheets import Cell, sheet

TRIED = 8  # images of a class, to find a typical one
LOSSES = {
    "Eq. 8": losses.relative_difference,
    "difference": losses.difference,
    "log-odds": lambda first, _: losses.log_odds(first),
}
ASKED = {
    "parts": ("complete", "Eq. 8"),  # the paper's
    "parts_of_difference": ("complete", "difference"),
    "parts_of_log_odds": ("complete", "log-odds"),
    "our_parts_of_difference": (OURS, "difference"),
    "our_parts_of_log_odds": (OURS, "log-odds"),
}
"""Of each pair; the log-odds do not name the second class."""
PAPER, OUR = "parts", "our_parts_of_difference"


@partial(jax.jit, static_argnames=("method", "loss"))
def _details(model, image, classes, method, loss):
    return details(model, image, classes, method=METHODS[method].function, loss=LOSSES[loss])


def draw(lab: Lab) -> Drawn:
    rows: list[dict[str, Any]] = []
    cells: list[list[Cell | None]] = []
    folder = None if lab.labelled is None else dataset.index(lab.labelled, lab.table)
    source = Source(lab.model, lab.table, folder)
    for subject in subjects.alike(lab):
        given = lab.model, subject.photo.array, np.array(subject.classes, np.int32)
        found = {
            key: jax.tree.map(np.asarray, _details(*given, method=method, loss=loss))
            for key, (method, loss) in ASKED.items()
        }
        lines: dict[str, list[Cell | None]] = {
            PAPER: [shared.photo_cell(lab, subject)],
            OUR: [None],
        }
        below: list[Cell | None] = [None]
        for number, (a, b) in enumerate(zip(found[PAPER].first, found[PAPER].second, strict=True)):
            rows.append(_row(lab, subject, found, number))
            words = f"for {lab.short(a)}", f"for {lab.short(b)}"
            for key, line in lines.items():
                title = ", ".join(ASKED[key])
                line.append(shared.map_cell(lab, subject, found[key].maps[number], title, words))
            below.append(_typical(lab, source, int(b), subject))
        cells += [*lines.values(), below]
    return Drawn({"": sheet(cells, footer=lab.footer)}, _summary(rows), rows)


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "both logits positive, so that Eq. 8 guides, %": 100 * shared.mean(rows, "guiding"),
        "Eq. 8 and difference: correlation": shared.mean(rows, "likeness_of_losses"),
        "(a, b) and (b, a): correlation": shared.mean(rows, "likeness_of_orders"),
        f"{OURS}, (a, b) and (b, a): correlation": shared.mean(rows, "our_likeness_of_orders"),
        f"complete and {OURS}, difference: correlation": shared.mean(rows, "likeness_of_methods"),
    }
    for one in rows:
        if one["parts"]:
            pair = f"{one['first']} against {one['second']}: balance on each part that differs, all"
            summary |= {
                f"{pair}, {method}, {loss}": one[key] for key, (method, loss) in ASKED.items()
            }
    return summary


def _row(lab: Lab, subject: subjects.Subject, found: Any, number: int) -> dict[str, Any]:
    """One ordered pair; the part that differs is the head, where it was marked."""
    eq8 = found[PAPER]
    a, b = int(eq8.first[number]), int(eq8.second[number])
    back = int(np.flatnonzero((eq8.first == b) & (eq8.second == a))[0])
    maps = {key: one.maps.astype(np.float64) for key, one in found.items()}

    def alike(one: np.ndarray, other: np.ndarray) -> float:
        return round(float(metrics.likeness(one, other)), 3)

    paper, plain, ours = (maps[key] for key in (PAPER, "parts_of_difference", OUR))
    return {
        "image": subject.name,
        "first": lab.short(a),
        "second": lab.short(b),
        "logits": [round(float(eq8.logits[one]), 2) for one in (a, b)],
        "guiding": float(losses.is_guiding(jnp.asarray(eq8.logits), a, b)),
        "likeness_of_losses": alike(paper[number], plain[number]),
        "likeness_of_orders": alike(paper[number], paper[back]),
        "our_likeness_of_orders": alike(ours[number], ours[back]),
        "likeness_of_methods": alike(plain[number], ours[number]),
        **{key: _parts(one[number], subject) for key, one in maps.items()},
    }


def _parts(one: np.ndarray, subject: subjects.Subject) -> list[float]:
    """The balance on each part, and on all together where there are several."""
    parts = [*subject.regions]
    if len(parts) > 1:
        parts.append(subject.regions.max(axis=0))
    return [round(shared.balance(one, part), 3) for part in parts]


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
