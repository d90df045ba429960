"""The scores of `jaxattr bench audit` as tables for people and for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxattr.cli.common import output

if TYPE_CHECKING:
    from jaxattr.bench.audit.run import Score

FORMATS = ("table", "json", "csv", "md")
HEADS = {
    "pair_ap": "pair AP",
    "precision_at_k": "P@k",
    "power": "power",
    "false_discoveries": "FDR",
    "alarms": "alarms/set",
    "refused": "refused",
    "flag_precision": "flag precision",
    "flags": "flags/set",
    "image_ap": "image AP",
}
_COUNTS = ("alarms", "flags")
_SINGLE = ("precision_at_k", "refused", *_COUNTS)
"""Printed without their interval, to keep lines short; json and csv have it."""


def text(scores: Sequence[Score], kind: str, facts: dict[str, Any]) -> str:
    """All scores in one of `FORMATS`; `facts` say what was run (JSON only)."""
    if kind == "json":
        rows = [score._asdict() for score in scores]
        return json.dumps({**facts, "scores": rows}, ensure_ascii=False, allow_nan=False, indent=1)
    if kind == "csv":
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(scores[0]._fields)
        writer.writerows(scores)
        return file.getvalue().rstrip("\n")
    parts = []
    for name in dict.fromkeys(score.kind for score in scores):
        header, rows = _table([score for score in scores if score.kind == name])
        if kind == "md":
            lines = [header, ["--:"] * 2 + ["---"] + ["--:"] * (len(header) - 3), *rows]
            shown = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            parts.append(f"### {name.capitalize()}\n\n{shown}")
        else:
            parts.append(f"{name.upper()}\n{output.table(header, rows, left=3)}")
    return "\n\n".join(parts)


def cell(score: Score) -> str:
    """A value, with its interval where there is room for it."""
    if score.measure in _COUNTS:
        return f"{score.value:.2f}".rstrip("0").rstrip(".")
    value, low, high = (f"{number:.2f}" for number in (score.value, score.low, score.high))
    return value if score.measure in _SINGLE else f"{value} [{low}, {high}]"


def _table(scores: Sequence[Score]) -> tuple[list[str], list[list[str]]]:
    measures = [name for name in HEADS if any(one.measure == name for one in scores)]
    lines: dict[tuple[int, float, str], dict[str, Score]] = {}
    for one in scores:
        lines.setdefault((one.size, one.rate, one.method), {})[one.measure] = one
    rows = [
        [
            str(size),
            f"{100 * rate:g}%",
            method,
            *(cell(found[name]) if name in found else "–" for name in measures),
        ]
        for (size, rate, method), found in lines.items()
    ]
    return ["n", "rate", "method", *(HEADS[name] for name in measures)], rows
