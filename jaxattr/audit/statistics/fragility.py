"""Whether the images of a class need smaller changes to lose their label than those of others."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from jaxattr.audit.statistics import rates

PERMUTATIONS = 9_999
RESAMPLES = 1_000
RATIO = 2 / 3
"""Ratios of medians above this are not reported, however certain."""
NULL = "the budgets of this class's images are drawn from those of all classes tested"


class Fragility(NamedTuple):
    """The budgets of each class against those of all others; arrays over the classes tested."""

    classes: Int[np.ndarray, "class"]
    images: Int[np.ndarray, "class"]
    ratio: Float[np.ndarray, "class"]
    """Median of the class over the median of all others."""
    low: Float[np.ndarray, "class"]
    high: Float[np.ndarray, "class"]
    """95 % bootstrap interval of the ratio: images of both sides drawn with replacement."""
    p_value: Float[np.ndarray, "class"]
    q_value: Float[np.ndarray, "class"]
    detectable: Float[np.ndarray, "class"]
    """The ratio that would be found with 80 % power, see `smallest_ratio`."""

    @property
    def fragile(self) -> list[int]:
        """Positions of the classes to report, the most fragile first."""
        found = np.flatnonzero((self.q_value <= rates.LEVEL) & (self.ratio <= RATIO))
        return sorted(found.tolist(), key=lambda one: (self.p_value[one], self.ratio[one]))


def compare_budgets(
    budget: Float[np.ndarray, " image"], label: Int[np.ndarray, " image"]
) -> Fragility:
    """Compare every class with all others, by permutation of the labels.

    The statistic is the mean log budget of the class; `p = (1 + #{permuted <= seen}) / 10,000`,
    one-sided, over 9,999 fixed permutations of the budgets among the images; q-values are
    Benjamini-Hochberg's over all classes tested.
    """
    classes, position = np.unique(label, return_inverse=True)
    logs = np.log(np.maximum(budget, 1e-9))
    members = [np.flatnonzero(position == one) for one in range(len(classes))]
    count = np.array([len(one) for one in members], np.int64)
    belongs = (position[:, None] == np.arange(len(classes))) / np.maximum(count, 1)
    p = _permuted(logs, belongs)
    rng = np.random.default_rng(0)
    bounds = np.array([_bounds(rng, logs, one) for one in members]).reshape(-1, 3)
    detectable = [smallest_ratio(logs, one, len(classes)) for one in members]
    return Fragility(
        classes.astype(np.int64),
        count,
        *bounds.T,
        p_value=p,
        q_value=rates.q_values(p, len(p)),
        detectable=np.array(detectable, np.float64),
    )


def smallest_ratio(
    logs: Float[np.ndarray, " image"], members: Int[np.ndarray, " member"], tests: int
) -> float:
    """Ratio of geometric means found with 80 % power as the only one among so many tests.

    `exp(-(z(1 - 0.05/m) + z(0.8)) s sqrt(1/n + 1/(N-n)))`, with s the pooled standard deviation
    of the log budgets: the normal approximation.
    """
    others = np.delete(logs, members)
    if len(members) < 2 or len(others) < 2:
        return 0.0
    squares = ((logs[members] - logs[members].mean()) ** 2).sum()
    squares += ((others - others.mean()) ** 2).sum()
    error = math.sqrt(squares / (len(logs) - 2) * (1 / len(members) + 1 / max(len(others), 1)))
    reach = stats.norm.isf(rates.LEVEL / max(tests, 1)) + stats.norm.ppf(0.8)
    return math.exp(-float(reach) * error)


def _permuted(logs: np.ndarray, belongs: np.ndarray) -> np.ndarray:
    """One-sided p-values: how often the mean of as many images at random is as small."""
    seen = logs @ belongs
    rng = np.random.default_rng(0)
    reached = np.zeros(len(seen), np.int64)
    for _ in range(0, PERMUTATIONS, 1111):
        many = rng.permuted(np.broadcast_to(logs, (1111, len(logs))), axis=1)
        reached += (many @ belongs <= seen + 1e-12).sum(axis=0)
    return (1 + reached) / (1 + PERMUTATIONS)


def _bounds(
    rng: np.random.Generator, logs: np.ndarray, members: np.ndarray
) -> tuple[float, float, float]:
    own, others = logs[members], np.delete(logs, members)
    if len(others) == 0:
        return 1.0, 0.0, math.inf
    many = [
        np.median(side[rng.integers(len(side), size=(RESAMPLES, len(side)))], axis=1)
        for side in (own, others)
    ]
    low, high = np.quantile(many[0] - many[1], [0.025, 0.975])
    return tuple(math.exp(one) for one in (np.median(own) - np.median(others), low, high))  # type: ignore[return-value]
