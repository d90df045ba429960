"""Who is compared in the audit's benchmark: our findings, parts left out of them, and baselines.

Every entry turns one labelled set into a `Ranking`: a score for every ordered pair and for every
image, and what it would report, where it has a rule for that.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxattr.audit.findings.mislabelled_image import suspicion
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.pairs import Tests, compare_pairs, testable
from jaxattr.audit.inference.posterior import Posterior, Recipe, fit_posterior
from jaxattr.audit.statistics import calibration
from jaxattr.bench.audit.labelled import Labelled

AUDIT = "audit"
CLEANLAB = ("cleanlab", "cleanlab, our posterior")
_PARTS = {
    "one view": Recipe(views=False),
    "no discriminant": Recipe(discriminant=False),
    "no reweighting": Recipe(reweighted=False),
    "no logits": Recipe(model=False),
    "no label noise": Recipe(noise=False),
    "no calibration": Recipe(temperature=False),
}


class Ranking(NamedTuple):
    """What one method says about a labelled set; classes are positions among those present."""

    pairs: Float[np.ndarray, "class class"]
    """Score of `a ← b` at `[a, b]`, higher is worse."""
    images: Float[np.ndarray, " image"]
    """Score of every image, higher is worse."""
    accepted: tuple[tuple[int, int], ...] | None = None
    """Pairs reported; `None` where the method has no test."""
    flagged: Int[np.ndarray, " image"] | None = None
    """Positions of images reported; `None` where the method has no threshold of its own."""
    refused: bool = False
    """Whether the whole set was refused: this model does not know these classes."""


def audit(given: Labelled) -> Ranking:
    """The findings as `jaxattr audit` makes them, images by the odds of a wrong label."""
    analysis = Analysis(given)
    seen = analysis.remember(suspicion)
    return _audited(given, analysis.posterior, analysis.pairs, seen.log_odds)


def without(recipe: Recipe) -> Callable[[Labelled], Ranking]:
    """The audit's pair test on a posterior that lacks a part; images by that posterior."""

    def rank(given: Labelled) -> Ranking:
        of = fit_posterior(given, recipe)
        return _audited(given, of, compare_pairs(of), 1 - of.label_probability.astype(np.float64))

    return rank


def confusion_counts(given: Labelled) -> Ranking:
    """How many images labelled a the model takes for b; images by the logit margin."""
    classes, label, logits = _present(given)
    margin = _margin(logits, label)
    return Ranking(_sum_by_pair(label, logits, (margin > 0).astype(float), len(classes)), margin)


def summed_margin(given: Labelled) -> Ranking:
    """Sum of `max(0, l_b - l_a)` over the images labelled a, for every b."""
    classes, label, logits = _present(given)
    own = logits[np.arange(len(label)), label]
    excess = np.maximum(logits - own[:, None], 0)
    scores = np.stack([excess[label == one].sum(axis=0) for one in range(len(classes))])
    return Ranking(scores, _margin(logits, label))


def self_confidence(given: Labelled) -> Ranking:
    """Images by `1 - p(label)`; a pair is the sum over the images labelled a and taken for b."""
    classes, label, logits = _present(given)
    p = calibration.probabilities(logits, 1.0)
    doubt = 1 - p[np.arange(len(label)), label]
    wrong = np.where(p.argmax(axis=1) != label, doubt, 0.0)
    return Ranking(_sum_by_pair(label, logits, wrong, len(classes)), doubt)


def cleanlab(given: Labelled) -> Ranking:
    """cleanlab's overlapping classes and label issues, on the model's own probabilities."""
    _, label, logits = _present(given)
    return _cleaned(label, calibration.probabilities(logits.astype(np.float64), 1.0))


def cleanlab_ours(given: Labelled) -> Ranking:
    """The same on the audit's calibrated posterior: what the test is worth, apart from it."""
    of = Analysis(given).posterior
    p = np.zeros((len(of.label), len(of.classes)))
    np.put_along_axis(p, of.rival.astype(np.int64), of.rival_probability, axis=1)
    p[np.arange(len(p)), of.label] = of.label_probability
    return _cleaned(of.label, p / p.sum(axis=1, keepdims=True))


METHODS: dict[str, Callable[[Labelled], Ranking]] = {
    AUDIT: audit,
    **{name: without(recipe) for name, recipe in _PARTS.items()},
    "confusion counts": confusion_counts,
    "summed margin": summed_margin,
    "self-confidence": self_confidence,
    CLEANLAB[0]: cleanlab,
    CLEANLAB[1]: cleanlab_ours,
}


def available() -> dict[str, Callable[[Labelled], Ranking]]:
    """`METHODS`, without cleanlab where it is not installed."""
    here = find_spec("cleanlab") is not None
    return {name: one for name, one in METHODS.items() if here or name not in CLEANLAB}


def _audited(given: Labelled, of: Posterior, tests: Tests, images: np.ndarray) -> Ranking:
    accepted = tuple((pair.label, pair.source) for pair in tests.accepted)
    flagged = {image for pair in tests.accepted for image in pair.members}
    refused = not testable(of).any()
    return Ranking(tests.statistic, images, accepted, np.array(sorted(flagged), np.int64), refused)


def _present(given: Labelled) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes present, labels as positions among them, and their logits."""
    classes, label = np.unique(given.label, return_inverse=True)
    return classes, label, given.columns["logits"][:, classes]


def _margin(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The best other logit less the label's own."""
    rows, others = np.arange(len(label)), logits.astype(np.float64)
    own = others[rows, label].copy()
    others[rows, label] = -np.inf
    return others.max(axis=1) - own


def _sum_by_pair(
    label: np.ndarray, logits: np.ndarray, value: np.ndarray, classes: int
) -> np.ndarray:
    scores = np.zeros((classes, classes))
    np.add.at(scores, (label, logits.argmax(axis=1)), value)
    np.fill_diagonal(scores, 0.0)
    return scores


def _cleaned(label: np.ndarray, p: np.ndarray) -> Ranking:
    import warnings

    from cleanlab.dataset import find_overlapping_classes
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = find_overlapping_classes(label, p, asymmetric=True)
        issues = find_label_issues(label, p, return_indices_ranked_by="self_confidence", n_jobs=1)
        quality = get_label_quality_scores(label, p)
    # Its first class is the given label, its second the one that the label should have been.
    scores = np.zeros((p.shape[1],) * 2)
    places = table["Class Index A"].to_numpy(), table["Class Index B"].to_numpy()
    scores[places] = table["Joint Probability"].to_numpy()
    return Ranking(scores, 1 - quality, flagged=np.asarray(issues, np.int64))
