"""Write the table of `metrics.md`, beside this file, from `METRICS`; a test compares."""

from __future__ import annotations

from pathlib import Path

from jaxattr.metrics import CHEAP, METRICS

BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
_ARROWS = {"higher": "↑", "lower": "↓"}


def table() -> str:
    """One row for each metric."""
    lines = [
        "| id | heading | definition | better | cost | source | what it cannot tell |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in METRICS.items():
        definition = one.definition.replace("|", "\\|")
        cost = f"**{one.cost}**" if name in CHEAP else one.cost
        lines.append(
            f"| `{one.id}` | {one.heading} | {definition}{' (needs masks)' * one.masks} | "
            f"{_ARROWS[one.better]} | {cost} | {one.source} | {one.blind} |"
        )
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """The page with the table of today."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    path = Path(__file__).with_suffix(".md")
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
