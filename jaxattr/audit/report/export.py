"""Findings as JSON and CSV: schema-versioned, with class and file names, fixed rounding."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.report.limits import STATED, limits
from jaxattr.audit.report.limits_text import sentences
from jaxattr.data.labels import LabelTable

SCHEMA = "jaxattr.findings"
SCHEMA_VERSION = 2
COLUMNS = (
    "rank",
    "kind",
    "severity",
    "title",
    "classes",
    "labels",
    "images",
    "files",
    "score",
    "effect_name",
    "effect",
    "effect_low",
    "effect_high",
    "p_value",
    "q_value",
    "null",
    "power",
    "detail",
    "action",
    "caveat",
    "partial",
)


def findings_json(findings: Sequence[Finding], analysis: Analysis) -> str:
    """Findings as a JSON text; floats are rounded to six significant digits, never NaN.

    The same ledger and findings give the same bytes.
    """
    names, files = analysis.names, _files(findings, analysis)
    receipt, part = analysis.ledger.receipt, analysis.extent
    content = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "jaxattr": receipt.version,
        "model": receipt.model,
        "parameters": receipt.parameters,
        "images": receipt.images,
        "index": receipt.index,
        "count": receipt.count,
        "total": part.of_images,
        "partial": part.partial,
        "training": _training(analysis),
        "limits": _limits(analysis, names),
        "skipped": [{"file": file, "reason": reason} for file, reason in analysis.ledger.skipped()],
        "unlooked": [{"kind": kind, "count": count} for kind, count in receipt.unlooked],
        "findings": [_entry(one, names, files) for one in findings],
    }
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def findings_csv(findings: Sequence[Finding], analysis: Analysis) -> str:
    """Findings as CSV, one row and one line each, columns `COLUMNS`.

    Lists are joined by `;`. A member that holds a `;`, a `"` or what is not printable is written as
    a JSON string without any of them (`"a\\u003bb.jpg"`), so that splitting at `;` always gives
    the members. Elsewhere what is not printable is escaped likewise.
    """
    names, files = analysis.names, _files(findings, analysis)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rank, one in enumerate(findings, 1):
        low, high = one.interval or (None, None)
        row = {
            **one._asdict(),
            "rank": rank,
            "labels": [names.short(class_) for class_ in one.classes],
            "files": [files[image] for image in one.images],
            "effect_low": low,
            "effect_high": high,
            "partial": "partial" if analysis.extent.partial else "",
        }
        writer.writerow([_cell(row[column]) for column in COLUMNS])
    return text.getvalue()


def _training(analysis: Analysis) -> dict[str, Any] | None:
    """The training folder that was compared with, if there was one."""
    if analysis.ledger.training is None:
        return None
    names = ("model", "images", "index", "count", "total")
    return {name: getattr(analysis.ledger.training.receipt, name) for name in names}


def _limits(analysis: Analysis, names: LabelTable) -> dict[str, Any]:
    """What the audit could not see: in sentences, and the numbers behind them."""
    of = analysis.remember(limits)
    sizes = [
        {
            **one._asdict(),
            "needed": [
                {"rate": rate, "unlike": unlike, "alike": alike}
                for rate, (unlike, alike) in zip(STATED, one.needed, strict=True)
            ],
        }
        for one in of.sizes
    ]
    lists = {
        name: [{"index": one, "label": names.short(one)} for one in getattr(of, name)]
        for name in ("refused", "small", "single")
    }
    not_run = [{"what": what, "why": why} for what, why in of.not_run]
    numbers = {"tests": of.tests, "threshold": of.threshold, "sizes": sizes}
    return {"sentences": sentences(of, analysis), **numbers, **lists, "not_run": not_run}


def _entry(one: Finding, names: LabelTable, files: dict[int, str]) -> dict[str, Any]:
    return {
        **one._asdict(),
        "classes": [{"index": class_, "label": names.short(class_)} for class_ in one.classes],
        "images": [{"index": image, "file": files[image]} for image in one.images],
    }


def _files(findings: Sequence[Finding], analysis: Analysis) -> dict[int, str]:
    wanted = [image for one in findings for image in one.images]
    return {index: row["file"] for index, row in analysis.ledger.rows(wanted, "file").items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _cell(value: Any) -> str:
    value = _plain(value)
    if value is None:
        return ""
    if isinstance(value, list):
        return ";".join(map(_member, map(str, value)))
    return "".join(one if one.isprintable() else _escaped(one) for one in str(value))


def _member(text: str) -> str:
    if text.isprintable() and not {";", '"'} & set(text):
        return text
    return json.dumps(text).replace(";", "\\u003b")


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1]
