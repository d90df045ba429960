"""Wrong labels that the training folder holds and the model passes on: a test in two steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxattr.audit.inference.excess import Excess
from jaxattr.audit.inference.pairs import Pair, testable
from jaxattr.audit.inference.posterior import Posterior
from jaxattr.audit.statistics import rates


class Learned(NamedTuple):
    """A pair that the training folder holds, and whether the model learned it."""

    label: int
    source: int
    """Positions in the audited posterior's `classes`."""
    pair: Pair
    """As it was accepted in the training folder; positions in that posterior."""
    p_value: float
    """Of no excess in the audited folder, one-sided."""
    q_value: float
    """Over the pairs that the training folder holds."""
    certified: bool


def learned(
    of: Posterior, found: Excess, there: Posterior, accepted: Sequence[Pair]
) -> tuple[Learned, ...]:
    """The pairs that the training folder holds, each tested in the audited one.

    First step: the pairs that `contaminated_pair` accepts there, q <= 0.05 over all of its ordered
    pairs. Second: `excess` here, one-sided, `p = P(Z > z)`, over the pairs of the first step whose
    classes the audited folder has, and no others. Certified where p and q are at most 0.05 and the
    excess at least 1 %. A class that fails the gate here counts among the tests, with p = 1.
    """
    place = {int(class_): at for at, class_ in enumerate(of.classes)}
    known = testable(of)
    pairs = []
    for pair in accepted:
        at = tuple(place.get(int(there.classes[one]), -1) for one in (pair.label, pair.source))
        if min(at) >= 0:
            pairs.append((at[0], at[1], pair))
    p = np.array(
        [stats.norm.sf(found.z[a, b]) if known[a] and known[b] else 1.0 for a, b, _ in pairs]
    )
    tests = []
    for (a, b, pair), one, two in zip(pairs, p.tolist(), adaptive(p).tolist(), strict=True):
        certified = max(one, two) <= rates.LEVEL and bool(found.rate[a, b] >= rates.FLOOR)
        tests.append(Learned(a, b, pair, one, two, certified))
    return tuple(tests)


def adaptive(p_values: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Benjamini-Hochberg q-values times the share of true nulls, `(1 + #{p > ½}) / ½m`.

    After Storey, Taylor and Siegmund (2004). What the training folder holds, a model has mostly
    learned, so few of these nulls are true.
    """
    share = min(1.0, (1 + int((p_values > 0.5).sum())) / max(len(p_values) / 2, 1e-9))
    return share * rates.q_values(p_values, len(p_values))
