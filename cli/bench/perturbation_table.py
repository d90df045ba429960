"""The results of `jaxattr bench perturbation` as tables for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxattr.cli.common import output

if TYPE_CHECKING:
    from jaxattr.bench.perturbation.run import Guide, Result
    from jaxattr.bench.perturbation.table import Score

FORMATS = ("table", "json", "csv", "md")
PLURAL = {"patch": "patches", "pixel": "pixels"}
HEADS = {"positive": "positive (lower is better)", "negative": "negative (higher is better)"}
COLUMNS = (
    *("kind", "protocol", "method", "against", "explained", "order", "measure", "fraction"),
    *("value", "low", "high", "images"),
)


def text(result: Result, kind: str, facts: dict[str, Any], guide: Guide | None = None) -> str:
    """All areas, differences and curves in one of `FORMATS`; tables leave the curves out."""
    if kind == "json":
        content = {
            **facts,
            "scores": [_clean(one._asdict()) for one in result.scores],
            "curves": [_clean(one._asdict()) for one in result.curves],
            "skipped": [{"file": file, "reason": reason} for file, reason in result.skipped],
        }
        return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    if kind == "csv":
        return _csv(result)
    areas = [one for one in result.scores if not one.against]
    differences = [one for one in result.scores if one.against]
    parts = [_heading(result, guide)]
    for title, scores in (("Area under the curve", areas), ("Paired difference", differences)):
        header, rows = _table(scores)
        if kind == "md":
            lines = [header, ["---"] * 3 + ["--:"] * (len(header) - 3), *rows]
            shown = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            parts.append(f"### {title}\n\n{shown}")
        else:
            parts.append(f"{title.upper()}\n{output.table(header, rows, left=3)}")
    return "\n\n".join(parts)


def facts(model: str, result: Result, guide: Guide | None, seed: int) -> dict[str, Any]:
    """What was run, for programs."""
    from dataclasses import asdict

    described = None
    if guide is not None:
        described = {"name": guide.name, "class": guide.class_, **asdict(guide.layout)}
    return {
        "model": model,
        "protocol": asdict(result.protocol),
        "guide": described,
        "images": result.images,
        "left_out": result.left_out,
        "seed": seed,
    }


def _heading(result: Result, guide: Guide | None) -> str:
    one = result.protocol
    beside = ""
    if guide is not None:
        layout = guide.layout
        beside = f", image {layout.side} of the guide {guide.name} ({layout.resize})"
    return (
        f"{one.name}: {result.images} images{beside}; {PLURAL[one.unit]} masked by {one.fill}; "
        f"area x 100 over fractions 0 to {one.fractions[-1]:g}"
    )


def cell(score: Score) -> str:
    """An area times 100 and its interval; a dash where it is undefined; signs on differences."""
    if math.isnan(score.value):
        return "–"
    numbers = (score.value, score.low, score.high)
    style = "+.1f" if score.against else ".1f"
    value, low, high = (f"{100 * number:{style}}" for number in numbers)
    return f"{value} [{low}, {high}]"


def _table(scores: Sequence[Score]) -> tuple[list[str], list[list[str]]]:
    lines: dict[tuple[str, str, str], dict[str, Score]] = {}
    for one in scores:
        name = f"{one.method} - {one.against}" if one.against else one.method
        lines.setdefault((one.explained, one.measure, name), {})[one.order] = one
    rows = [[*key, *(cell(found[order]) for order in HEADS)] for key, found in lines.items()]
    return ["explained", "measure", "method", *HEADS.values()], rows


def _csv(result: Result) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in (*result.scores, *result.curves):
        row = _clean(one._asdict())
        kind = "curve" if "fraction" in row else "difference" if row["against"] else "area"
        row["kind"] = kind
        writer.writerow(["" if row.get(name) is None else row[name] for name in COLUMNS])
    return file.getvalue().rstrip("\n")


def _clean(row: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
