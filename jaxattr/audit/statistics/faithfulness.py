"""Whether the maps of a class find what it hangs on: deletion against random and foreign maps."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

USEFUL = 0.05
"""Gains below this are useless: five points of the class's probability, averaged over covering."""
LARGE = 0.2
"""Gain that a test must have had 80 % power to see before its failure means anything."""
LEVEL = 0.05
NULLS = ("a random map", "the map of another image of the class")


class Gain(NamedTuple):
    """How much sooner the class goes than under a null, over the images of one class."""

    value: float
    """Mean of `area(null) - area(map)`."""
    error: float
    """Standard error of the mean."""
    images: int

    @property
    def p_better(self) -> float:
        """One-sided t-test against "no gain"."""
        return self._tail(0.0)

    @property
    def p_useless(self) -> float:
        """One-sided t-test against "a gain of `USEFUL` or more"."""
        return 1 - self._tail(USEFUL)

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, two-sided."""
        reach = float(stats.t.ppf(0.975, self.images - 1)) * self.error
        return self.value - reach, self.value + reach

    @property
    def detectable(self) -> float:
        """Gain that is significant with about 80 % power: `(t(0.95) + z(0.8)) error`."""
        reach = stats.t.ppf(1 - LEVEL, self.images - 1) + stats.norm.ppf(0.8)
        return float(reach) * self.error

    def _tail(self, against: float) -> float:
        excess = self.value - against
        if self.error == 0:
            return 1.0 if excess <= 0 else 0.0
        return float(stats.t.sf(excess / self.error, self.images - 1))


class Verdict(NamedTuple):
    """One map of one class against both nulls."""

    gains: tuple[Gain, Gain]
    """Over a random map, and over the donor's."""

    @property
    def least(self) -> int:
        """The null with the smaller gain."""
        return int(self.gains[1].value < self.gains[0].value)

    @property
    def p_better(self) -> float:
        """Against "no gain over one of the nulls": the larger of the two (intersection-union)."""
        return max(gain.p_better for gain in self.gains)

    @property
    def p_useless(self) -> float:
        """Against "a useful gain over both nulls": twice the smaller of the two (Bonferroni)."""
        return min(1.0, 2 * min(gain.p_useless for gain in self.gains))

    @property
    def failed(self) -> bool:
        """The map is not better than both nulls, and a large gain would have been seen."""
        powerful = all(gain.detectable <= LARGE for gain in self.gains)
        return self.p_better > LEVEL and powerful


def judge(
    own: Float[np.ndarray, " image"],
    chance: Float[np.ndarray, "image draw"],
    donor: Float[np.ndarray, " image"],
) -> Verdict:
    """Compare the areas under the deletion curves of one class's images, image by image.

    A gain is the mean of `area(null) - area(map)`; random draws are averaged within an image.
    """
    return Verdict((_gain(chance.mean(axis=1) - own), _gain(donor - own)))


def _gain(differences: Float[np.ndarray, " image"]) -> Gain:
    count = len(differences)
    error = float(differences.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf
    return Gain(float(differences.mean()), error, count)
