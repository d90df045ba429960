"""Findings: one file per kind, one contract, `finder(ledger) -> list[Finding]`."""

from __future__ import annotations

from collections.abc import Callable

from jaxattr.audit.findings.contaminated_pair import contaminated_pair
from jaxattr.audit.findings.duplicate_image import duplicate_image
from jaxattr.audit.findings.finding import SEVERITIES, Finding
from jaxattr.audit.findings.fragile_class import fragile_class
from jaxattr.audit.findings.learned_contamination import learned_contamination
from jaxattr.audit.findings.mislabelled_image import mislabelled_image
from jaxattr.audit.findings.shortcut_background import shortcut_background
from jaxattr.audit.findings.shortcut_place import shortcut_place
from jaxattr.audit.findings.two_objects import two_objects
from jaxattr.audit.findings.unexplained_class import unexplained_class
from jaxattr.audit.findings.unknown_class import unknown_class
from jaxattr.audit.ledger import Ledger

Finder = Callable[[Ledger], list[Finding]]

FINDERS: dict[str, Finder] = {
    "contaminated_pair": contaminated_pair,
    "duplicate_image": duplicate_image,
    "learned_contamination": learned_contamination,
    "fragile_class": fragile_class,
    "mislabelled_image": mislabelled_image,
    "shortcut_background": shortcut_background,
    "shortcut_place": shortcut_place,
    "two_objects": two_objects,
    "unexplained_class": unexplained_class,
    "unknown_class": unknown_class,
}


def find(ledger: Ledger) -> list[Finding]:
    """All findings, worst first: by severity, then kind, then score within the kind.

    Equal ledgers give equal findings in equal order.
    """
    found = [finding for finder in FINDERS.values() for finding in finder(ledger)]
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
