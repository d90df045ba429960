"""What an audit cannot see, in sentences: for the report, the terminal and `findings.json`."""

from __future__ import annotations

from collections.abc import Sequence

from jaxattr.audit.ledger import Ledger
from jaxattr.audit.limits import STATED, Limits, SizePower
from jaxattr.labels import LabelTable
from jaxattr.listing import unlooked_sentence

_NAMED = 5


def partial_sentence(ledger: Ledger) -> str:
    """That only a part was audited; nothing when all of it was."""
    receipt = ledger.receipt
    if receipt.count >= receipt.total:
        return ""
    return (
        f"PARTIAL: {receipt.count:,} of the folder's {receipt.total:,} images were audited. Every "
        f"rate, rank and missing finding is that of a sample."
    )


def sentences(of: Limits, ledger: Ledger) -> list[str]:
    """One sentence or two for each thing that could not be seen."""
    names = LabelTable(ledger.receipt.labels)
    found = [partial_sentence(ledger)]
    most = max(of.sizes, key=lambda one: one.classes, default=None)
    if most is not None:
        found.append(power_sentence(most, sum(one.classes for one in of.sizes)))
    if of.small and len(of.small) < sum(one.classes for one in of.sizes):
        found.append(
            f"Too small to test as a source of wrong labels: {_some(of.small, names)}. Not even "
            f"half of such a class, moved elsewhere, would be certified."
        )
    if of.refused:
        found.append(f"Not tested, for the model does not know them: {_some(of.refused, names)}.")
    skipped = len(ledger.skipped())
    if skipped:
        found.append(f"{_count(skipped, 'image')} could not be read and take no part.")
    found += [f"Not looked for: {kind}, because {reason}." for kind, reason in of.not_run]
    found.append(unlooked_sentence(ledger.receipt.unlooked))
    return [one for one in found if one]


def power_sentence(of: SizePower, total: int) -> str:
    """From which rate on contamination is found in classes of one size."""
    size = _range(of)
    which = "" if of.classes == total else f" ({of.classes:,} of {total:,} classes)"
    if of.unlike is None:
        return (
            f"In classes of {size}{which} no contaminated pair can be certified at any rate: the "
            f"folder is too small for its {total:,} classes."
        )
    if of.alike == of.unlike:
        places = "whatever class they went to"
    else:
        alike = "never" if of.alike is None else f"from {_percent(of.alike)} on"
        places = f"where they went to a class unlike it; {alike}, where to the one most like it"
    few = max((rate for rate in STATED if rate * of.largest < of.least), default=None)
    end = f" Fewer than {of.least} moved images are never certified"
    if few is not None:
        moved = round(few * of.largest)
        said = _count(moved, "image") if moved else "less than one image"
        end += f": {_percent(few)} of {of.largest:,} is {said}, and no test can certify that"
    return (
        f"In classes of {size}{which} wrong labels in one direction are found with 80 % power from "
        f"{_percent(of.unlike)} of the class on, {places}.{end}."
    )


def _range(of: SizePower) -> str:
    if of.smallest == of.largest:
        return _count(of.largest, "image")
    return f"{of.smallest:,} to {of.largest:,} images"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _some(classes: Sequence[int], names: LabelTable) -> str:
    shown = ", ".join(names.short(one) for one in classes[:_NAMED])
    more = len(classes) - _NAMED
    return shown if more <= 0 else f"{shown} and {more:,} more"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
