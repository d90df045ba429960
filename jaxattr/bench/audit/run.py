"""Plant wrong labels in a labelled set, run the audit, and score it: `jaxattr bench audit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxattr import metrics
from jaxattr.audit.ledger import LedgerView
from jaxattr.bench.audit import moving, rankings
from jaxattr.bench.audit import scores as audit_scores
from jaxattr.bench.audit.labelled import Labelled, hold
from jaxattr.bench.audit.moving import Condition
from jaxattr.bench.audit.scores import Outcome
from jaxattr.errors import DatasetError

RATES = (0.02, 0.05, 0.10)
NOISE_RATES = (0.05, 0.10, 0.20)


class Score(NamedTuple):
    """One number of the benchmark: its mean over seeds, and the 95 % bootstrap interval."""

    kind: str
    size: int
    rate: float
    method: str
    measure: str
    value: float
    low: float
    high: float
    sets: int


def conditions(
    everything: Labelled,
    *,
    kinds: Sequence[str] = moving.KINDS,
    sizes: Sequence[int] = (),
    rates: Sequence[float] = RATES,
    noise_rates: Sequence[float] = NOISE_RATES,
) -> list[Condition]:
    """The rows of the benchmark; without sizes the smallest class's.

    Rates that move less than one image of a class are left out of the rows of pairs.
    """
    least = int(np.unique(everything.label, return_counts=True)[1].min())
    rows = []
    for size in sizes or (least,):
        for kind in kinds:
            if kind in moving.PAIRS:
                rows += [Condition(kind, size, rate) for rate in rates if rate * size >= 1]
            elif kind in moving.NOISE:
                rows += [Condition(kind, size, rate) for rate in noise_rates]
            else:
                rows.append(Condition(kind, size))
    return rows


def run(
    ledger: LedgerView,
    *,
    rows: Sequence[Condition] = (),
    seeds: Sequence[int] = tuple(range(10)),
    methods: Sequence[str] = (),
    pairs: int | None = None,
    classes: Sequence[int] = (),
    progress: Callable[[Condition, int], None] = lambda condition, seed: None,
) -> list[Score]:
    """Plant, audit and score every condition at every seed.

    Sets of the same condition and seed are the same for all methods, so their intervals are
    paired. Without `pairs` 8 are planted, or one per three classes where there are fewer.

    Args:
        rows: what is planted (default: `conditions` of the ledger).
        methods: names of `rankings.METHODS` (default: all that can run here).
        classes: model outputs to take part (default: all present).
        progress: called before each set.

    Raises:
        DatasetError: classes too small for a condition, or a method that cannot run.
    """
    everything = hold(ledger)
    if classes:
        everything = everything.pick(np.flatnonzero(np.isin(everything.label, classes)))
    chosen = _methods(methods)
    count = pairs or max(1, min(8, len(everything.classes) // 3))
    similarity = moving.confusion(everything)
    scores = []
    for row in rows or conditions(everything):
        outcomes: dict[str, list[Outcome]] = {name: [] for name in chosen}
        for seed in seeds:
            progress(row, seed)
            planted = moving.plant(everything, row, seed, pairs=count, similarity=similarity)
            flags = 0
            for name, rank in chosen.items():
                ranking = rank(planted.given)
                if name == rankings.AUDIT and ranking.flagged is not None:
                    flags = len(ranking.flagged)
                outcomes[name].append(audit_scores.score(planted, row.kind, ranking, flags))
        scores += _summary(row, outcomes)
    return scores


def _methods(names: Sequence[str]) -> dict[str, Callable[[Labelled], rankings.Ranking]]:
    here = rankings.available()
    for name in names:
        if name not in rankings.METHODS:
            raise DatasetError(
                f"{name}: no such method; choose from {', '.join(rankings.METHODS)}."
            )
        if name not in here:
            raise DatasetError(f"{name}: cleanlab is not installed; install the extra `bench`.")
    # The audit is always there and first: others report as many images as it does.
    return {
        name: one for name, one in here.items() if not names or name in (*names, rankings.AUDIT)
    }


def _summary(row: Condition, outcomes: dict[str, list[Outcome]]) -> Iterator[Score]:
    for name, found in outcomes.items():
        columns = {
            field: np.array([getattr(one, field) for one in found]) for field in Outcome._fields
        }
        for measure in audit_scores.MEASURES:
            if measure == "flag_precision":
                interval = _ratio(columns["right_flags"], columns["flags"])
            else:
                interval = metrics.bootstrap(columns[measure])
            if interval.defined:
                yield Score(*row, name, measure, *interval[:3], interval.defined)


def _ratio(part: np.ndarray, whole: np.ndarray) -> metrics.Interval:
    """The ratio of two sums over sets, with its bootstrap interval over sets."""
    if not whole.sum():
        return metrics.Interval(np.nan, np.nan, np.nan, 0)
    rng = np.random.default_rng(0)
    times = rng.multinomial(len(whole), np.full(len(whole), 1 / len(whole)), size=1000)
    parts, wholes = times @ part, times @ whole
    low, high = np.quantile(parts[wholes > 0] / wholes[wholes > 0], [0.025, 0.975])
    value = float(part.sum() / whole.sum())
    return metrics.Interval(value, float(low), float(high), len(whole))
