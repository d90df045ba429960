"""From the scores of images to the table of `bench methods`: means, intervals, ranks, nulls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from jaxattr import metrics
from jaxattr.bench.methods.maps import BLOB, RANDOM, Row
from jaxattr.metrics import Metric


class Score(NamedTuple):
    """One cell of the table, with its 95 % interval over images; NaN where undefined."""

    metric: str
    """Its versioned id."""
    heading: str
    better: str
    """`higher` or `lower`."""
    method: str
    model: str
    """`trained`, `random weights`, `none` for a map that asks no model, or `given` for maps made
    elsewhere."""
    value: float
    low: float
    high: float
    defined: int
    """Images for which the metric is defined."""
    rank: int
    """Among the methods on the trained model, 1 is best; 0 where there is none."""
    beats_nulls: bool
    """Whether the paired differences to the random map and the centred blob are both in the
    method's favour, with the whole of their intervals."""


def table(
    rows: Sequence[Row], scores: Mapping[Metric, Float[np.ndarray, "image row"]], *, seed: int = 0
) -> list[Score]:
    """The scores of all metrics, in the order of rows."""
    result = []
    for metric, values in scores.items():
        sign = 1 if metric.better == "higher" else -1
        intervals = [metrics.interval(values[:, k], seed=seed) for k in range(len(rows))]
        ranks = _ranks(rows, [sign * one.value for one in intervals])
        nulls = [k for k, row in enumerate(rows) if row.name in (RANDOM, BLOB)]
        for k, row in enumerate(rows):
            beaten = row.competes and all(
                metrics.bootstrap(sign * (values[:, k] - values[:, null]), seed=seed).low > 0
                for null in nulls
            )
            facts = metric.id, metric.heading, metric.better, row.shown, row.model
            result.append(Score(*facts, *intervals[k], ranks[k], beaten))
    return result


def _ranks(rows: Sequence[Row], values: Sequence[float]) -> list[int]:
    """Of those that compete, the highest first; equal ones share the better rank."""
    asked = [k for k, row in enumerate(rows) if row.competes and np.isfinite(values[k])]
    places = rankdata([-values[k] for k in asked], method="min") if asked else []
    result = [0] * len(rows)
    for k, place in zip(asked, places, strict=True):
        result[k] = int(place)
    return result


def mean_ranks(scores: Sequence[Score]) -> dict[str, float]:
    """Each method's rank averaged over the metrics that rank it; the first are the best."""
    found: dict[str, list[int]] = {}
    for one in scores:
        if one.rank:
            found.setdefault(one.method, []).append(one.rank)
    means = {name: float(np.mean(ranks)) for name, ranks in found.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))
