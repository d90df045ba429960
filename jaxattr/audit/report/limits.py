"""What an audit cannot see: power by class size, classes left out, finders that were not run."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxattr.audit.findings.duplicate_image import split_of
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.pairs import testable
from jaxattr.audit.inference.posterior import DISCRIMINANT_IMAGES, Posterior
from jaxattr.audit.ledger.training import same_model
from jaxattr.audit.probes import PROBES, deletion, lots, rewriting
from jaxattr.audit.probes.store import answers, load
from jaxattr.audit.statistics import rates

STATED = (0.02, 0.05, 0.10)
"""Rates of contamination that the images needed are stated for."""
SMALL = 0.5
"""A class in which only rates above this could be found is called too small to test."""
POWER = 0.8
UNTRAINED = (
    "no training folder was given: audit the images that the model was trained on, then run this "
    "again with --training and the --output of that audit"
)
_STEPS = 80
_IMAGES = 500  # of a class, that its power is estimated on


class Power(NamedTuple):
    """What the test of contaminated pairs can find in one class."""

    images: int
    unlike: float | None
    """Smallest rate found with 80 % power in the folder of a class that it is never taken for."""
    alike: float | None
    """The same, in the folder of the class that it is taken for most."""
    needed: tuple[tuple[float, float], ...]
    """Images needed at `STATED` rates, of a class unlike any and of its most similar one."""
    least: int
    """Images that must be moved to be certified at all, however clear each is."""


class SizePower(NamedTuple):
    """Classes of similar size; medians of their `Power`, None where half of them have no rate."""

    smallest: int
    largest: int
    classes: int
    unlike: float | None
    alike: float | None
    needed: tuple[tuple[float, float], ...]
    least: int


class Limits(NamedTuple):
    """What this audit cannot see; classes are model outputs."""

    tests: int
    threshold: float
    """Λ in nats that a pair must reach, the correction for all tests included."""
    sizes: tuple[SizePower, ...]
    refused: tuple[int, ...]
    """Classes that the gate refused, each by its own recall."""
    none_known: str
    """Why no class was tested, where the whole folder was refused; else nothing."""
    small: tuple[int, ...]
    """Classes of which not even half, moved to another folder, would be found."""
    single: tuple[int, ...]
    """Classes with one image."""
    not_run: tuple[tuple[str, str], ...]
    """Kinds of findings that were not looked for, or in part, and why."""


def limits(analysis: Analysis) -> Limits:
    """Say what could not have been found, from the ledger's own posterior and class sizes.

    The images needed for a pair a ← b are those of `rates.images_needed`, on the ratios of the
    images of b; the smallest rate is found likewise. Two folders a are stated for each b: one it is
    never taken for (`p_a = 0`, the easiest there is) and the one it is taken for most.
    """
    of, known = analysis.posterior, testable(analysis.posterior)
    found = analysis.pairs
    threshold = rates.threshold(found.tests, len(found.accepted))
    powers = {
        int(of.classes[one]): _power(of, one, threshold) for one in np.flatnonzero(known).tolist()
    }
    return Limits(
        tests=found.tests,
        threshold=threshold,
        sizes=_by_size(list(powers.values())),
        refused=tuple(of.classes[~known].tolist()) if known.any() and len(known) > 1 else (),
        none_known=_none_known(of, known),
        small=tuple(
            class_ for class_, one in powers.items() if one.unlike is None or one.unlike > SMALL
        ),
        single=tuple(of.classes[of.counts == 1].tolist()),
        not_run=tuple(_not_run(analysis, of, known)),
    )


def _none_known(of: Posterior, known: np.ndarray) -> str:
    if known.any() or len(of.classes) < 2:
        return ""
    total, correct = int(of.counts.sum()), int(of.correct.sum())
    if rates.can_tell(correct, total, len(of.classes)):
        return "the model knows none of the classes"
    images = "image is" if total == 1 else "images are"
    return f"{total:,} {images} too few to tell whether the model knows the classes"


def least_images(count: int, classes: int, noise: float, threshold: float) -> int:
    """How many of a class's images must be moved before any test could certify it.

    The clearest images there are (`p_b = 1`) have `p_b / D = K/ε`; m of them beside n that kept
    their label reach `max_γ m log(1 + γ K/ε) + n log(1-γ)`, at `γ = (m K/ε - n) / ((m + n) K/ε)`.
    """
    ratio = classes / noise
    for moved in range(1, count + 1):
        rate = max((moved * ratio - count) / ((moved + count) * ratio), 0.0)
        if moved * np.log1p(rate * ratio) + count * np.log1p(-rate) >= threshold:
            return moved
    return count + 1


def _power(of: Posterior, label: int, threshold: float) -> Power:
    members = np.flatnonzero(of.label == label)
    some = members[:: -(-len(members) // _IMAGES)]
    own, classes = of.label_probability[some].astype(np.float64), len(of.classes)
    toward = np.bincount(of.rival[some].ravel(), of.rival_probability[some].ravel(), classes)
    similar = of.toward(some, int(toward.argmax()))
    ratios = [
        own / rates.base_denominator(taken, of.final.noise, classes)
        for taken in (np.zeros_like(own), similar)
    ]
    unlike, alike = (_smallest_rate(one, len(members), threshold) for one in ratios)
    return Power(
        images=len(members),
        unlike=unlike,
        alike=alike,
        needed=tuple(
            (
                rates.images_needed(rate, ratios[0], threshold),
                rates.images_needed(rate, ratios[1], threshold),
            )
            for rate in STATED
        ),
        least=least_images(len(members), classes, of.final.noise, threshold),
    )


def _smallest_rate(ratios: np.ndarray, count: int, threshold: float) -> float | None:
    """The rate at which as many images as the test needs are moved four times in five.

    m moved images of n are expected to reach `m κ(m/n)` nats; the fewest that reach Λ* are at least
    that many with `P(Binomial(n, γ) >= m) = I_γ(m, n-m+1)`.
    """
    moved = np.unique(np.geomspace(1, max(count - 1, 1), _STEPS).round())
    share = moved / (count + 1)
    gain = moved * np.log1p(share[:, None] * ratios).mean(axis=1) + count * np.log1p(-share)
    reached = gain >= threshold
    if not reached.any():
        return None
    fewest = float(moved[reached.argmax()])
    return max(float(stats.beta.ppf(POWER, fewest, count - fewest + 1)), rates.FLOOR)


def _by_size(powers: list[Power]) -> tuple[SizePower, ...]:
    """Groups of sizes within a factor of two, and the medians of each."""
    groups: dict[int, list[Power]] = {}
    for one in sorted(powers, key=lambda one: one.images):
        groups.setdefault(one.images.bit_length(), []).append(one)
    return tuple(
        SizePower(
            smallest=group[0].images,
            largest=group[-1].images,
            classes=len(group),
            unlike=_median([one.unlike for one in group]),
            alike=_median([one.alike for one in group]),
            needed=tuple(
                (float(np.median([one[0] for one in at])), float(np.median([one[1] for one in at])))
                for at in zip(*(one.needed for one in group), strict=True)
            ),
            least=int(np.median([one.least for one in group])),
        )
        for group in groups.values()
    )


def _median(found: list[float | None]) -> float | None:
    middle = float(np.median([np.inf if rate is None else rate for rate in found]))
    return middle if np.isfinite(middle) else None


def _not_run(analysis: Analysis, of: Posterior, known: np.ndarray) -> list[tuple[str, str]]:
    found, part = [], analysis.extent
    if len(of.image) == 0:
        return [("anything", "no image could be read")]
    if len(of.classes) < 2:
        reason = (
            f"all {'audited ' * part.partial}images carry one label, so there is nothing to weigh "
            f"it against"
        )
        found.append(("contaminated pairs and wrong labels", reason))
    elif not known.any():
        found.append(("contaminated pairs and wrong labels", _none_known(of, known)))
    elif not of.discriminant:
        reason = (
            f"a class has fewer than {DISCRIMINANT_IMAGES} {'audited ' * part.partial}images, so "
            f"pairs were tested with the model's logits alone"
        )
        found.append(("contaminated pairs by features", reason))
    if part.partial:
        reason = "only audited images were compared with each other"
        found.append(("copies among the images that were left out", reason))
    first = of.image[:1].tolist()
    maps = all(
        row["map_pair"] is not None for row in analysis.ledger.rows(first, "map_pair").values()
    )
    if not maps:
        found.append(("places of the evidence", "this ledger was made without maps"))
    found += _not_run_on_training(analysis, of)
    return [*found, *_not_put_to_the_model(analysis, of, known, maps=maps)]


def _not_put_to_the_model(
    analysis: Analysis, of: Posterior, known: np.ndarray, *, maps: bool
) -> list[tuple[str, str]]:
    """What needs answers of the model, and was not asked, or had nothing to ask about."""
    unasked = [name for name in PROBES if not _asked(analysis, name)]
    if unasked:
        names = ", ".join(name.replace("_", " ") for name in unasked)
        reason = "their tests were not put to the model; run without --no-probes"
        return [(f"what needs the model ({names})", reason)]
    if not known.any():
        what = "shortcuts, two objects, fragile classes and maps that explain nothing"
        only = _none_known(of, known) or "only one class was audited"
        return [(what, f"the model was not asked about any image: {only}")]
    found = []
    for name, what, right in (
        (rewriting.NAME, "fragile classes", " that the model gets right"),
        (deletion.NAME, "maps that explain nothing", " of classes that the model knows"),
    ):
        tested = {one.question["label"] for one in answers(analysis.ledger, name)}
        if len(tested) < len(of.classes) and (maps or name != deletion.NAME):
            reason = (
                f"a class needs {lots.LEAST} audited images{right}, and {lots.IMAGES} are drawn"
            )
            found.append((f"{what} in {len(of.classes) - len(tested):,} classes", reason))
    return found


def _not_run_on_training(analysis: Analysis, of: Posterior) -> list[tuple[str, str]]:
    """What needs the folder that the model was trained on, or all of it."""
    found, part, training = [], analysis.extent, analysis.training
    if training is None:
        files = (file for shard in analysis.ledger.iterate("file") for file in shard["file"])
        splits = {split_of(file) for file in files}
        if len(splits) < 2:
            there = "the audited files" if part.partial else "the files"
            reason = f"{there} lie in one split only; audit a folder that holds both"
            if splits == {""}:
                reason = (
                    f"no path of {there} names a split (train, val, ...); audit a folder of both"
                )
            found.append(("copies across splits", reason))
        what = "copies of training images, and proof of contamination that the model learned"
        return [*found, (what, UNTRAINED)]
    receipt, there = training.ledger.receipt, training.posterior
    if not same_model(receipt, analysis.ledger.receipt):
        reason = "another model, or another image size, made its audit, and features do not compare"
        found.append(("copies of training images", reason))
    other = training.extent
    if other.partial:
        reason = f"its audit was limited to {other.images:,} of {other.of_images:,} images"
        found.append(("copies and wrong labels in a part of the training folder", reason))
    if not testable(there).any():
        reason = "the model knows none of the training folder's classes"
        found.append(("proof of contamination that the model learned", reason))
    elif missing := len(np.setdiff1d(there.classes, of.classes)):
        has = "the sample of this folder" if part.partial else "this folder"
        reason = f"{has} lacks {missing:,} of the training folder's classes"
        found.append(("contamination learned from or into some classes", reason))
    return found


def _asked(analysis: Analysis, name: str) -> bool:
    kept = load(analysis.ledger, name)
    return kept is not None and kept.complete and kept.version == PROBES[name].version
