"""The report: one HTML file that needs nothing but a browser, never the network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import MAPS
from jaxattr.audit.ledger.training import same_model
from jaxattr.audit.report import records, selection
from jaxattr.audit.report.limits import limits
from jaxattr.audit.report.limits_text import partial_sentence
from jaxattr.audit.report.summary import Summary, summarize_pairs
from jaxattr.data.listing import unlooked_sentence

BUDGET = 9_500_000
_SCRIPTS = (
    "base.js",
    "maps.js",
    "strips.js",
    "limits.js",
    "findings.js",
    "classes.js",
    "image.js",
    "main.js",
)
_STYLES = ("page.css", "parts.css")
# Shares of the budget that findings, classes, pairs and the names of skipped files may take; image
# pages get what is left.
_FINDINGS, _CLASSES, _PAIRS, _SKIPPED = 0.25, 0.25, 0.15, 0.1
_PHOTO = 4000
# Control characters, halves of surrogate pairs, and marks that turn the direction of a line.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
_COLUMNS = (
    *("file", "label", "prediction", "rival", "logits", "sha256", "thumbnail", *MAPS),
    *("classes", "map_class", "weight_class"),
)


def render(
    analysis: Analysis, summary: Summary, findings: Sequence[Finding], *, budget: int = BUDGET
) -> str:
    """One HTML page over a ledger, under `budget` bytes of UTF-8; what is left out is counted.

    The same ledger and findings give the same bytes. Findings are shown in the given order. The
    page makes no request: a content security policy forbids the network and every script but the
    page's own.
    """
    missing = [pair for pair in selection.finding_pairs(findings) if pair not in summary.pairs]
    if missing:
        extra = summarize_pairs(analysis.ledger, missing)
        summary = summary._replace(pairs={**summary.pairs, **extra})
    script = "\n".join(["'use strict';", *map(_text, _SCRIPTS)])
    style = "\n".join(map(_text, _STYLES))
    data = _data(analysis, summary, findings, budget - len(script) - len(style) - 40_000)
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    training = analysis.training
    return environment.get_template("page.html").render(
        receipt=analysis.ledger.receipt,
        training=training and training.ledger.receipt,
        same_model=training and same_model(training.ledger.receipt, analysis.ledger.receipt),
        partial=partial_sentence(analysis),
        unlooked=unlooked_sentence(analysis.ledger.receipt.unlooked),
        part=analysis.extent,
        training_part=training and training.extent,
        data=data,
        script=script,
        style=style,
        script_hash=_hash(script),
        style_hash=_hash(style),
        clean=_clean,
    )


def _data(analysis: Analysis, summary: Summary, findings: Sequence[Finding], budget: int) -> str:
    shown_findings = _findings(analysis, findings, int(budget * _FINDINGS))
    class_order = selection.class_order(summary, findings)
    classes = selection.take(
        ((str(i), records.dumps(records.class_(summary.classes[i]))) for i in class_order),
        len(class_order),
        int(budget * _CLASSES),
    )
    pair_order = selection.pair_order(summary, findings)
    pairs = selection.take(
        (
            (f"{pair[0]}/{pair[1]}", records.dumps(records.pair(summary.pairs[pair])))
            for pair in pair_order
        ),
        len(pair_order),
        int(budget * _PAIRS),
    )
    skipped = selection.take(
        ((str(i), records.dumps(list(one))) for i, one in enumerate(summary.skipped)),
        len(summary.skipped),
        int(budget * _SKIPPED),
    )
    named = records.mentioned(summary)
    for one in findings[: len(shown_findings.records)]:
        named.update(one.classes[:100])
    cannot = analysis.remember(limits)
    named.update(cannot.refused[: records.CLASSES], cannot.small[: records.CLASSES])
    head = {
        "run": _run(analysis),
        "overall": records.overall(summary, analysis),
        "limits": records.limits(analysis),
        "palettes": _palettes(),
    }
    # Image pages name up to seven classes more each; room for all labels is set aside at once.
    every = set(range(len(analysis.ledger.receipt.labels)))
    names = records.dumps(records.names(analysis, every if len(every) <= 2000 else named))
    spent = sum(one.size for one in (shown_findings, classes, pairs, skipped))
    spent += len(names) + len(records.dumps(head)) + 1000
    order = selection.image_order(
        summary,
        findings[: len(shown_findings.records)],
        pair_order[: len(pairs.records)],
        class_order[: len(classes.records)],
    )
    images = selection.take(
        _images(analysis, order, budget - spent), summary.images, budget - spent
    )
    parts = {"findings": shown_findings, "classes": classes, "pairs": pairs, "images": images}
    parts["skipped"] = skipped
    head["shown"] = {name: [len(part.records), part.total] for name, part in parts.items()}
    fields = [f'"{name}":{records.dumps(value)}' for name, value in head.items()]
    fields.append(f'"names":{names}')
    for name, part in parts.items():
        inner = ",".join(f'"{key}":{record}' for key, record in part.records.items())
        fields.append(f'"{name}":{{{inner}}}')
    return "{" + ",\n".join(fields) + "}"


def _findings(analysis: Analysis, findings: Sequence[Finding], budget: int) -> selection.Taken:
    wanted = [index for one in findings for index in one.images[: records.EVIDENCE]]
    file_of = {index: row["file"] for index, row in analysis.ledger.rows(wanted, "file").items()}
    photos = _training_photos(analysis, findings, budget)
    entries = (
        (str(rank), records.dumps(records.finding(one, file_of, photos)))
        for rank, one in enumerate(findings, 1)
    )
    return selection.take(entries, len(findings), budget)


def _training_photos(
    analysis: Analysis, findings: Sequence[Finding], budget: int
) -> dict[int, bytes]:
    """Photos of the training folder for the first findings: at most a fifth of the budget."""
    training = analysis.training
    if training is None:
        return {}
    wanted = [image["index"] for one in findings for image in records.training_images(one)]
    wanted = list(dict.fromkeys(wanted))[: max(budget, 0) // (5 * _PHOTO)]
    rows = training.ledger.rows(wanted, "thumbnail")
    return {index: row["thumbnail"] or b"" for index, row in rows.items()}


def _images(analysis: Analysis, order: list[int], budget: int) -> Iterator[tuple[str, str]]:
    """Serialised images, read in few passes over the shards; a photo takes at least 1.5 kB."""
    candidates = order[: max(budget, 0) // 1500]
    rows = analysis.ledger.rows(candidates, *_COLUMNS)
    for index in candidates:
        yield str(index), records.dumps(records.image(rows[index]))


def _run(analysis: Analysis) -> dict[str, Any]:
    receipt = analysis.ledger.receipt
    return {"grid": list(receipt.grid), "model": receipt.model, "images": receipt.images}


def _palettes() -> dict[str, str]:
    from jaxattr.plot.heatmap import palette_table

    names = ("diverging", "paper")
    return {name: base64.b64encode(palette_table(name).tobytes()).decode() for name in names}


def _text(name: str) -> str:
    return (files(__name__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _clean(text: object) -> str:
    """Text in one line that UTF-8 can hold, whatever bytes a file name had; as `printable` does it
    in the page's script."""
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], str(text))
