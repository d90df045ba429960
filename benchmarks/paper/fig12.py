"""Fig. 12: the perturbation tests beside a guide, by `jaxattr bench perturbation`.

Claim: complete and positive correction (GAE) are alike in the positive test, and the complete one
is clearly better in the negative test. All numbers: `docs/notebook/perturbation.md`.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout

from benchmarks.paper import subjects
from benchmarks.paper.lab import Drawn, Lab
from jaxattr.cli.bench.perturbation import perturbation

PROTOCOL = "cui-guided-perturb-v1"


def draw(lab: Lab) -> Drawn:
    guide = "zebra" if lab.images is None else str(subjects.find(lab, subjects.GUIDE))
    arguments = ["--model", lab.source, "--protocol", PROTOCOL, "--guide", guide, "--quiet"]
    arguments += ["--limit", str(lab.limit), "--output", str(lab.output / "fig12")]
    arguments += ["--figure", str(lab.output / "fig12.png"), "--format", "json"]
    if lab.labelled is not None:
        arguments += ["--images", str(lab.labelled)]
    with redirect_stdout(io.StringIO()) as said:
        perturbation.main(arguments, standalone_mode=False)
    found = json.loads(said.getvalue())
    rows = [one for one in found["scores"] if one["measure"] in ("accuracy", "probability")]
    summary = {"images": found["images"]}
    for one in rows:
        if one["measure"] == "accuracy" and _compared(one):
            name = f"{one['method']} - {one['against']}" if one["against"] else one["method"]
            numbers = [round(100 * one[key], 1) for key in ("value", "low", "high")]
            key = f"{one['order']} test, accuracy, {name}: area x 100 [95 %]"
            summary[key] = f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"
    return Drawn({}, summary, rows)


def _compared(one: dict) -> bool:
    return {one["method"], one["against"] or "complete"} <= {"complete", "positive"}
