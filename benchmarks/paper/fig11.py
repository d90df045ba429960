"""Fig. 11: pixels rewritten until tusker is bull mastiff, by `jaxattr rewrite --budget-search`.

Claim: the top class changes with high confidence, and a person sees next to no change. Distances,
other photos and scenes: `docs/notebook/rewrite.md`.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from benchmarks.paper import lab as shared
from benchmarks.paper import subjects
from benchmarks.paper.lab import Drawn, Lab
from jaxattr.cli.rewrite.command import rewrite

PAPER = {"probability_before": 0.351, "probability_after": 0.938}


def draw(lab: Lab) -> Drawn:
    path, to = _asked(lab)
    arguments = [str(path), "--model", lab.source, "--to", to, "--output", str(lab.output)]
    arguments += ["--budget-search", "--format", "png", "--format", "json", "--quiet"]
    with redirect_stdout(io.StringIO()) as said:
        rewrite.main(arguments, standalone_mode=False)
    files = [Path(line.strip()) for line in said.getvalue().splitlines() if line.startswith("  ")]
    picture, figure, data = (file for file in files if file.suffix in (".png", ".json"))
    figure.replace(lab.output / "fig11.png")
    found = json.loads(data.read_text(encoding="utf-8"))
    data.unlink()
    before, after = (np.array(found[f"logits_{when}"]) for when in ("before", "after"))
    old, new = found["from"], found["to"]
    enough = [linf for linf, reached in found["budgets"] if reached]
    summary: dict[str, Any] = {
        "before": f"{lab.short(old)} {softmax(before)[old]:.3f} ({before[old]:.2f})",
        "after": f"{lab.short(int(after.argmax()))} {softmax(after).max():.3f} ({after.max():.2f})",
        "top class of the decoded PNG is the one asked for": bool(after.argmax() == new),
        "smallest L-infinity budget, of 255": min(enough, default=None),
        "steps": found["step"],
        **{key: round(value, 4) for key, value in found["distances"].items()},
    }
    row = {"image": path.name, "picture": picture.name, "from": lab.short(old), "to": to}
    return Drawn({}, summary, [row | PAPER])


def _asked(lab: Lab) -> tuple[Path, str]:
    """The tusker and the bull mastiff; of drawn scenes the first and its strongest rival."""
    if lab.images is not None:
        return subjects.find(lab, "tusker.jpg"), "bull mastiff"
    subject = subjects.one(lab)[0]
    order = (-shared.logits(lab, subject.photo.array)).argsort(kind="stable")
    return subject.photo.path, lab.short(order[1])
