"""Write `findings.md` beside this file from the finders' own docstrings; a test compares."""

from __future__ import annotations

import inspect
from pathlib import Path

from jaxattr.audit.findings import FINDERS
from jaxattr.audit.findings.finding import SEVERITIES

HEAD = """# Findings

Written by `python docs/reference/findings.py` from the finders in `jaxattr/audit/findings/`; edit
these instead. What each finding means, and what to do about it: [guide](../guide/findings.md). How
often each is right: [notebook](../notebook/audit.md).

Severities, from mild to grave: {severities}.
"""


def page() -> str:
    """One section for each kind of finding, in the order in which finders run."""
    severities = ", ".join(f"`{one}`" for one in SEVERITIES)
    parts = [HEAD.format(severities=severities)]
    for kind, finder in FINDERS.items():
        parts.append(f"## `{kind}`\n\n{inspect.getdoc(finder)}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
