"""The scores of `jaxattr bench explanations` as tables for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxattr.cli.common import output

if TYPE_CHECKING:
    from jaxattr.bench.explanations.run import Score

FORMATS = ("table", "json", "csv", "md")
HEADS = {
    "sign_accuracy": "signs right",
    "positive_in_target": "+ in target",
    "negative_in_rival": "- in rival",
    "pointing_positive": "points at target",
    "pointing_negative": "points at rival",
    "background_share": "on background",
    "likeness": "likeness",
    "iou_best": "IoU, best",
    "iou_zero": "IoU, zero",
    "part_hit": "all pairs",
    "inside_positive": "sum inside > 0",
    "inside_above": "inside > outside",
    "pointing": "largest inside",
    "positive_inside": "+ inside",
    "csdc": "CSDC",
    "pc": "PC",
    "dc": "DC",
    "distractibility": "D",
    "sd": "SD",
    "ts": "TS",
}
"""Column heads; all but the likeness, a correlation, are in percent."""


def text(scores: Sequence[Score], kind: str, facts: dict[str, Any]) -> str:
    """All scores in one of `FORMATS`; `facts` say what was run (JSON only)."""
    if kind == "json":
        rows = [
            {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
            for row in (score._asdict() for score in scores)
        ]
        return json.dumps({**facts, "scores": rows}, ensure_ascii=False, allow_nan=False, indent=1)
    if kind == "csv":
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(scores[0]._fields)
        writer.writerows(["" if one != one else one for one in score] for score in scores)
        return file.getvalue().rstrip("\n")
    parts = []
    for scenes in dict.fromkeys(score.scenes for score in scores):
        header, rows = _table([score for score in scores if score.scenes == scenes])
        if kind == "md":
            parts.append(f"### {scenes.capitalize()}\n\n{_markdown(header, rows)}")
        else:
            parts.append(f"{scenes.upper()}\n{output.table(header, rows, left=3)}")
    return "\n\n".join(parts)


def _table(scores: Sequence[Score]) -> tuple[list[str], list[list[str]]]:
    measures = list(dict.fromkeys(score.measure for score in scores))
    lines: dict[tuple[str, str, str], dict[str, Score]] = {}
    for score in scores:
        lines.setdefault((score.method, score.model, score.loss), {})[score.measure] = score
    names = [HEADS.get(one, one.removeprefix("part_hit ")) for one in measures]
    rows = [
        [*key, *(cell(found[measure]) if measure in found else "–" for measure in measures)]
        for key, found in lines.items()
    ]
    return ["method", "model", "loss", *names], rows


def cell(score: Score) -> str:
    """A value and its interval, short; a dash where there is none."""
    if math.isnan(score.value):
        return "–"
    numbers = score.value, score.low, score.high
    if score.measure == "likeness":
        value, low, high = (f"{number + 0.0:.2f}" for number in numbers)
    else:
        value, low, high = (f"{100 * number:.0f}" for number in numbers)
    return f"{value} [{low}, {high}]"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * 3 + ["--:"] * (len(header) - 3), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
