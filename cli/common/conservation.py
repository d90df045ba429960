"""The warning of `explain` and `compare` where relevance is not conserved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxattr.cli.common import targets

if TYPE_CHECKING:
    import numpy as np

    from jaxattr.methods import Method

FACTOR = 10
"""Maps that sum to more than this many times what was started from are warned of."""


def warning(
    method: Method,
    loss: str,
    asked: Sequence[targets.Asked],
    logits: Sequence[np.ndarray],
    maps: Sequence[np.ndarray] | np.ndarray,
) -> str | None:
    """One line about the worst map of a method that hands relevance on, or nothing."""
    from jaxattr import losses
    from jaxattr.gradients.relevance import gain

    if method.start is None or not len(maps):
        return None
    build, worst = losses.named(loss), 0.0
    for (target, against), one, values in zip(asked, logits, maps, strict=True):
        scalar = build(target, 0 if against is None else against)
        worst = max(worst, gain(method.start, values, one, scalar))
    if worst <= FACTOR:
        return None
    return (
        f"{method.name} does not conserve relevance: a map sums to {worst:.3g} times what it "
        f"starts from; read where it points, not how strongly."
    )
