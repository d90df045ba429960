"""Fig. 11: pixels rewritten until tusker is bull mastiff, as by `jaxattr rewrite --budget-search`.

Claim: the top class changes with high confidence, and a person sees next to no change. Distances,
other photos and scenes: `docs/notebook/rewrite.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper import lab as shared
from benchmarks.paper import subjects
from benchmarks.paper.lab import Drawn, Lab
from jaxattr.data import images
from jaxattr.experiments.session import (
    Outcome,
    as_picture,
    logits_of,
    look_again,
    prepare,
    session,
)

PAPER = {"probability_before": 0.351, "probability_after": 0.938}


def draw(lab: Lab) -> Drawn:
    path, to = _asked(lab)
    image, new = images.decode(path), lab.table.resolve(to)
    task = prepare(lab.model, image, new, search=True)
    chunks = list(session(task))
    best, pixels = chunks[-1].best, np.asarray(chunks[-1].best.pixels)
    tried = tuple((one.budget or 0, bool(one.found.reached)) for one in chunks if one.ended)
    picture = lab.output / f"{path.stem}-as-{lab.short(new).replace(' ', '_')}.png"
    as_picture(image, pixels, lab.model.preprocessing).save(picture)
    before = logits_of(lab.model, images.normalize(task.pixels, lab.model.preprocessing))
    found = Outcome(task, best, tried, before, look_again(lab.model, picture, pixels))
    old, after, chances = task.old, found.after, found.probabilities
    summary: dict[str, Any] = {
        "before": f"{lab.short(old)} {chances[0][old]:.3f} ({before[old]:.2f})",
        "after": f"{lab.short(int(after.argmax()))} {chances[1].max():.3f} ({after.max():.2f})",
        "top class of the decoded PNG is the one asked for": bool(after.argmax() == new),
        "smallest L-infinity budget, of 255": found.smallest_budget,
        "steps": int(best.best_step),
        **{key: round(value, 4) for key, value in found.distances._asdict().items()},
    }
    row = {"image": path.name, "picture": picture.name, "from": lab.short(old), "to": to}
    return Drawn({"": found.plot(lab.table)}, summary, [row | PAPER])


def _asked(lab: Lab) -> tuple[Path, str]:
    """The tusker and the bull mastiff; of drawn scenes the first and its strongest rival."""
    if lab.images is not None:
        return subjects.find(lab, "tusker.jpg"), "bull mastiff"
    subject = subjects.one(lab)[0]
    order = (-shared.logits(lab, subject.photo.array)).argsort(kind="stable")
    return subject.photo.path, lab.short(order[1])
