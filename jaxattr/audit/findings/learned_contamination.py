"""Learned contamination: the model itself gives a part of class b's right images to class a."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import sparse, special

from jaxattr.audit.finding import Finding
from jaxattr.audit.findings.contaminated_pair import testable
from jaxattr.audit.ledger import Ledger
from jaxattr.audit.posterior import KEPT, Posterior, once, posterior
from jaxattr.labels import LabelTable

LISTED = 5
"""Pairs listed at most."""
Z_FLOOR = 3.0
"""Excess in standard errors of a model that is calibrated for the two classes."""
EXCESS_FLOOR = 0.02
"""Excess per image of the source class."""
SHOWN = 12
_READ = 1024

ACTION = (
    "Audit the folder that the model was trained on with `jaxattr audit`: only there can this be "
    "certified. Then train again without the wrong labels."
)
CAVEAT = (
    "Wrong where the two classes look alike and the model is honestly unsure, or where the model "
    "fails for another reason, such as a shortcut that the source class lacks. Ranked, not "
    "certified: there is no q-value."
)


class Excess(NamedTuple):
    """Probability that the model gives to a and the labels do not bear out, `[a, b]`."""

    rate: Float[np.ndarray, "class class"]
    """Per image labelled b."""
    z: Float[np.ndarray, "class class"]
    """In standard errors."""


def learned_contamination(ledger: Ledger) -> list[Finding]:
    """Pairs a ← b whose images of b the model gives in part to a, worst first, at most five.

    Ranked by `excess` per image of b; listed from an excess of 2 % and three standard errors on,
    which posterior-drawn twins and clean models reach as `docs/audit.md` says. The model's own
    probabilities are used: a temperature would sharpen away what is looked for. No map took part:
    none ranked such pairs better.
    """
    of, found = posterior(ledger), excess(ledger)
    known = testable(of)
    listed = known[:, None] & known & (found.z >= Z_FLOOR) & (found.rate >= EXCESS_FLOOR)
    pairs = np.argwhere(listed)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -found.rate[listed]))
    names = LabelTable(ledger.receipt.labels)
    chosen = [(int(a), int(b)) for a, b in pairs[order[:LISTED]]]
    images = _strongest(ledger, of, chosen)
    return [_finding(of, found, names, pair, images[pair], len(pairs)) for pair in chosen]


@once
def excess(ledger: Ledger) -> Excess:
    """`Σ_x p_b(x) (p_a(x) - 1[label is a])` of every pair, over all images.

    p is the model's softmax over the classes present, at temperature 1; what is left out of the 20
    best counts as zero. Were the labels drawn from p, its mean were 0 and its variance
    `Σ p_b² p_a (1 - p_a)`: `rate` is the sum over the number of images labelled b, `z` the sum over
    its standard deviation. An image of a that carries the label b counts little, for its p_b is
    small, and one of b that carries the label a counts against the pair.
    """
    of = posterior(ledger)
    classes, start = len(of.classes), 0
    total, variance = np.zeros((2, classes, classes))
    for shard in ledger.iterate("logits", rows=_READ) if classes else ():
        p = _probabilities(shard["logits"], of)
        rows, label = np.arange(len(p)), of.label[start : start + len(p)]
        least = np.partition(p, -min(KEPT, classes), axis=1)[:, -min(KEPT, classes), None]
        kept = sparse.csr_array(np.where(p >= least, p, 0.0))
        given = sparse.csr_array((np.ones(len(p)), (rows, label)), shape=p.shape)
        total += ((kept - given).T @ kept).toarray()
        variance += ((kept - kept * kept).T @ (kept * kept)).toarray()
        start += len(p)
    np.fill_diagonal(total, 0.0)
    z = total / np.sqrt(np.maximum(variance, 1e-12))
    return Excess(total / np.maximum(of.counts, 1), z)


def _probabilities(logits: np.ndarray, of: Posterior) -> np.ndarray:
    return special.softmax(logits[:, of.classes].astype(np.float64), axis=1)


def _strongest(
    ledger: Ledger, of: Posterior, pairs: list[tuple[int, int]]
) -> dict[tuple[int, int], tuple[list[int], float]]:
    """Images of each pair's source with the highest p_a, and the mean of p_a over the source."""
    if not pairs:
        return {}
    towards, start = {pair: np.zeros(int(of.counts[pair[1]])) for pair in pairs}, 0
    members = {pair: np.flatnonzero(of.label == pair[1]) for pair in pairs}
    for shard in ledger.iterate("logits", rows=_READ):
        p = _probabilities(shard["logits"], of)
        for pair, positions in members.items():
            here = (positions >= start) & (positions < start + len(p))
            towards[pair][here] = p[positions[here] - start, pair[0]]
        start += len(p)
    result = {}
    for pair, values in towards.items():
        best = np.argsort(-values, kind="stable")[:SHOWN]
        result[pair] = (of.image[members[pair][best]].tolist(), float(values.mean()))
    return result


def _finding(
    of: Posterior,
    found: Excess,
    names: LabelTable,
    pair: tuple[int, int],
    strongest: tuple[list[int], float],
    listed: int,
) -> Finding:
    label, source = (int(of.classes[one]) for one in pair)
    first, second = names.short(label), names.short(source)
    rate, z, (images, mean) = float(found.rate[pair]), float(found.z[pair]), strongest
    return Finding(
        kind="learned_contamination",
        severity="medium",
        title=f"The model sees {first} in images of {second}",
        detail=(
            f"On the {int(of.counts[pair[1]]):,} images labelled {second} it gives {first} a "
            f"probability of {mean:.1%} on average; {rate:.1%} per image is more than the labels "
            f"bear out ({z:.1f} standard errors). So looks a model that learned {first} from a "
            f"folder with images of {second} in it. Ranked, not certified."
        ),
        classes=(label, source),
        images=tuple(images),
        score=rate,
        effect=rate,
        effect_name="probability per image of the source class beyond what the labels bear out",
        action=ACTION,
        caveat=CAVEAT,
        extra={
            "z": z,
            "mean_probability": mean,
            "reverse_excess": float(found.rate[pair[::-1]]),
            "source_images": int(of.counts[pair[1]]),
            "of": listed,
        },
    )
