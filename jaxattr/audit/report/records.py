"""From summary, findings and ledger rows to the compact records that the page's script reads."""

from __future__ import annotations

import base64
import io
import json
import math
from typing import Any

import numpy as np
from scipy import special

from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import MAPS, pack, pack_classes
from jaxattr.audit.report.limits import limits as limits_of
from jaxattr.audit.report.limits_text import sentences
from jaxattr.audit.report.summary import ClassSummary, PairSummary, Summary

CONFUSIONS = 12
EVIDENCE = 48
CLASSES = 100
TRAINING = 6


def dumps(value: Any) -> str:
    """JSON that may stand inside a script element: pure ASCII, no `<`, `>` or `&`, never NaN."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def number(value: float | None, digits: int = 4) -> float | int | None:
    """A number of few digits; None for what JSON cannot say."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{float(value):.{digits}g}")
    if rounded == 1 > value:
        return 0.99999  # nearly all is not all
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def packed(values: np.ndarray) -> list[Any]:
    """A map as base64 int8 and its scale."""
    small, scale = pack(np.asarray(values, np.float64))
    return [_base64(small.tobytes()), number(scale, 6)]


def overall(summary: Summary, analysis: Analysis) -> dict[str, Any]:
    """The numbers of the first page."""
    part = analysis.extent
    return {
        "images": summary.images,
        "correct": summary.correct,
        "top5": summary.top5,
        "confidence": number(summary.confidence),
        "calibrationError": number(summary.calibration_error),
        "bins": [[number(float(value)) for value in row] for row in summary.bins],
        "present": len(summary.classes),
        "labels": len(analysis.ledger.receipt.labels),
        "partial": part.partial,
        "count": part.images,
        "total": part.of_images,
        "leftOut": len(part.left_out),
        "skipped": len(summary.skipped),
        "unlooked": [list(one) for one in analysis.ledger.receipt.unlooked],
    }


def limits(analysis: Analysis) -> dict[str, Any]:
    """What the audit cannot see: sentences, and power by class size."""
    of = analysis.remember(limits_of)
    return {
        "sentences": sentences(of, analysis),
        "tests": of.tests,
        "sizes": [
            [
                one.smallest,
                one.largest,
                one.classes,
                number(one.unlike, 2),
                number(one.alike, 2),
                [[number(needed, 2) for needed in pair] for pair in one.needed],
                one.least,
            ]
            for one in of.sizes
        ],
        "refused": list(of.refused[:CLASSES]),
        "small": list(of.small[:CLASSES]),
        "counts": [len(of.refused), len(of.small), len(of.single)],
    }


def finding(one: Finding, files: dict[int, str], photos: dict[int, bytes]) -> dict[str, Any]:
    """One finding, with the file names of its first images.

    Images of the training folder come as [file, label, photo]; `photos` holds those there is room
    for.
    """
    images = one.images[:EVIDENCE]
    record = {
        "kind": one.kind,
        "severity": one.severity,
        "title": one.title,
        "detail": one.detail,
        "action": one.action,
        "caveat": one.caveat,
        "classes": list(one.classes[:100]),
        "images": list(images),
        "files": [files[index] for index in images],
        "imageCount": len(one.images),
        "score": number(one.score),
        "effect": number(one.effect),
        "effectName": one.effect_name,
        "interval": one.interval and [number(float(end)) for end in one.interval],
        "p": number(one.p_value),
        "null": one.null,
        "q": number(one.q_value),
        "power": one.power,
        "box": _box(one),
        "training": [
            [image["file"], image["label"], _base64(photos.get(image["index"], b""))]
            for image in training_images(one)
        ],
        "trainingCount": one.extra.get("training_images"),
    }
    return {name: value for name, value in record.items() if value not in (None, "", [])}


def training_images(one: Finding) -> list[dict[str, Any]]:
    """The images of the training folder that the page shows for a finding: index, file, label."""
    return one.extra.get("training", [])[:TRAINING]


def class_(one: ClassSummary) -> dict[str, Any]:
    """One class; image lists are ledger indices."""
    return {
        "images": one.images,
        "correct": one.correct,
        "labelProbability": number(one.label_probability),
        "confidence": number(one.confidence),
        "confusions": [list(pair) for pair in one.confusions[:CONFUSIONS]],
        "confusionCount": len(one.confusions),
        "map": packed(one.mean_map),
        "consistency": number(one.consistency),
        "photo": _webp(one.mean_photo) if one.mean_photo is not None else "",
        "rivals": list(one.rivals),
        "typical": list(one.typical),
        "suspicious": list(one.suspicious),
    }


def pair(one: PairSummary) -> dict[str, Any]:
    """One pair of label and rival; strips are [index, margin, agreement]."""
    strips = {
        name: [
            [member.image, number(member.margin), number(member.agreement, 3)] for member in strip
        ]
        for name, strip in (("typical", one.typical), ("suspicious", one.suspicious))
    }
    return {
        "images": one.images,
        "preferring": one.preferring,
        "rivalProbability": number(one.rival_probability),
        "map": packed(one.mean_map),
        "consistency": number(one.consistency),
        **strips,
    }


def image(row: dict[str, Any]) -> list[Any]:
    """One image: file, label, prediction, rival, top five with probabilities and logits, maps and
    their scales, photo, hash; and of `classes` indices, weights, additive maps and their scales."""
    logits = np.asarray(row["logits"], np.float64)
    probabilities = special.softmax(logits)
    label, rival = row["label"], row["rival"]
    best = np.lexsort((np.arange(len(logits)), -logits))[:5]
    shown = dict.fromkeys([*best.tolist(), label, rival])
    maps = [pack(row[name]) for name in MAPS]
    of_classes, scales = pack_classes(row["map_class"])
    return [
        row["file"],
        label,
        row["prediction"],
        rival,
        [
            [index, number(float(probabilities[index])), number(float(logits[index]))]
            for index in shown
        ],
        _base64(b"".join(small.tobytes() for small, _ in maps)),
        [number(scale, 6) for _, scale in maps],
        _base64(row["thumbnail"]),
        row["sha256"][:12],
        [
            row["classes"].tolist(),
            [number(float(weight), 6) for weight in row["weight_class"]],
            _base64(of_classes.astype("<i2").tobytes()),
            [number(float(scale), 6) for scale in scales],
        ],
    ]


def names(analysis: Analysis, indices: set[int]) -> dict[str, list[str | int]]:
    """Of the classes that the page speaks of: short name, full label, wnid, how many images of it
    the whole folder has (-1: not known), and whether it was audited."""
    table, sizes = analysis.names, dict(analysis.ledger.receipt.sizes)
    unknown, audited = 0 if sizes else -1, analysis.extent.classes
    return {
        str(index): [
            table.short(index),
            analysis.ledger.receipt.labels[index],
            table.wnid(index) or "",
            sizes.get(index, unknown),
            int(index in audited),
        ]
        for index in sorted(indices)
    }


def mentioned(summary: Summary) -> set[int]:
    """Classes that class pages speak of."""
    found = set(summary.classes)
    for one in summary.classes.values():
        found.update(index for index, _ in one.confusions[:CONFUSIONS])
        found.update(one.rivals)
    return found


def _box(one: Finding) -> list[int] | None:
    """The place of the evidence in patches (top, left, bottom, right), if it has one."""
    box = one.extra.get("box") if one.extra.get("localised") else None
    return [int(value) for value in box] if box is not None and len(box) == 4 else None


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _webp(pixels: np.ndarray) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=70, method=4)
    return _base64(file.getvalue())
