"""The results of `jaxattr bench methods` as tables for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxattr.cli.common import output

if TYPE_CHECKING:
    from jaxattr.bench.methods.run import Result
    from jaxattr.bench.methods.table import Score

FORMATS = ("table", "json", "csv", "md")
NOTE = (
    "In brackets: 95 % bootstrap intervals over images. #: rank among the methods. °: not better "
    "than the random map and the centred blob, image by image. –: not defined. ms a map: in a "
    "batch of 16, compiled and warm; the median over batches, the first execution left out."
)
_ARROWS = {"higher": "↑", "lower": "↓"}


def text(result: Result, kind: str, facts: dict[str, Any]) -> str:
    """All scores in one of `FORMATS`; `facts` say what was run (JSON only)."""
    if kind == "json":
        content = {
            **facts,
            "images": result.images,
            "recognised": result.recognised,
            "seconds": _clean(result.seconds),
            "scores": [_clean(one._asdict()) for one in result.scores],
            "skipped": [{"file": file, "reason": reason} for file, reason in result.skipped],
        }
        return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    if kind == "csv":
        return _csv(result)
    parts = []
    for title, header, rows in _tables(result):
        if kind == "md":
            lines = [header, ["---"] * 2 + ["--:"] * (len(header) - 2), *rows]
            shown = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            parts.append(f"### {title}\n\n{shown}")
        else:
            parts.append(f"{title.upper()}\n{output.table(header, rows, left=2)}")
    return "\n\n".join([*parts, NOTE])


def _tables(result: Result) -> list[tuple[str, list[str], list[list[str]]]]:
    """One for each heading, then times and mean ranks."""
    from jaxattr.bench.methods.table import mean_ranks

    every = []
    for heading in dict.fromkeys(one.heading for one in result.scores):
        scores = [one for one in result.scores if one.heading == heading]
        named = dict.fromkeys((one.metric, one.better) for one in scores)
        lines: dict[tuple[str, str], list[str]] = {}
        for one in scores:
            lines.setdefault((one.method, one.model), []).append(cell(one))
        header = ["method", "model", *(f"{name} {_ARROWS[better]}" for name, better in named)]
        rows = [[*key, *cells] for key, cells in lines.items() if set(cells) != {"–"}]
        every.append((heading.capitalize(), header, rows))
    ranks, seconds = mean_ranks(result.scores), result.seconds
    best = sorted(
        (row for row in result.rows if row.competes),
        key=lambda row: ranks.get(row.name, math.inf),
    )
    rows = [
        [row.name, row.model, f"{ranks[row.name]:.1f}" if row.name in ranks else "–",
         "–" if math.isnan(seconds[row.name]) else f"{1000 * seconds[row.name]:.1f}"]
        for row in best
    ]  # fmt: skip
    return [*every, ("Ranks and time", ["method", "model", "mean rank", "ms a map"], rows)]


def cell(score: Score) -> str:
    """A value, its interval and its rank; a dash where there is none."""
    if math.isnan(score.value):
        return "–"
    value, low, high = (f"{one + 0.0:.2f}" for one in (score.value, score.low, score.high))
    rank = ""
    if score.rank:
        rank = f" #{score.rank}" + ("" if score.beats_nulls else "°")
    return f"{value} [{low}, {high}]{rank}"


def _csv(result: Result) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*result.scores[0]._fields, "seconds"])
    names = {(row.shown, row.model): row.name for row in result.rows}
    for one in result.scores:
        cells = ["" if value is None else value for value in _clean(one._asdict()).values()]
        seconds = result.seconds[names[(one.method, one.model)]]
        writer.writerow([*cells, "" if math.isnan(seconds) else seconds])
    return file.getvalue().rstrip("\n")


def _clean(row: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}


def notes(scores: Sequence[Score]) -> list[str]:
    """Lines for stderr: methods that are ahead of both maps that know nothing in no metric."""
    trained = [one for one in scores if one.model in ("trained", "given")]
    return [
        f"{method}: no metric puts its maps ahead of both a random map and a centred blob."
        for method in dict.fromkeys(one.method for one in trained)
        if not any(one.beats_nulls for one in trained if one.method == method)
    ]
