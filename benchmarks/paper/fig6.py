"""Fig. 6: attention transfer, the attention maps as the only parameters.

Claim: the target's evidence moves onto the other animal, while the other animal's own evidence
stays positive; and the maps at the start, of the frozen derivative, are almost those of Fig. 5.
Larger samples, both directions and scenes with truth: `docs/notebook/transfer.md`.
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
from jaxattr import losses, metrics
from jaxattr.experiments.transfer import LEARNING_RATE, PAPER, schedule, transfer
from jaxattr.plot.strips import Film, filmstrip

FILMS = (0, 0), (1, 1)
"""Subject and class of the paper's two rows: the zebra's logit, and the tiger cat's."""
FRAMES = 9

_transfer = jax.jit(partial(transfer, optimizer=PAPER))


def draw(lab: Lab) -> Drawn:
    figures, rows = {}, []
    steps = schedule(lab.steps, max(1, lab.steps // (FRAMES - 1)))
    for number, subject in enumerate(subjects.two(lab)):
        for place in (0, 1):
            classes = [subject.classes[place], subject.classes[1 - place]]
            found = _run(lab, subject, classes, steps)
            rows.append(_row(lab, subject, place, found))
            if (number, place) in FILMS:
                stem = subject.photo.path.stem
                figures[f"-{stem}"] = _film(lab, subject, classes, found)
    summary: dict[str, Any] = {"steps": lab.steps}
    for key, words in (
        ("target_map_on_target", "target's positive evidence on the target, %"),
        ("target_map_on_rival", "target's positive evidence on the other class, %"),
        ("rival_map_on_rival", "the other's positive evidence on itself, %"),
        ("rival_balance", "balance of the other's map on itself"),
    ):
        summary[f"{words}, before"] = shared.mean(rows, f"{key}_before")
        summary[f"{words}, after"] = shared.mean(rows, f"{key}_after")
    summary["frozen and total map before: correlation"] = shared.mean(rows, "first_likeness")
    summary["attention moved, % of a row"] = shared.mean(rows, "moved")
    return Drawn(figures, summary, rows)


def _run(lab: Lab, subject: subjects.Subject, classes: list[int], steps: np.ndarray) -> Any:
    """The first class's logit is raised; the maps of both are looked at."""
    found = _transfer(
        lab.model,
        subject.photo.array,
        losses.target_logit(classes[0]),
        steps,
        explain=losses.target_logit(jnp.array(classes)),
    )
    return jax.tree.map(np.asarray, found._replace(attention=None))


def _row(lab: Lab, subject: subjects.Subject, place: int, found: Any) -> dict[str, Any]:
    target, rival = subject.regions[place], subject.regions[1 - place]
    total = shared.class_maps(lab, subject)[place]
    row: dict[str, Any] = {
        "image": subject.name,
        "target": lab.short(subject.classes[place]),
        "first_likeness": round(float(metrics.likeness(found.maps[0, 0], total)), 3),
        "moved": round(100 * float(found.moved[-1].mean()), 2),
    }
    for when, frame in (("before", 0), ("after", -1)):
        row[f"logit_{when}"] = round(float(found.logits[frame, subject.classes[place]]), 3)
        own, other = found.maps[frame].astype(np.float64)
        for key, one, region in (
            ("target_map_on_target", own, target),
            ("target_map_on_rival", own, rival),
            ("rival_map_on_rival", other, rival),
        ):
            row[f"{key}_{when}"] = shared.percent(metrics.positive_share(one, region))
        row[f"rival_balance_{when}"] = round(shared.balance(other, rival), 3)
    return row


def _film(lab: Lab, subject: subjects.Subject, classes: list[int], found: Any) -> Any:
    names = [lab.short(index) for index in classes]
    film = Film(
        subject.photo.picture,
        found.steps,
        found.maps,
        found.logits[:, classes],
        found.moved.mean(axis=1),
        names,
        [lab.short(int(one.argmax())) for one in found.logits],
    )
    footer = f"{lab.footer}  ·  method complete  ·  gradient steps of {LEARNING_RATE:g}"
    return filmstrip(film, title=f"The logit of {names[0]} is raised", footer=footer)
