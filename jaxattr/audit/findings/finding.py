"""What every finding says."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Severity = Literal["low", "medium", "high"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high")


class Finding(NamedTuple):
    """One finding of an audit: what is wrong, where, how sure, on what evidence."""

    kind: str
    """Name of the finder, such as `contaminated_pair`."""
    severity: Severity
    title: str
    """One line for a list, class names included."""
    detail: str
    """A sentence or two: what was seen."""
    classes: tuple[int, ...]
    images: tuple[int, ...]
    """Ledger indices of the images that are the evidence, strongest first."""
    score: float
    """Rank within the kind, higher is worse."""
    effect: float | None = None
    effect_name: str = ""
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    null: str = ""
    """The null hypothesis that the p-value is against, in words."""
    q_value: float | None = None
    power: str = ""
    """What this sample size could and could not have found, in words."""
    action: str = ""
    """What to do about it: rename to, remove, look at."""
    caveat: str = ""
    """What would make the finding wrong."""
    extra: dict[str, Any] = {}  # noqa: RUF012  (never mutated)
