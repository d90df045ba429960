"""Which ordered pairs of classes are contaminated: every pair tested, the accepted ones kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxattr.audit.inference.posterior import Posterior
from jaxattr.audit.statistics import rates


class Pair(NamedTuple):
    """An accepted pair, its classes as positions in the posterior's `classes`."""

    label: int
    source: int
    rate: float
    interval: tuple[float, float]
    statistic: float
    p_value: float
    q_value: float
    power: str
    members: tuple[int, ...]
    """Positions of the images more likely from the source than not, surest first."""
    memberships: tuple[float, ...]


class Tests(NamedTuple):
    """Every ordered pair: p-values `[label, source]`, γ̂, Λ, and the pairs accepted."""

    p_value: np.ndarray
    rate: np.ndarray
    statistic: np.ndarray
    accepted: tuple[Pair, ...]
    tests: int


def compare_pairs(of: Posterior) -> Tests:
    """Test all K(K-1) ordered pairs of the classes present; see `rates.stepwise`.

    Pairs of a class that fails the gate are not tested, but still counted among the tests.
    """
    classes = len(of.classes)
    p, rate, statistic = np.ones((classes, classes)), *np.zeros((2, classes, classes))
    chains: list[tuple[int, int, rates.Folder, np.ndarray, rates.Shares]] = []
    known = testable(of)
    for label in np.flatnonzero(known).tolist():
        members, shares = of.shares(label)
        folder = rates.stepwise(
            shares,
            of.label_probability[members],
            of.counts,
            noise=of.final.noise,
            testable=known & (np.arange(classes) != label),
        )
        p[label], rate[label], statistic[label] = folder[:3]
        chains += [(label, i, folder, members, shares) for i in range(len(folder.chain))]
    tests = classes * (classes - 1)
    rows, columns = np.nonzero(p < 1)
    q = np.ones_like(p)
    q[rows, columns] = rates.q_values(p[rows, columns], tests)
    accepted = [
        (label, step, folder, members, shares)
        for label, step, folder, members, shares in chains
        if q[label, folder.chain[step].column] <= rates.LEVEL
        and folder.chain[step].rate >= rates.FLOOR
    ]
    needed = rates.threshold(tests, len(accepted))
    pairs = [_pair(of, one, p, q, needed) for one in accepted]
    return Tests(p, rate, statistic, tuple(pairs), tests)


def testable(of: Posterior) -> np.ndarray:
    """Classes that pass the gate: the model knows them, and it knows something at all."""
    known = rates.known_classes(of.correct, of.counts)
    return known & rates.knows_anything(of.model.log_loss, len(of.classes))


def _pair(
    of: Posterior,
    accepted: tuple[int, int, rates.Folder, np.ndarray, rates.Shares],
    p: np.ndarray,
    q: np.ndarray,
    needed: float,
) -> Pair:
    label, step, folder, members, shares = accepted
    source = folder.chain[step]
    here = shares.column == source.column
    toward = np.bincount(shares.row[here], shares.value[here], len(members))
    count = int(of.counts[source.column])
    membership = rates.memberships(folder, shares, step)
    order = np.lexsort((of.image[members], -membership))
    order = order[membership[order] > 0.5]
    return Pair(
        label=label,
        source=source.column,
        rate=source.rate,
        interval=rates.interval(source.rate, toward / source.denominator, count),
        statistic=source.statistic,
        p_value=float(p[label, source.column]),
        q_value=float(q[label, source.column]),
        power=_power(of, label, source, needed),
        members=tuple(members[order].tolist()),
        memberships=tuple(membership[order].tolist()),
    )


def _power(of: Posterior, label: int, source: rates.Source, needed: float) -> str:
    """What this pair's sample could have shown, from the images of the source class."""
    members = np.flatnonzero(of.label == source.column)
    ratios = of.toward(members, label)  # here the label is the foreign class
    own = of.label_probability[members].astype(np.float64)
    ratios = own / rates.base_denominator(ratios, of.final.noise, len(of.classes))
    parts = []
    for rate in (0.02, 0.05, 0.10):
        images = rates.images_needed(rate, ratios, needed)
        size = f"{_round_up(images):,}" if np.isfinite(images) else "no number is enough"
        parts.append(f"{size} at {rate:.0%}")
    return (
        f"80 % power needs about this many images of the source class, of which there are "
        f"{int(of.counts[source.column]):,}: {', '.join(parts)}."
    )


def _round_up(value: float) -> int:
    """Two significant digits: the formula is no better than that."""
    step = 10 ** max(int(np.floor(np.log10(max(value, 1.0)))) - 1, 0)
    return int(np.ceil(value / step) * step)
