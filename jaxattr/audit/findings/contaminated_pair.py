"""Contaminated pair a ← b: the folder of class a holds images of class b."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxattr.audit import statistics as st
from jaxattr.audit.extent import Extent, extent
from jaxattr.audit.finding import Finding, Severity
from jaxattr.audit.ledger import Ledger
from jaxattr.audit.posterior import Posterior, once, posterior
from jaxattr.labels import LabelTable

NULL = "no image of the source class carries this label, and wrong labels are uniform (γ = 0)"

CAVEAT = (
    "Wrong where the two classes overlap by their definition, where an image shows both, or where "
    "the model and the features both mistake a kind of image of the label for the source."
)


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


def contaminated_pair(ledger: Ledger) -> list[Finding]:
    """Ordered class pairs whose contamination is certified, `q <= 0.05` and `γ̂ >= 1 %`.

    Severity is `high` when the whole profile interval of γ lies above the floor of 1 %, else
    `medium`. The score is Λ, in nats.
    """
    of, found = posterior(ledger), pair_tests(ledger)
    names, part = LabelTable(ledger.receipt.labels), extent(ledger)
    return [_finding(of, names, part, pair, found.tests) for pair in found.accepted]


@once
def pair_tests(ledger: Ledger) -> Tests:
    """`compare_pairs` of the ledger's posterior, remembered on the ledger."""
    return compare_pairs(posterior(ledger))


def compare_pairs(of: Posterior) -> Tests:
    """Test all K(K-1) ordered pairs of the classes present; see `statistics.stepwise`.

    Pairs of a class that fails the gate are not tested, but still counted among the tests.
    """
    classes = len(of.classes)
    p, rate, statistic = np.ones((classes, classes)), *np.zeros((2, classes, classes))
    chains: list[tuple[int, int, st.Folder, np.ndarray, st.Shares]] = []
    known = testable(of)
    for label in np.flatnonzero(known).tolist():
        members, shares = of.shares(label)
        folder = st.stepwise(
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
    q[rows, columns] = st.q_values(p[rows, columns], tests)
    accepted = [
        (label, step, folder, members, shares)
        for label, step, folder, members, shares in chains
        if q[label, folder.chain[step].column] <= st.LEVEL and folder.chain[step].rate >= st.FLOOR
    ]
    needed = st.threshold(tests, len(accepted))
    pairs = [_pair(of, one, p, q, needed) for one in accepted]
    return Tests(p, rate, statistic, tuple(pairs), tests)


def testable(of: Posterior) -> np.ndarray:
    """Classes that pass the gate: the model knows them, and it knows something at all."""
    known = st.known_classes(of.correct, of.counts)
    return known & st.knows_anything(of.model.log_loss, len(of.classes))


def _pair(
    of: Posterior,
    accepted: tuple[int, int, st.Folder, np.ndarray, st.Shares],
    p: np.ndarray,
    q: np.ndarray,
    needed: float,
) -> Pair:
    label, step, folder, members, shares = accepted
    source = folder.chain[step]
    here = shares.column == source.column
    toward = np.bincount(shares.row[here], shares.value[here], len(members))
    count = int(of.counts[source.column])
    membership = st.memberships(folder, shares, step)
    order = np.lexsort((of.image[members], -membership))
    order = order[membership[order] > 0.5]
    return Pair(
        label=label,
        source=source.column,
        rate=source.rate,
        interval=st.interval(source.rate, toward / source.denominator, count),
        statistic=source.statistic,
        p_value=float(p[label, source.column]),
        q_value=float(q[label, source.column]),
        power=_power(of, label, source, needed),
        members=tuple(members[order].tolist()),
        memberships=tuple(membership[order].tolist()),
    )


def _power(of: Posterior, label: int, source: st.Source, needed: float) -> str:
    """What this pair's sample could have shown, from the images of the source class."""
    members = np.flatnonzero(of.label == source.column)
    ratios = of.toward(members, label)  # here the label is the foreign class
    own = of.label_probability[members].astype(np.float64)
    ratios = own / st.base_denominator(ratios, of.final.noise, len(of.classes))
    parts = []
    for rate in (0.02, 0.05, 0.10):
        images = st.images_needed(rate, ratios, needed)
        size = f"{_round_up(images):,}" if np.isfinite(images) else "no number of"
        parts.append(f"{size} at {rate:.0%}")
    return (
        f"80 % power needs about this many images of the source class, of which there are "
        f"{int(of.counts[source.column]):,}: {', '.join(parts)}."
    )


def _round_up(value: float) -> int:
    """Two significant digits: the formula is no better than that."""
    step = 10 ** max(int(np.floor(np.log10(max(value, 1.0)))) - 1, 0)
    return int(np.ceil(value / step) * step)


def _finding(of: Posterior, names: LabelTable, part: Extent, pair: Pair, tests: int) -> Finding:
    label, source = int(of.classes[pair.label]), int(of.classes[pair.source])
    low, high = pair.interval
    severity: Severity = "high" if low >= st.FLOOR else "medium"
    first, second = names.short(label), names.short(source)
    flagged = len(pair.members)
    audited = "audited " if part.partial else ""
    detail = (
        f"About {pair.rate:.1%} of the {audited}images of {second} carry the label {first} "
        f"(95 % interval {low:.1%} to {high:.1%}). {flagged} of the "
        f"{int(of.counts[pair.label]):,} {audited}images labelled {first} are more likely "
        f"{second} than not."
    )
    caveat = CAVEAT
    if not of.discriminant:
        caveat += f" Tested with the model's posterior alone: some classes have too few {audited}"
        caveat += "images."
    if part.partial and part.left_out:
        caveat += " Classes that were left out could not be named as the source."
    return Finding(
        kind="contaminated_pair",
        severity=severity,
        title=f"Images of {second} in the folder of {first}: {flagged} found",
        detail=detail,
        classes=(label, source),
        images=tuple(int(of.image[position]) for position in pair.members),
        score=pair.statistic,
        effect=pair.rate,
        effect_name="share of the source class's images that carry this label",
        interval=pair.interval,
        p_value=pair.p_value,
        null=NULL,
        q_value=pair.q_value,
        power=pair.power,
        action=f"Look at these images, the first ones first; rename those that are {second} to it, "
        + (
            "and look for the class of the others in the whole folder, of which this is a part."
            if part.partial
            else "and those that are neither to what they are, or remove them."
        ),
        caveat=caveat,
        extra={
            "tests": tests,
            "memberships": list(pair.memberships),
            "posterior": "model x discriminant" if of.discriminant else "model",
            "noise": of.final.noise,
            "label_images": int(of.counts[pair.label]),
            "source_images": int(of.counts[pair.source]),
        },
    )
