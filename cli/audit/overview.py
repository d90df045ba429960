"""What `jaxattr audit` says on the terminal when it is done: for people and for `grep`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxattr.cli.common.process import printable

if TYPE_CHECKING:
    from jaxattr.audit.findings.finding import Finding
    from jaxattr.audit.ledger import Ledger

SHOWN_FINDINGS = 10
SHOWN_LIMITS = 4


def overview(ledger: Ledger, findings: list[Finding]) -> str:
    """What was audited, the worst findings, and what could not be seen."""
    lines = [_audited(ledger), _count(len(findings), "finding") + (":" if findings else "")]
    lines += [f"  {one.severity:<6}  {one.title}" for one in findings[:SHOWN_FINDINGS]]
    if len(findings) > SHOWN_FINDINGS:
        lines.append(f"  ... and {len(findings) - SHOWN_FINDINGS} more in the report")
    # Titles name files and labels, which may hold anything.
    lines = [printable(line.replace("\n", "\\n")) for line in [*lines, *_cannot_see(ledger)]]
    return "\n".join(lines)


def _audited(ledger: Ledger) -> str:
    from jaxattr.audit.inference.extent import extent

    columns, part = ledger.read("label", "prediction"), extent(ledger)
    right = int((columns["label"] == columns["prediction"]).sum())
    images, of = len(columns["label"]), _count(len(part.classes), "class", "es")
    every = len(part.classes) + len(part.left_out)
    seen = f"{_count(images, 'image')}, {of}"
    if part.limited:
        seen = f"{_count(images, 'image')} (PARTIAL: {part.images} of {part.of_images}), {of}"
        seen += f" of {every}" if part.left_out else ""
    elif part.partial:
        seen += f" (PARTIAL: of {part.of_images} images and {every} classes)"
    agrees = f"{_count(right, 'label')} ({right / max(images, 1):.1%})"
    return f"{seen}; the model agrees with {agrees}"


def _count(number: int, what: str, end: str = "s") -> str:
    return f"{number} {what}{'' if number == 1 else end}"


def _cannot_see(ledger: Ledger) -> list[str]:
    from jaxattr.audit.report.limits import limits
    from jaxattr.audit.report.limits_text import sentences

    # That it is partial stands in the first line.
    said = [one for one in sentences(limits(ledger), ledger) if not one.startswith("PARTIAL")]
    lines = ["What this audit cannot see:"] if said else []
    lines += [f"  {one}" for one in said[:SHOWN_LIMITS]]
    if len(said) > SHOWN_LIMITS:
        lines.append(f"  ... and {len(said) - SHOWN_LIMITS} more in the report")
    return lines
