"""The warning of `explain` and `compare` where relevance is not conserved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxattr.cli.common import targets

if TYPE_CHECKING:
    import numpy as np

FACTOR = 10
"""Maps that sum to more than this many times what was started from are warned of."""


def warning(
    method: str,
    loss: str,
    asked: Sequence[targets.Asked],
    logits: Sequence[np.ndarray],
    maps: Sequence[np.ndarray] | np.ndarray,
) -> str | None:
    """One line about the worst map of a method that hands relevance on, or nothing."""
    from jaxattr.gradients.relevance import START, gain

    if method not in START or not len(maps):
        return None
    build, worst = targets.loss(loss), 0.0
    for (target, against), one, values in zip(asked, logits, maps, strict=True):
        scalar = build(target, 0 if against is None else against)
        worst = max(worst, gain(method, values, one, scalar))
    if worst <= FACTOR:
        return None
    return (
        f"{method} does not conserve relevance: a map sums to {worst:.3g} times what it starts "
        f"from; read where it points, not how strongly."
    )
