"""Which classes and images a probe asks about, where it cannot ask about all."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from jaxattr.audit.inference.posterior import Posterior
from jaxattr.audit.ledger.columns import lot
from jaxattr.audit.statistics import rates

IMAGES = 120
"""Images that a probe asks about, over all classes."""
LEAST = 4
"""Classes with fewer images to choose from are not asked about."""
MOST = 10
"""Images of one class."""


def lots(
    label: Int[np.ndarray, " image"], first: Bool[np.ndarray, " image"] | None = None
) -> list[tuple[int, Int[np.ndarray, " member"]]]:
    """Random classes, each with its images' positions in random order: at most `IMAGES` in all.

    As many classes with `LEAST` images as can have that many, and then as many images of each, up
    to `MOST`, as the total allows. The choice is fixed: equal labels give equal choices.

    Args:
        first: images that are drawn before the others of their class.
    """
    counts = np.bincount(label)
    eligible = sorted(np.flatnonzero(counts >= LEAST).tolist(), key=lot)[: IMAGES // LEAST]
    each = min(MOST, IMAGES // max(len(eligible), 1))
    drawn = []
    for class_ in sorted(eligible):
        members = np.flatnonzero(label == class_)
        later = np.zeros(len(members), bool) if first is None else ~first[members]
        order = np.lexsort((np.array([lot(int(one)) for one in members]), later))
        drawn.append((class_, members[order[:each]]))
    return drawn


def known(of: Posterior) -> Bool[np.ndarray, " image"]:
    """Which readable images are of classes that pass the gate, see `rates.known_classes`."""
    passing = rates.known_classes(of.correct, of.counts)
    passing &= rates.knows_anything(of.model.log_loss, len(of.classes))
    return passing[of.label]
