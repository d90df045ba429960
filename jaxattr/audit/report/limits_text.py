"""What an audit cannot see, in sentences: for the report, the terminal and `findings.json`."""

from __future__ import annotations

from collections.abc import Sequence

from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.extent import Extent
from jaxattr.audit.report.limits import STATED, Limits, SizePower
from jaxattr.data.labels import LabelTable
from jaxattr.data.listing import unlooked_sentence

_NAMED = 5


def partial_sentence(analysis: Analysis) -> str:
    """That only a part was audited; nothing when all of it was."""
    of = analysis.extent
    if not of.partial:
        return ""
    left = len(of.left_out)
    classes = ""
    if left:
        classes = f", in {len(of.classes):,} of its {_count(left + len(of.classes), 'class')}"
    said = f"PARTIAL: {of.images:,} of the folder's {of.of_images:,} images were audited{classes}. "
    if left:
        said += "Pairs with a class that was left out were not tested. "
    if of.limited:
        return f"{said}Every rate, rank and missing finding is that of a sample."
    return said.rstrip()


def sentences(of: Limits, analysis: Analysis) -> list[str]:
    """One sentence or two for each thing that could not be seen."""
    names, part = analysis.names, analysis.extent
    found = [partial_sentence(analysis)]
    most = max(of.sizes, key=lambda one: one.classes, default=None)
    if most is not None:
        found.append(power_sentence(most, sum(one.classes for one in of.sizes), part))
    if of.small and len(of.small) < sum(one.classes for one in of.sizes):
        images = "With too few audited images" if part.partial else "Too small"
        found.append(
            f"{images} to test as a source of wrong labels: {_some(of.small, names)}. Not even "
            f"half of such a class, moved elsewhere, would be certified."
        )
    if of.refused:
        found.append(f"Not tested, for the model does not know them: {_some(of.refused, names)}.")
    skipped = len(analysis.ledger.skipped())
    if skipped:
        take = "takes" if skipped == 1 else "take"
        found.append(f"{_count(skipped, 'image')} could not be read and {take} no part.")
    if part.left_out and not part.partial:
        found.append(
            f"Of these classes no image could be read: {_some(sorted(part.left_out), names)}."
        )
    found.append(unlooked_sentence(analysis.ledger.receipt.unlooked))
    found += [f"Not looked for: {kind}, because {reason}." for kind, reason in of.not_run]
    return [one for one in found if one]


def power_sentence(of: SizePower, total: int, part: Extent) -> str:
    """From which rate on contamination is found in classes of one size."""
    size = _range(of, "audited image" if part.partial else "image")
    which = "" if of.classes == total else f" ({of.classes:,} of {total:,} classes)"
    if of.unlike is None:
        few = (
            f"there are too few for {_count(total, 'class')}; audit more of each, with a larger "
            f"--limit or without one"
            if part.limited
            else f"there are too few for {_count(total, 'class')}"
        )
        return (
            f"In classes of {size}{which} no contaminated pair can be certified at any rate: {few}."
        )
    if of.alike == of.unlike:
        places = "whatever class they went to"
    else:
        alike = "never" if of.alike is None else f"from {_percent(of.alike)} on"
        places = f"where they went to a class unlike it; {alike}, where to the one most like it"
    few = max((rate for rate in STATED if rate * of.largest < of.least), default=None)
    end = f" Fewer than {of.least} moved images are never certified"
    if few is not None:
        moved = few * of.largest
        said = "less than one image"
        if moved >= 1:
            said = "1 image" if moved == 1 else f"{moved:.3g} images"
        end += f": {_percent(few)} of {of.largest:,} is {said}, and no test can certify that"
    return (
        f"In classes of {size}{which} wrong labels in one direction are found with 80 % power from "
        f"{_percent(of.unlike)} of the class on, {places}.{end}."
    )


def _range(of: SizePower, what: str) -> str:
    if of.smallest == of.largest:
        return _count(of.largest, what)
    return f"{of.smallest:,} to {_count(of.largest, what)}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _some(classes: Sequence[int], names: LabelTable) -> str:
    shown = ", ".join(names.short(one) for one in classes[:_NAMED])
    more = len(classes) - _NAMED
    return shown if more <= 0 else f"{shown} and {more:,} more"


def _count(number: int, what: str) -> str:
    many = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{number:,} {what if number == 1 else many}"
