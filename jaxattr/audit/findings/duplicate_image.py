"""Duplicate image: the same picture twice, in two classes, in two splits, or in one class."""

from __future__ import annotations

from pathlib import PurePosixPath

from jaxattr.audit import duplicates
from jaxattr.audit.duplicates import Match, Signatures
from jaxattr.audit.finding import Finding, Severity
from jaxattr.audit.ledger import Ledger
from jaxattr.labels import LabelTable

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})
"""Names of folders that are taken for splits."""


def duplicate_image(ledger: Ledger) -> list[Finding]:
    """Groups of images that are copies, one finding a group, worst first by where they lie.

    Equal files are certain. Near copies are pairs with hashes within `duplicates.NEAR` of 63 bits,
    features of cosine `duplicates.LIKE` and pixels that correlate `duplicates.ALIGNED` after the
    best small shift: measured thresholds, no p-value. Severity is `high` where equal files carry
    different labels (one is wrong, or the picture shows both) or lie in different splits (a leak),
    `medium` where near copies do, and `low` inside one class. Splits are told by folder names of
    the file's path (`SPLITS`).
    """
    of = duplicates.signatures(ledger)
    found = duplicates.matches(ledger, of)
    members = {one for match in found for one in (match.first, match.second)}
    rows = ledger.rows([int(of.image[one]) for one in members], "file")
    files = {one: rows[int(of.image[one])]["file"] for one in members}
    names = LabelTable(ledger.receipt.labels)
    together = duplicates.groups(found, len(of.image))
    return [_finding(of, names, files, group) for group in together]


def split_of(file: str) -> str:
    """The split that a file's path names, or nothing."""
    folders = [part.lower() for part in PurePosixPath(file).parts[:-1]]
    return next((part for part in folders if part in SPLITS), "")


def _finding(
    of: Signatures, names: LabelTable, files: dict[int, str], group: list[Match]
) -> Finding:
    members = sorted({one for match in group for one in (match.first, match.second)})
    classes = sorted({int(of.label[one]) for one in members})
    splits = sorted({split_of(files[one]) for one in members})
    exact = all(match.exact for match in group)
    least = min(match.correlation for match in group)
    across, leak = len(classes) > 1, len(splits) > 1
    worst: Severity = "high" if exact else "medium"
    shown = " and ".join(names.short(one) for one in classes[:3])
    place = f"labelled {shown}" if across else f"in {shown}"
    if leak:
        place += f", in the splits {' and '.join(one or 'none' for one in splits)}"
    return Finding(
        kind="duplicate_image",
        severity=worst if across or leak else "low",
        title=f"{'The same file' if exact else 'Almost the same picture'} {len(members)} times, "
        f"{place}",
        detail=_seen(exact, least),
        classes=tuple(classes),
        images=tuple(int(of.image[one]) for one in members),
        score=2.0 * leak + across + least,
        effect=least,
        effect_name="correlation of pixels, the least that ties the group together",
        action=_advice(across, leak),
        caveat=_wrong(exact, across),
        extra={
            "exact": exact,
            "across_classes": across,
            "splits": splits,
            "files": [files[one] for one in members[:20]],
        },
    )


def _seen(exact: bool, least: float) -> str:
    if exact:
        return "The files are equal, byte by byte."
    return (
        f"Every one correlates with another, pixel by pixel, at {least:.2f} or more after a shift "
        f"of at most 5 % of the side."
    )


def _advice(across: bool, leak: bool) -> str:
    if leak:
        return "Remove the copy from one split: accuracy measured on it is flattered."
    if across:
        return "Keep the one whose label is right and remove the others."
    return "Keep one: copies count double in training and in every rate."


def _wrong(exact: bool, across: bool) -> str:
    if exact and across:
        return "Not an error only where the picture truly shows both classes."
    if exact:
        return "Not an error only where the folder is meant to hold it twice."
    return (
        "Wrong where two pictures differ in a detail alone, as frames of one film do; no p-value."
    )
