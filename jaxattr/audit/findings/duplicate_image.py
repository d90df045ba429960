"""Duplicate image: the same picture twice, in two classes, in two splits, or in one class."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from jaxattr.audit.copies import duplicates
from jaxattr.audit.copies.duplicates import Match
from jaxattr.audit.findings.finding import Finding, Severity
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.extent import Extent
from jaxattr.audit.ledger.training import joined
from jaxattr.data.labels import LabelTable

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})
"""Names of folders that are taken for splits."""
SHOWN = 20
"""Files of a group that are named."""
LABELS = 3
"""Labels of a group that are named in its title."""
MORE = " Copies among the images that were left out are not counted."


class _Copy(NamedTuple):
    """One image of a group."""

    image: int
    """Index in its own ledger."""
    file: str
    label: int
    training: bool
    """Whether it lies in the training folder."""


def duplicate_image(analysis: Analysis) -> list[Finding]:
    """Groups of images that are copies, one finding a group, worst first by where they lie.

    Equal files are certain. Near copies are pairs with hashes within `duplicates.NEAR` of 63 bits,
    features of cosine `duplicates.LIKE` (`ROUGHLY_LIKE` within `CLOSE` bits) and pixels that
    correlate `duplicates.ALIGNED` after the best small shift (`SURELY_ALIGNED` where the features
    are only roughly alike): measured thresholds, no p-value.
    Severity is `high` where equal files carry different labels (one is wrong, or the picture shows
    both) or lie in different splits (a leak), `medium` where near copies do, and `low` inside one
    class. Splits are told by folder names of the file's path (`SPLITS`); a training folder
    (`ledger.training`) is another split. Groups that lie in it alone are left to its own audit.
    """
    both, own = joined(analysis.ledger), analysis.ledger.receipt.count
    of = duplicates.signatures(both)
    first = int(np.searchsorted(of.image, own))  # positions of the audited folder come first
    found = duplicates.matches(both, of, first)
    together = [
        group for group in duplicates.groups(found, len(of.image)) if group[0].first < first
    ]
    members = {one for group in together for one in _members(group)}
    rows = both.rows([int(of.image[one]) for one in members], "file")
    copies = {}
    for one in members:
        image, label = int(of.image[one]), int(of.label[one])
        there = image >= own
        copies[one] = _Copy(image - own * there, rows[image]["file"], label, there)
    names, part = analysis.names, analysis.extent
    return [
        _finding(names, part, [copies[one] for one in _members(group)], group) for group in together
    ]


def split_of(file: str) -> str:
    """The split that a file's path names, or nothing."""
    folders = [part.lower() for part in PurePosixPath(file).parts[:-1]]
    return next((part for part in folders if part in SPLITS), "")


def _members(group: list[Match]) -> list[int]:
    """Positions, ascending."""
    return sorted({one for match in group for one in (match.first, match.second)})


def _finding(names: LabelTable, part: Extent, members: list[_Copy], group: list[Match]) -> Finding:
    here = [one for one in members if not one.training]
    there = [one for one in members if one.training]
    classes = sorted({one.label for one in members})
    splits = sorted({split_of(one.file) for one in here})
    exact = all(match.exact for match in group)
    least = min(match.correlation for match in group)
    across, leak = len(classes) > 1, len(splits) > 1 or bool(there)
    worst: Severity = "high" if exact else "medium"
    if there:
        title, seen = _leaked(names, here, there, exact)
    else:
        title, seen = _title(names, len(here), classes, splits, exact), ""
    extra: dict[str, Any] = {
        "exact": exact,
        "across_classes": across,
        "splits": splits,
        "files": [one.file for one in here[:SHOWN]],
    }
    if there:
        shown = [{"index": one.image, "file": one.file, "label": one.label} for one in there]
        extra |= {"training": shown[:SHOWN], "training_images": len(there)}
    return Finding(
        kind="duplicate_image",
        severity=worst if across or leak else "low",
        title=title,
        detail=f"{seen}{_tied(exact, least)}",
        classes=tuple(classes),
        images=tuple(one.image for one in here),
        score=2.0 * leak + across + least,
        effect=least,
        effect_name="correlation of pixels, the least that ties the group together",
        action=_look(across, leak) if part.partial else _advice(across, leak, bool(there)),
        caveat=_wrong(exact, across, bool(there)) + MORE * part.partial,
        extra=extra,
    )


def _title(
    names: LabelTable, count: int, classes: list[int], splits: list[str], exact: bool
) -> str:
    shown = _labels([names.short(one) for one in classes])
    place = f"labelled {shown}" if len(classes) > 1 else f"in {shown}"
    if len(splits) > 1:
        place += f", in the splits {' and '.join(one or 'none' for one in splits)}"
    return f"{'The same file' if exact else 'Almost the same picture'} {count} times, {place}"


def _labels(names: list[str]) -> str:
    more = [f"{len(names) - LABELS:,} more"] if len(names) > LABELS else []
    return " and ".join([*names[:LABELS], *more])


def _leaked(
    names: LabelTable, here: list[_Copy], there: list[_Copy], exact: bool
) -> tuple[str, str]:
    """Title and first sentence of a group that reaches into the training folder."""

    def called(copies: list[_Copy]) -> str:
        return _labels(list(dict.fromkeys(names.short(one.label) for one in copies)))

    def named(copies: list[_Copy]) -> str:
        more = f" and {len(copies) - 1:,} more" if len(copies) > 1 else ""
        return f"{copies[0].file}{more}"

    what = "The same file" if exact else "Almost the same picture"
    if {one.label for one in here} == {one.label for one in there}:
        labels = "Both carry" if len(here) == len(there) == 1 else "All carry"
        labels += f" the label {called(here)}."
        place = called(here)
    else:
        labels = f"The labels disagree: {called(here)} here, {called(there)} there."
        place = f"labelled {called(here)} here and {called(there)} there"
    verb = "is a copy" if len(here) == 1 else "are copies"
    return (
        f"{what} in the training folder, {place}",
        f"{named(here)} {verb} of {named(there)} in the training folder. {labels} ",
    )


def _tied(exact: bool, least: float) -> str:
    if exact:
        return "The files are equal, byte by byte."
    return (
        f"Every one correlates with another, pixel by pixel, at {least:.2f} or more after a shift "
        f"of at most 5 % of the side."
    )


def _look(across: bool, leak: bool) -> str:
    """What to do about copies in a part of a folder, which may hold more of them elsewhere."""
    why = "copies count double in training and in every rate"
    if leak:
        why = "accuracy measured on it is too high"
    elif across:
        why = "one of the labels is wrong, or the picture shows both"
    return f"Look at it: {why}. The audit of the whole folder says which to keep."


def _advice(across: bool, leak: bool, training: bool) -> str:
    if training:
        end = " One of the labels is wrong, or the picture shows both." if across else ""
        return (
            "Remove it here, or from training and train again: the model has seen it, so accuracy "
            f"measured on it is too high.{end}"
        )
    if leak:
        return "Remove the copy from one split: accuracy measured on it is too high."
    if across:
        return "Keep the one whose label is right and remove the others."
    return "Keep one: copies count double in training and in every rate."


def _wrong(exact: bool, across: bool, training: bool) -> str:
    if exact and training:
        return "Wrong where the model was trained on another folder than the one given as such."
    if exact and across:
        return "Not an error only where the picture truly shows both classes."
    if exact:
        return "Not an error only where the folder is meant to hold it twice."
    return (
        "Wrong where two pictures differ in one detail only, as frames of one film do; no p-value."
    )
