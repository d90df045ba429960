"""Paired comparisons on few images: an exact sign-flip test over groups, and intervals."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

_EXACT = 14
_FLIPS = 9_999


class Paired(NamedTuple):
    """A mean difference, and how sure it is."""

    mean: float
    interval: tuple[float, float]
    """95 %, Student's t over groups; the mean alone when there is one group."""
    p_value: float
    """One-sided: the mean is not above 0."""
    detectable: float
    """Mean difference that is found with 80 % power at a one-sided level of 1 %."""


def compare(differences: Float[np.ndarray, " trial"], group: Int[np.ndarray, " trial"]) -> Paired:
    """Test whether the mean of paired differences lies above 0.

    Trials of one group (that share a donor) are averaged first, for they are not independent.
    """
    names = np.unique(group)
    means = np.array([differences[group == one].mean() for one in names], np.float64)
    mean, count = float(means.mean()), len(means)
    if count < 2:
        return Paired(mean, (mean, mean), 1.0, math.inf)
    error = float(means.std(ddof=1)) / math.sqrt(count)
    reach = float(stats.t.ppf(0.975, count - 1)) * error
    normal = float(stats.norm.ppf(0.99) + stats.norm.ppf(0.8))
    return Paired(mean, (mean - reach, mean + reach), sign_flip(means), normal * error)


def sign_flip(values: Float[np.ndarray, " group"]) -> float:
    """One-sided sign-flip test of a mean of 0: the share of sign patterns with a mean as large.

    All `2^n` patterns up to n = 14, so that 8 groups reach 1/256 and 12 reach 1/4096; 9,999 fixed
    ones beyond, and `(1 + #) / 10000`.
    """
    count = len(values)
    if count > _EXACT:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (_FLIPS, count))
        reached = signs @ values >= values.sum() - 1e-12
        return float((1 + reached.sum()) / (1 + _FLIPS))
    patterns = np.arange(2**count)[:, None] >> np.arange(count) & 1
    reached = (1 - 2.0 * patterns) @ values >= values.sum() - 1e-12
    return float(reached.mean())


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """95 % Clopper-Pearson interval of a share."""
    found = stats.binomtest(hits, count).proportion_ci(0.95, "exact")
    return float(found.low), float(found.high)
