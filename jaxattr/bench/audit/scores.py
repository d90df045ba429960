"""How good a ranking of pairs and images is, on a set whose moved labels are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxattr.bench.audit.moving import PAIRS, Planted
from jaxattr.bench.audit.rankings import Ranking

MEASURES = (
    "pair_ap",
    "precision_at_k",
    "power",
    "false_discoveries",
    "alarms",
    "refused",
    "flag_precision",
    "flags",
    "image_ap",
)
"""In the order of a table.

- `pair_ap`: average precision over all ordered pairs; `precision_at_k`: of the first k, where k is
  the number of pairs planted;
- `power`: share of the planted pairs that is reported; `false_discoveries`: share of the reported
  pairs that was not planted, 0 where nothing is reported (its mean is the FDR); `alarms`: reported
  pairs that were not planted, a set; under uniform noise, where no pair sticks out, all are;
- `refused`: share of sets that are refused as a whole;
- `flag_precision`: share of wrong labels among all images reported in all sets; a method
  without a threshold of its own reports as many as the audit; `flags`: images reported a set;
- `image_ap`: average precision over all images.
"""


class Outcome(NamedTuple):
    """One set, one method: numbers that are added up over seeds; NaN where undefined."""

    pair_ap: float
    precision_at_k: float
    power: float
    false_discoveries: float
    alarms: float
    refused: float
    flags: float
    right_flags: float
    image_ap: float


def average_precision(
    scores: Float[np.ndarray, " item"], relevant: Bool[np.ndarray, " item"]
) -> float:
    """`Σ (R_n - R_{n-1}) P_n` over the distinct scores, highest first; NaN if none is relevant.

    Equal scores are one step: their order can neither help nor harm.
    """
    if not relevant.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    sorted_, hits = scores[order], np.cumsum(relevant[order])
    last = np.flatnonzero(np.append(sorted_[1:] != sorted_[:-1], True))
    precision, found = hits[last] / (last + 1), hits[last]
    return float(np.sum(precision * np.diff(found, prepend=0)) / found[-1])


def precision_at(
    scores: Float[np.ndarray, " item"], relevant: Bool[np.ndarray, " item"], count: int
) -> float:
    """Share of the first `count` that is relevant, on average over orders of equal scores."""
    if not 0 < count <= len(scores):
        return float("nan")
    edge = np.partition(scores, len(scores) - count)[len(scores) - count]
    above, level = scores > edge, scores == edge
    room = count - int(above.sum())
    return float((relevant[above].sum() + room * relevant[level].mean()) / count)


def score(planted: Planted, kind: str, ranking: Ranking, flags: int) -> Outcome:
    """Score one ranking of one set; `flags` is how many images the audit reported there."""
    classes = planted.given.classes
    truth = np.zeros((len(classes),) * 2, bool)
    for pair in planted.pairs:
        truth[tuple(np.searchsorted(classes, pair))] = True
    single_out = kind != "uniform"  # else every pair holds some, and none stands out
    wrong = planted.given.label != planted.truth
    ordered = ~np.eye(len(classes), dtype=bool)
    pairs, relevant = ranking.pairs[ordered], truth[ordered]
    ranked = kind in PAIRS
    nan = float("nan")
    power = false = alarms = nan
    if ranking.accepted is not None:
        hits = sum(single_out and bool(truth[pair]) for pair in ranking.accepted)
        alarms = float(len(ranking.accepted) - hits)
        power = hits / len(planted.pairs) if ranked else nan
        false = alarms / max(len(ranking.accepted), 1)
    if ranking.flagged is not None:
        count, right = float(len(ranking.flagged)), float(wrong[ranking.flagged].sum())
    else:
        count = float(flags)
        right = precision_at(ranking.images, wrong, flags) * flags if flags else 0.0
    return Outcome(
        pair_ap=average_precision(pairs, relevant) if ranked else nan,
        precision_at_k=precision_at(pairs, relevant, len(planted.pairs)) if ranked else nan,
        power=power,
        false_discoveries=false,
        alarms=alarms,
        refused=float(ranking.refused) if ranking.accepted is not None else nan,
        flags=count,
        right_flags=right,
        image_ap=average_precision(ranking.images, wrong),
    )
