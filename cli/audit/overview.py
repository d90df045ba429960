"""What `jaxattr audit` says on the terminal when it is done: for people and for `grep`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxattr.cli.common.process import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxattr.audit.findings.finding import Finding
    from jaxattr.audit.inference.analysis import Analysis

SHOWN_FINDINGS = 10
SHOWN_LIMITS = 4


def overview(analysis: Analysis, findings: Sequence[Finding]) -> str:
    """What was audited, the worst findings, and what could not be seen."""
    from jaxattr.audit.run import audited, counted

    lines = [audited(analysis), counted(len(findings), "finding") + (":" if findings else "")]
    lines += [f"  {one.severity:<6}  {one.title}" for one in findings[:SHOWN_FINDINGS]]
    if len(findings) > SHOWN_FINDINGS:
        lines.append(f"  ... and {len(findings) - SHOWN_FINDINGS} more in the report")
    # Titles name files and labels, which may hold anything.
    lines = [printable(line.replace("\n", "\\n")) for line in [*lines, *_cannot_see(analysis)]]
    return "\n".join(lines)


def _cannot_see(analysis: Analysis) -> list[str]:
    from jaxattr.audit.report.limits import limits
    from jaxattr.audit.report.limits_text import sentences

    # That it is partial stands in the first line.
    said = [
        one
        for one in sentences(analysis.remember(limits), analysis)
        if not one.startswith("PARTIAL")
    ]
    lines = ["What this audit cannot see:"] if said else []
    lines += [f"  {one}" for one in said[:SHOWN_LIMITS]]
    if len(said) > SHOWN_LIMITS:
        lines.append(f"  ... and {len(said) - SHOWN_LIMITS} more in the report")
    return lines
