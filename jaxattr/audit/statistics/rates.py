"""Tests, intervals and error rates of the audit: pure functions of arrays.

Notation of a pair `a ← b`: folder a is suspected to hold images of b at the rate
`γ = P(label a | truth b)`. `p_c(x)` is a calibrated posterior, ε the rate of uniform label noise,
K the number of classes present and n_b the images labelled b.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize, stats

LEVEL = 0.05
"""Rate of false discoveries that is accepted, and level inside a folder."""
FLOOR = 0.01
"""Rates below this are not reported: a posterior that is slightly wrong looks like them."""
RECALL_FLOOR = 0.2
LOSS_CEILING = 0.9
_STEPS = 60  # halvings: the rate is exact to the last digit of a double
_CHAIN = 10
_MULTIPLES = (0.5, 1.0, 1.5, 2.5)
RATES = np.geomspace(0.003, 0.6, 14)
"""Rates that `expected_rates` holds possible, equally likely each."""


class Shares(NamedTuple):
    """Probabilities of rivals in one folder, sparse: three arrays of one length.

    `row` is the image in the folder, `column` the rival class, `value` its probability. What is
    left out counts as zero, which can only lower a likelihood ratio.
    """

    row: Int[np.ndarray, " entry"]
    column: Int[np.ndarray, " entry"]
    value: Float[np.ndarray, " entry"]


class Ratios(NamedTuple):
    """Maximised likelihood ratios of one folder against every source class."""

    rate: Float[np.ndarray, "class"]
    """γ̂, 0 where the data speak against any."""
    statistic: Float[np.ndarray, "class"]
    """Λ(γ̂) in nats."""


class Source(NamedTuple):
    """One class that was found inside a folder, and the denominators it was found with."""

    column: int
    rate: float
    statistic: float
    denominator: Float[np.ndarray, " image"]


class Folder(NamedTuple):
    """All tests inside one folder: a p-value for every source, and the chain of strongest ones."""

    p_value: Float[np.ndarray, "class"]
    rate: Float[np.ndarray, "class"]
    statistic: Float[np.ndarray, "class"]
    chain: tuple[Source, ...]


def base_denominator(
    label_probability: Float[np.ndarray, " image"], noise: float, classes: int
) -> Float[np.ndarray, " image"]:
    """Probability of the given label without any contamination, `(1-ε) p_a + ε/K`."""
    return (1 - noise) * np.asarray(label_probability, np.float64) + noise / classes


def log_ratio(rate: float, ratios: Float[np.ndarray, " image"], count: int) -> float:
    """`Λ(γ) = Σ log(1 + γ p_b / D) + n_b log(1-γ)`, where `ratios` are the images' `p_b / D`.

    The first term asks whether the images labelled a look like b more than a's own model allows;
    the second charges for the images of b that did keep their label.
    """
    return float(np.log1p(rate * ratios).sum() + count * np.log1p(-rate))


def maximize_ratio(
    shares: Shares,
    denominator: Float[np.ndarray, " image"],
    counts: Int[np.ndarray, "class"],
) -> Ratios:
    """`max_γ Λ(γ)` for every source class of one folder at once.

    Λ is concave, so γ̂ is the zero of `Σ r/(1+γr) - n_b/(1-γ)` in [0, 1), found by halving; it is 0
    where the slope at 0, `Σ r - n_b`, is not positive. Classes without images (n_b = 0) get 0:
    nothing could contradict a rate of 1.
    """
    classes = len(counts)
    ratio = shares.value / denominator[shares.row]
    slope = np.bincount(shares.column, ratio, classes) - counts
    rising = (slope > 0) & (counts > 0)
    keep = rising[shares.column]
    ratio, column = ratio[keep], shares.column[keep]
    low, high = np.zeros(classes), np.ones(classes)
    for _ in range(_STEPS if rising.any() else 0):
        middle = (low + high) / 2
        term = ratio / (1 + middle[column] * ratio)
        with np.errstate(divide="ignore", invalid="ignore"):  # where n_b = 0
            falling = np.bincount(column, term, classes) < counts / (1 - middle)
        low, high = np.where(falling, low, middle), np.where(falling, middle, high)
    rate = np.where(rising, low, 0.0)
    gain = np.bincount(column, np.log1p(rate[column] * ratio), classes)
    return Ratios(rate, np.maximum(gain + counts * np.log1p(-rate), 0.0))


def p_value(statistic: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """`½ P(χ²₁ > 2Λ)`, and 1 where Λ = 0: γ lies on the edge of its range under the null."""
    statistic = np.asarray(statistic, np.float64)
    return np.where(statistic > 0, stats.chi2.sf(2 * statistic, 1) / 2, 1.0)


def interval(
    rate: float, ratios: Float[np.ndarray, " image"], count: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Profile interval of γ: the rates with `Λ(γ̂) - Λ(γ) <= ½ χ²₁(confidence)`."""
    target = log_ratio(rate, ratios, count) - float(stats.chi2.ppf(confidence, 1)) / 2

    def excess(value: float) -> float:
        return log_ratio(value, ratios, count) - target

    top = 1 - 1e-12

    def crossing(first: float, last: float) -> float:
        return float(optimize.root_scalar(excess, bracket=(first, last), method="brentq").root)

    low = 0.0 if excess(0.0) >= 0 else crossing(0.0, rate)
    high = top if excess(top) >= 0 else crossing(rate, top)
    return low, high


def stepwise(
    shares: Shares,
    label_probability: Float[np.ndarray, " image"],
    counts: Int[np.ndarray, "class"],
    *,
    noise: float,
    testable: Bool[np.ndarray, "class"],
    level: float = LEVEL,
) -> Folder:
    """Test every source of one folder, the strongest first, each given the stronger ones.

    The best source b enters the denominators, `D ← D + γ̂_b p_b`, and the others are tested
    again; otherwise one source echoes into every class that looks like it. The chain goes on while
    the best p-value is at most `level`. p-values never fall along the chain, so a rejection of one
    implies that of the stronger ones before it.
    """
    keep = testable[shares.column]
    shares = Shares(shares.row[keep], shares.column[keep], shares.value[keep])
    denominator = base_denominator(label_probability, noise, len(counts))
    found = Folder(np.ones(len(counts)), np.zeros(len(counts)), np.zeros(len(counts)), ())
    open_, reached = np.ones(len(counts), bool), 0.0
    for _ in range(_CHAIN + 1):
        result = maximize_ratio(shares, denominator, counts)
        values = np.maximum(p_value(result.statistic), reached)
        found.p_value[open_] = values[open_]
        found.rate[open_] = result.rate[open_]
        found.statistic[open_] = result.statistic[open_]
        best = int(np.argmax(np.where(open_, result.statistic, -1.0)))
        if not open_[best] or values[best] > level or len(found.chain) == _CHAIN:
            break
        rate = float(result.rate[best])
        source = Source(best, rate, float(result.statistic[best]), denominator)
        found = found._replace(chain=(*found.chain, source))
        open_[best], reached = False, float(values[best])
        of = shares.column == best
        denominator = denominator + rate * np.bincount(
            shares.row[of], shares.value[of], len(denominator)
        )
    return found


def memberships(folder: Folder, shares: Shares, step: int) -> Float[np.ndarray, " image"]:
    """Posterior of every image of a folder to have come from the source of one step.

    `γ_b p_b / (D + γ_b p_b)` with the denominators of that step: `r / (1 + r)`.
    """
    source = folder.chain[step]
    of = shares.column == source.column
    part = source.rate * np.bincount(shares.row[of], shares.value[of], len(source.denominator))
    return part / (source.denominator + part)


def expected_rates(
    shares: Shares,
    denominator: Float[np.ndarray, " image"],
    counts: Int[np.ndarray, "class"],
) -> Float[np.ndarray, "class"]:
    """Posterior mean of the rate γ of every source class of one folder, for ranking images.

    Prior: one source a folder, so γ is 0 with probability `1 - 1/K`, else one of `RATES`. With
    `exp(Λ(γ))` as likelihood a source that is likely but not certified still counts, in part.
    """
    classes = len(counts)
    ratio = shares.value / denominator[shares.row]
    gain = np.stack([np.bincount(shares.column, np.log1p(r * ratio), classes) for r in RATES])
    log_ratios = gain + np.log1p(-RATES)[:, None] * counts
    weights = np.exp(log_ratios - np.maximum(log_ratios.max(axis=0), 0))
    nothing = np.exp(-np.maximum(log_ratios.max(axis=0), 0)) * (classes - 1) * len(RATES)
    return np.where(counts > 0, RATES @ weights / (weights.sum(axis=0) + nothing), 0.0)


def foreign_share(ratios: Float[np.ndarray, " image"]) -> float:
    """Share φ of images of other classes by maximum likelihood, `max_φ Σ log(1 - φ + φ r)`.

    `ratios` are odds of other classes against those present, all equally likely beforehand. The
    likelihood is concave: φ is where `Σ (r-1) / (1 + φ(r-1))` falls to 0, found by halving.
    """
    low, high, excess = 0.0, 1.0, ratios - 1
    if excess.sum() <= 0:
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2
        rising = (excess / (1 + middle * excess)).sum() > 0
        low, high = (middle, high) if rising else (low, middle)
    return low


def q_values(p_values: Float[np.ndarray, " test"], tests: int) -> Float[np.ndarray, " test"]:
    """Benjamini-Hochberg q-values when `tests` were made; those not listed had p = 1."""
    if len(p_values) == 0:
        return np.zeros(0)
    padded = np.concatenate([p_values, np.ones(max(0, tests - len(p_values)))])
    return stats.false_discovery_control(padded)[: len(p_values)]


def threshold(tests: int, findings: int, level: float = LEVEL) -> float:
    """Λ that a finding must reach among `tests` with so many found: `½ χ²₁` at `2·level·R/m`."""
    tail = min(2 * level * max(findings, 1) / max(tests, 1), 1.0)
    return float(stats.chi2.isf(tail, 1)) / 2


def images_needed(
    rate: float, ratios: Float[np.ndarray, " image"], threshold: float, power: float = 0.8
) -> float:
    """Images of b, moved or not, of which a rate γ is found with that power; infinity if none.

    `ratios` are `p_b / D_a` on images of b. m moved images of n are expected to reach
    `max_γ̂ m mean log(1 + γ̂ p_b / D_a) + (n-m) log(1-γ̂)` nats; γ̂ is sought among multiples of m/n.
    Needed is the smallest n in which so many are moved with `P(Binomial(n, γ) >= m) >= power` that
    they reach the threshold: over m, the first n that does.
    """
    if len(ratios) == 0 or rate <= 0:
        return np.inf
    moved, images = _images_for(rate, power)
    gain = np.full(len(moved), -np.inf)
    for times in _MULTIPLES:
        share = np.minimum(times * moved / images, 1 - 1e-9)
        inside = moved * np.log1p(share[:, None] * ratios).mean(axis=1)
        gain = np.maximum(gain, inside + (images - moved) * np.log1p(-share))
    reached = gain >= threshold
    return float(images[reached.argmax()]) if reached.any() else np.inf


@lru_cache
def _images_for(rate: float, power: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of moved images, and of how many images as many are moved with that power."""
    moved = np.unique(np.geomspace(1, 10_000, 60).round())
    return moved, moved + stats.nbinom.ppf(power, moved, rate)


def known_classes(
    correct: Int[np.ndarray, "class"], counts: Int[np.ndarray, "class"]
) -> Bool[np.ndarray, "class"]:
    """The gate: classes that the model knows, as far as the folder's own recall can tell.

    A class is refused when the upper 95 % bound (Clopper-Pearson, one-sided) of its recall lies
    below `max(0.2, 1.5/K)`. With few images the bound is wide, and the class stays.
    """
    classes = max(int((counts > 0).sum()), 1)
    with np.errstate(invalid="ignore"):
        bound = stats.beta.ppf(0.95, correct + 1.0, np.maximum(counts - correct, 0).astype(float))
    bound = np.where(correct >= counts, 1.0, bound)
    return (counts > 0) & (bound >= max(RECALL_FLOOR, 1.5 / classes))


def knows_anything(log_loss: float, classes: int) -> bool:
    """The gate of the whole audit: calibrated log-loss below `0.9 log K`, the loss of guessing."""
    return classes > 1 and log_loss < LOSS_CEILING * math.log(classes)


def can_tell(correct: int, count: int, classes: int) -> bool:
    """Whether so many images show that a model knows nothing, should its log-loss say so.

    They do when the upper 95 % bound (Clopper-Pearson, one-sided) of its recall over all classes
    lies below `max(1/2, 1.5/K)`: four images of two classes, of which it gets two right, do not.
    """
    if correct >= count:
        return False
    return float(stats.beta.ppf(0.95, correct + 1, count - correct)) < max(0.5, 1.5 / classes)
