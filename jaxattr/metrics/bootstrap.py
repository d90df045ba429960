from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats


class Interval(NamedTuple):
    """A mean, and where it would lie in `confidence` of as many other samples."""

    value: float
    low: float
    high: float
    defined: int
    """How many scores were not NaN."""


def bootstrap(
    scores: Float[np.ndarray, " image"],
    *,
    confidence: float | int = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """The mean of the scores that are not NaN, with the bootstrap's percentile interval.

    Images are drawn with replacement, undefined scores among them. All NaN where none is defined.
    The same seed gives the same draws for every array of the same length, so that intervals of
    methods on the same images are paired. Source: Efron 1979.
    """
    defined = np.isfinite(scores)
    if not defined.any():
        return Interval(np.nan, np.nan, np.nan, 0)
    times = _draws(len(scores), resamples, seed)
    sums, counts = times @ np.where(defined, scores, 0.0), times @ defined.astype(np.int64)
    means = sums[counts > 0] / counts[counts > 0]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(scores[defined].mean()), float(low), float(high), int(defined.sum()))


def interval(
    scores: Float[np.ndarray, " image"], *, confidence: float | int = 0.95, seed: int = 0
) -> Interval:
    """The mean of the scores that are not NaN, with an interval that fits them.

    A share, where every score is 0 or 1, gets Wilson's score interval, which does not shrink to a
    point where all agree: 2 of 2 is 100 % [34, 100]. All else gets the bootstrap's. Sources:
    Wilson 1927; Efron 1979.
    """
    defined = scores[np.isfinite(scores)]
    if not len(defined) or not np.isin(defined, (0, 1)).all():
        return bootstrap(scores, confidence=confidence, seed=seed)
    share = stats.binomtest(int(defined.sum()), len(defined))
    low, high = share.proportion_ci(confidence, method="wilson")
    return Interval(float(defined.mean()), float(low), float(high), len(defined))


@lru_cache(maxsize=1)
def _draws(count: int, resamples: int, seed: int) -> np.ndarray:
    """How often each image is drawn, `[resample, image]`; kept, for tables of many intervals."""
    rng = np.random.default_rng(seed)
    times = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    times.setflags(write=False)
    return times
