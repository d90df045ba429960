"""Learned contamination: the model itself gives a part of class b's right images to class a."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.excess import model_probabilities
from jaxattr.audit.inference.pairs import Pair, testable
from jaxattr.audit.inference.posterior import Posterior
from jaxattr.audit.ledger import Columns
from jaxattr.audit.ledger.training import same_model
from jaxattr.audit.statistics import rates

LISTED = 5
"""Pairs at most that are only ranked."""
Z_FLOOR = 3.0
"""Excess in standard errors of a model that is calibrated for the two classes."""
EXCESS_FLOOR = 0.02
"""Excess per image of the source class."""
SHOWN = 12
_READ = 1024

NULL = (
    "the training folder holds no such images, or the labels here are drawn from the model's own "
    "probabilities (the larger value of the two tests)"
)
ACTION = (
    "Audit the folder that the model was trained on and give that audit as --training: only there "
    "can this be certified. A model that was not trained on it sees wrong labels there that this "
    "one may have come to agree with. Then train again without them."
)
AGREES = (
    " A model that learned wrong labels completely agrees with them: an audit of that folder by "
    "another model, one that was not trained on it, may see them."
)
CORRECT = (
    "Correct these labels in the training folder (its own audit lists {which}, and says what to "
    "look at first), then train again."
)
LOOK = (
    "Look at these images: without wrong labels to blame in training, two classes that are alike "
    "or a part that they share is the likelier reason."
)
CAVEAT = (
    "Wrong where the two classes look alike and the model is honestly unsure, or where the model "
    "fails for another reason, such as a shortcut that the source class lacks."
)
RANKED = " Ranked, not certified: there is no q-value."
CERTIFIED = (
    " Wrong, too, where the model was trained on other images than the training folder that was "
    "given."
)


def learned_contamination(analysis: Analysis) -> list[Finding]:
    """Pairs a ← b whose images of b the model gives in part to a, worst first.

    Certified (`learned`) are those that the training folder holds (`ledger.training`) and that the
    model's excess here confirms: severity `high`. Others are ranked by `excess` per image of b, at
    most five, from an excess of 2 % and three standard errors on, which posterior-drawn twins and
    clean models reach as `docs/notebook/audit.md` says: `medium`. The model's own
    probabilities are used: a temperature would sharpen away what is looked for. No map took part:
    none ranked such pairs better.
    """
    of, found = analysis.posterior, analysis.excess
    certified = [(one.label, one.source) for one in analysis.learned if one.certified]
    known = testable(of)
    listed = known[:, None] & known & (found.z >= Z_FLOOR) & (found.rate >= EXCESS_FLOOR)
    for pair in certified:
        listed[pair] = False
    pairs = np.argwhere(listed)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -found.rate[listed]))
    ranked = [(int(a), int(b)) for a, b in pairs[order[:LISTED]]]
    certified.sort(key=lambda pair: (-found.rate[pair], pair))
    images = _strongest(analysis, of, certified + ranked)
    return [_certified(analysis, pair, images[pair]) for pair in certified] + [
        _ranked(analysis, pair, images[pair], len(pairs)) for pair in ranked
    ]


def _strongest(
    analysis: Analysis, of: Posterior, pairs: list[tuple[int, int]]
) -> dict[tuple[int, int], tuple[list[int], float]]:
    """Images of each pair's source with the highest p_a, and the mean of p_a over the source."""
    if not pairs:
        return {}
    towards = {pair: np.zeros(int(of.counts[pair[1]])) for pair in pairs}
    members = {pair: np.flatnonzero(of.label == pair[1]) for pair in pairs}
    sources = np.unique([pair[1] for pair in pairs])

    def seen(shard: Columns) -> tuple[np.ndarray, np.ndarray]:
        at = np.searchsorted(of.image, shard["index"])
        some = np.isin(of.label[at], sources)
        return at[some], model_probabilities(shard["logits"][some], of)

    for at, p in analysis.ledger.each(seen, "index", "logits", rows=_READ):
        for pair, positions in members.items():
            rows = np.flatnonzero(of.label[at] == pair[1])
            towards[pair][np.searchsorted(positions, at[rows])] = p[rows, pair[0]]
    result = {}
    for pair, values in towards.items():
        best = np.argsort(-values, kind="stable")[:SHOWN]
        result[pair] = (of.image[members[pair][best]].tolist(), float(values.mean()))
    return result


_Images = tuple[list[int], float]


def _certified(analysis: Analysis, pair: tuple[int, int], strongest: _Images) -> Finding:
    """The finding of a pair that both folders bear out."""
    there = analysis.training
    assert there is not None
    found, names = analysis.excess, analysis.names
    of = analysis.posterior
    label, source = (int(of.classes[class_]) for class_ in pair)
    first, second = names.short(label), names.short(source)
    rate, z = float(found.rate[pair]), float(found.z[pair])
    error = rate / z
    ends = max(rate - 1.96 * error, 0.0), min(rate + 1.96 * error, 1.0)
    tests = analysis.learned
    (one,) = (it for it in tests if (it.label, it.source) == pair)
    held, (low, high) = one.pair, one.pair.interval
    reach = float(stats.norm.isf(rates.LEVEL) + stats.norm.ppf(0.8))
    finding = _seen(analysis, pair, strongest, rate)
    other = there.ledger.receipt
    own = analysis.ledger.receipt
    by = "" if same_model(other, own) else f", as {Path(other.model).name} sees it,"
    part = there.extent.partial
    its = "its audited images" if part else "the images"
    return finding._replace(
        severity="high",
        title=f"The model has learned {first} from images of {second}",
        detail=(
            f"The training folder{by} holds {held.rate:.1%} of {its} of {second} under {first} (95 "
            f"% interval {low:.1%} to {high:.1%}, q = {_small(held.q_value)}; "
            f"{len(held.members):,} found), and the model passes it on: {finding.detail} (95 % "
            f"interval {ends[0]:.1%} to {ends[1]:.1%}, q = {_small(one.q_value)})."
        ),
        interval=ends,
        p_value=max(held.p_value, one.p_value),
        null=NULL,
        q_value=max(held.q_value, one.q_value),
        power=(
            f"With {int(of.counts[pair[1]]):,} images of {second} an excess of at least "
            f"{reach * error:.1%} is needed to be found with 80 % power."
        ),
        action=CORRECT.format(which="those it looked at" if part else "all of them"),
        caveat=CAVEAT + CERTIFIED,
        extra={
            "certified": True,
            "z": z,
            **finding.extra,
            "reverse_excess": float(found.rate[pair[::-1]]),
            "excess_p": one.p_value,
            "excess_q": one.q_value,
            "pairs_tested": len(tests),
            "training_rate": held.rate,
            "training_interval": held.interval,
            "training_q": held.q_value,
            "training": _flagged(there, held, label),
            "training_images": len(held.members),
        },
    )


def _ranked(analysis: Analysis, pair: tuple[int, int], strongest: _Images, listed: int) -> Finding:
    """The finding of a pair that the training folder, if there is one, does not bear out."""
    of, found, names = analysis.posterior, analysis.excess, analysis.names
    rate, z = float(found.rate[pair]), float(found.z[pair])
    first, second = (names.short(int(of.classes[class_])) for class_ in pair)
    finding = _seen(analysis, pair, strongest, rate)
    detail = f"{finding.detail} ({z:.1f} standard errors). "
    if analysis.training is None:
        detail += (
            f"A model that learned {first} from a folder with images of {second} in it "
            "looks like this. "
        )
    return finding._replace(
        title=f"The model sees {first} in images of {second}",
        detail=detail[:1].upper() + detail[1:] + _standing(analysis, pair, first, second),
        action=ACTION if analysis.training is None else LOOK,
        caveat=CAVEAT + RANKED,
        extra={
            "certified": False,
            "z": z,
            **finding.extra,
            "reverse_excess": float(found.rate[pair[::-1]]),
            "of": listed,
        },
    )


def _standing(analysis: Analysis, pair: tuple[int, int], first: str, second: str) -> str:
    """Why a pair is only ranked."""
    training = analysis.training
    if training is None:
        return "Ranked, not certified."
    for one in analysis.learned:
        if (one.label, one.source) == pair:
            return (
                f"The training folder holds {one.pair.rate:.1%} of the images of {second} under "
                f"{first} (q = {_small(one.pair.q_value)}), but the excess here is not certain "
                f"among the {len(analysis.learned):,} pairs tested (q = {_small(one.q_value)})."
            )
    of, there = analysis.posterior, training.posterior
    at = [np.flatnonzero(there.classes == of.classes[class_]) for class_ in pair]
    if not all(map(len, at)):
        if training.extent.partial:
            return "Ranked, not certified: the audit of the training folder left out one of them."
        return "Ranked, not certified: the training folder does not hold both classes."
    p = float(training.pairs.p_value[int(at[0][0]), int(at[1][0])])
    same = AGREES * same_model(training.ledger.receipt, analysis.ledger.receipt)
    return (
        f"Ranked, not certified: the training folder does not confirm it at this sample size "
        f"(wrong labels of this kind there: p = {_small(p)}, before correction)." + same
    )


def _seen(analysis: Analysis, pair: tuple[int, int], strongest: _Images, rate: float) -> Finding:
    """What both kinds of findings say alike; the sentence is not ended."""
    of, names = analysis.posterior, analysis.names
    label, source = (int(of.classes[class_]) for class_ in pair)
    images, mean = strongest
    count, folder = int(of.counts[pair[1]]), analysis.extent.noun
    return Finding(
        kind="learned_contamination",
        severity="medium",
        title="",
        detail=(
            f"on the {count:,} images labelled {names.short(source)} in this {folder} "
            f"it gives {names.short(label)} a probability of {mean:.1%} on average; {rate:.1%} per "
            f"image is more than the labels support"
        ),
        classes=(label, source),
        images=tuple(images),
        score=rate,
        effect=rate,
        effect_name="probability per image of the source class beyond what the labels support",
        extra={"mean_probability": mean, "source_images": count},
    )


def _flagged(training: Analysis, pair: Pair, label: int) -> list[dict[str, Any]]:
    """Images of the training folder that carry the wrong label, surest first."""
    images = training.posterior.image[list(pair.members[:SHOWN])].tolist()
    rows = training.ledger.rows(images, "file")
    return [{"index": one, "file": rows[one]["file"], "label": label} for one in images]


def _small(value: float) -> str:
    """A p- or q-value in two digits."""
    return f"{value:.2g}" if value >= 1e-99 else "1e-99"
