"""From what the model said of masked images to curves, areas under them, and paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int32

from jaxattr import metrics
from jaxattr.bench.perturbation.passes import Masked
from jaxattr.bench.perturbation.protocols import Protocol
from jaxattr.metrics.perturbation import ORDERS, auc

MEASURES = ("accuracy", "agreement", "probability")
"""Share of images whose top class is the label; is the explained class; mean probability of the
explained class."""


class Score(NamedTuple):
    """An area under a curve, or a paired difference of two, with its 95 % bootstrap interval."""

    protocol: str
    method: str
    against: str
    """Empty, or the method whose area is subtracted image by image."""
    explained: str
    """Whose maps: `label` or `predicted`."""
    order: str
    """`positive`: masked from the highest score, lower is better; `negative`: from the lowest."""
    measure: str
    """One of `MEASURES`."""
    value: float
    """Area over the masked fraction by trapezoids, x = 0 included, not divided by the range."""
    low: float
    high: float
    images: int


class Curve(NamedTuple):
    """One point of a curve: the mean over images at one masked fraction, with its interval."""

    protocol: str
    method: str
    explained: str
    order: str
    measure: str
    fraction: float
    value: float
    low: float
    high: float
    images: int


class _Line(NamedTuple):
    method: str
    explained: str
    order: str
    measure: str
    values: Float[np.ndarray, "image step"]


def score(
    protocol: Protocol,
    methods: Sequence[str],
    masked: Masked,
    labels: Int32[np.ndarray, " image"],
    prediction: Int32[np.ndarray, " image"],
    *,
    seed: int = 0,
) -> tuple[list[Score], list[Curve]]:
    """All areas, all paired differences of two methods, and all curves.

    Accuracy counts what is the label, also where the prediction is explained (T-Attr's way);
    `agreement` counts what is the prediction then, and is left out for labels, where it is the
    accuracy. Intervals resample images, the same ones for every row.
    """
    found = list(_lines(protocol, methods, masked, labels, prediction))
    areas = {line[:4]: auc(line.values, protocol.fractions) for line in found}
    scores, curves = [], []
    for line in found:
        key = line.method, "", *line[1:4]
        scores.append(Score(protocol.name, *key, *metrics.bootstrap(areas[line[:4]], seed=seed)))
        for fraction, values in zip(protocol.fractions, line.values.T, strict=True):
            interval = metrics.bootstrap(values, seed=seed)
            curves.append(Curve(protocol.name, *line[:4], fraction, *interval))
    for rest in dict.fromkeys(line[1:4] for line in found):
        for one, other in combinations(methods, 2):
            difference = areas[(one, *rest)] - areas[(other, *rest)]
            interval = metrics.bootstrap(difference, seed=seed)
            scores.append(Score(protocol.name, one, other, *rest, *interval))
    return scores, curves


def _lines(
    protocol: Protocol,
    methods: Sequence[str],
    masked: Masked,
    labels: Int32[np.ndarray, " image"],
    prediction: Int32[np.ndarray, " image"],
) -> Iterator[_Line]:
    for k, explained in enumerate(protocol.explained):
        measures = MEASURES if explained == "predicted" else (MEASURES[0], MEASURES[2])
        for o, order in enumerate(ORDERS):
            for measure in measures:
                for m, method in enumerate(methods):
                    top = masked.top[:, m, k, o]
                    if measure == "probability":
                        values = masked.probability[:, m, k, o].astype(np.float64)
                    elif measure == "agreement":
                        values = (top == prediction[:, None]).astype(np.float64)
                    else:
                        known = labels[:, None] >= 0
                        values = np.where(known, top == labels[:, None], np.nan)
                    yield _Line(method, explained, order, measure, values)
