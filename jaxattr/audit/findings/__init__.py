"""Findings: one file per kind, one contract, `finder(analysis) -> list[Finding]`.

A module here whose name has no leading underscore holds the finder of that name: a new kind is a
new file. `find` takes other finders, too: any function of an `Analysis`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pkgutil import iter_modules

from jaxattr.audit.findings.finding import SEVERITIES as SEVERITIES
from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis

Finder = Callable[[Analysis], list[Finding]]

KINDS = tuple(
    sorted(
        one.name for one in iter_modules(__path__) if one.name[0] != "_" and one.name != "finding"
    )
)
FINDERS: dict[str, Finder] = {
    kind: getattr(import_module(f"{__name__}.{kind}"), kind) for kind in KINDS
}


def find(analysis: Analysis, finders: Iterable[Finder] = FINDERS.values()) -> list[Finding]:
    """All findings, worst first: by severity, then kind, then score within the kind.

    Equal ledgers give equal findings in equal order.

    Args:
        finders: all of `FINDERS`; give others, or more, to look for kinds of your own.
    """
    found = [finding for finder in finders for finding in finder(analysis)]
    return sorted(
        found,
        key=lambda one: (
            -SEVERITIES.index(one.severity),
            one.kind,
            -one.score,
            one.classes,
            one.images,
        ),
    )
