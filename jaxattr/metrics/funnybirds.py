"""The six protocols of FunnyBirds for one explained scene whose parts can be redrawn or left out.

Hesse et al. 2023 (FunnyBirds, ICCV) draw birds of five parts and ask whether an explanation ranks
parts as leaving them out of the drawing does; nothing is masked, so every image is one that the
model could have been trained on. Here are their formulas for arrays of parts, whatever the parts
are; `jaxattr.bench.explanations.funnybirds` says what is taken for a part, and for a class that
shares parts.

Every score lies between 0 and 1, and higher is better. `importance` is `part_importance`, over
parts; `chosen` says which parts count as important at each of `THRESHOLDS`, see `important`. What
the model says of the scene with only some parts drawn is a table over all sets of parts: the set
`s` at place `Σ_p 2^p [p in s]`, so that the last one is the whole scene.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

from jaxattr.metrics.likeness import likeness

THRESHOLDS = np.linspace(0.01, 0.5, 80)
"""Of important parts: a part has more than this share of the whole map's sum."""
UNIMPORTANT = 0.05
"""Leaving out a part that is not important changes the logit by less than this share of it."""

Importance = Float[np.ndarray, " part"]
Chosen = Bool[np.ndarray, "threshold part"]
Scores = Float[np.ndarray, " threshold"]


def part_importance(
    map_: Float[np.ndarray, "row column"], regions: Float[np.ndarray, "part row column"]
) -> Importance:
    """A part's share of the map: `Σ S w`, signed, `w` the share of each patch that it covers.

    Theirs grows the part's mask by two of 256 pixels first. Masks of our scenes hold every pixel in
    whose colour the part has any share, so they have that rim already.
    """
    return np.einsum("rc,prc->p", map_.astype(np.float64), regions)


def important(
    importance: Importance, total: float, thresholds: Float[np.ndarray, " threshold"] = THRESHOLDS
) -> Chosen:
    """Parts with more than the share `t` of the map's sum, for each threshold.

    As theirs, of the signed sum: where it is negative, parts of little negative importance count.
    """
    return importance[None] > thresholds[:, None] * total


def data_check(chosen: Chosen, sufficient: Bool[np.ndarray, "set part"]) -> Scores:
    """Controlled synthetic data check (CSDC): does the explanation find parts that suffice?

    `max over sets of |chosen ∩ set| / |set|`, over the smallest sets of parts that, by the way the
    classes are drawn, tell the class from all others.
    """
    found = chosen.astype(np.float64) @ sufficient.T / sufficient.sum(axis=1)
    return found.max(axis=1)


def preservation_check(chosen: Chosen, predicted: Int[np.ndarray, " set"]) -> Scores:
    """Preservation check (PC): 1 where the prediction stays with only the important parts drawn."""
    return (predicted[_place(chosen)] == predicted[-1]).astype(np.float64)


def deletion_check(chosen: Chosen, predicted: Int[np.ndarray, " set"]) -> Scores:
    """Deletion check (DC): 1 where the prediction changes without the important parts."""
    return (predicted[_place(~chosen)] != predicted[-1]).astype(np.float64)


def unimportant(
    without: Float[np.ndarray, " part"], whole: float, share: float = UNIMPORTANT
) -> Bool[np.ndarray, " part"]:
    """Parts whose absence changes the logit `whole` by less than a share of it, or raises it."""
    return (np.abs(whole - without) < share * abs(whole)) | (without > whole)


def distractibility(chosen: Chosen, unimportant: Bool[np.ndarray, " part"]) -> Scores:
    """Distractibility (D): `1 - |chosen ∩ unimportant| / |unimportant|`; NaN where all matter.

    Parts here are those of the object and things in the background.
    """
    if not unimportant.any():
        return np.full(len(chosen), np.nan)
    return 1 - chosen[:, unimportant].mean(axis=1)


def single_deletion(importance: Importance, drop: Float[np.ndarray, " part"]) -> float:
    """Single deletion (SD): `(ρ + 1) / 2`, Spearman's correlation of importance and logit drops.

    `drop` is the logit with all parts less that without this one. NaN where all are equal.
    """
    ranked = (rankdata(one)[None] for one in (importance, drop))
    return float((likeness(*ranked) + 1) / 2)


def target_sensitivity(evidence: Float[np.ndarray, "class owner"]) -> float:
    """Target sensitivity (TS): does evidence lie more on a class's own parts than for another?

    `evidence[i, j]` is what the map for class `i` has on the parts that belong to class `j`; the
    mean of `[evidence[0, 0] > evidence[1, 0]]` and `[evidence[1, 1] > evidence[0, 1]]`. A map that
    does not depend on the class has 0, a random one 1/2.
    """
    own = evidence[[0, 1], [0, 1]] > evidence[[1, 0], [0, 1]]
    return float(own.mean())


def is_sensitive(change: Float[np.ndarray, "class owner"]) -> bool:
    """Whether the model itself is as target sensitivity supposes; other scenes are left out.

    `change[i, j]` is how the logit of class `i` changes without the parts of class `j`: each class
    must lose more with its own parts than with the other's.
    """
    return bool(change[0, 0] < change[0, 1] and change[1, 1] < change[1, 0])


def best_threshold(
    checks: Float[np.ndarray, "3 threshold"], distraction: Float[np.ndarray, " threshold"]
) -> int:
    """The place of the method's threshold: the largest `(CSDC + PC + DC) / 3 + D`, the first.

    Of means over all scenes, as theirs: every method is given the threshold that suits it.
    """
    return int(np.argmax(checks.mean(axis=0) + distraction))


def _place(chosen: Chosen) -> Int[np.ndarray, " threshold"]:
    return chosen @ (1 << np.arange(chosen.shape[1]))
