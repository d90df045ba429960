"""What a model gives to one class on another's images beyond what the labels support."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import sparse, special

from jaxattr.audit.inference.posterior import KEPT, Posterior
from jaxattr.audit.ledger import Columns, LedgerView

_READ = 1024


class Excess(NamedTuple):
    """Probability that the model gives to a and the labels do not bear out, `[a, b]`."""

    rate: Float[np.ndarray, "class class"]
    """Per image labelled b."""
    z: Float[np.ndarray, "class class"]
    """In standard errors."""


def excess(ledger: LedgerView, of: Posterior) -> Excess:
    """`Σ_x p_b(x) (p_a(x) - 1[label is a])` of every pair, over all images.

    p is the model's softmax over the classes present, at temperature 1; what is left out of the 20
    best counts as zero. Were the labels drawn from p, its mean were 0 and its variance
    `Σ p_b² p_a (1 - p_a)`: `rate` is the sum over the number of images labelled b, `z` the sum over
    its standard deviation. An image of a that carries the label b counts little, for its p_b is
    small, and one of b that carries the label a counts against the pair.
    """
    classes = len(of.classes)
    total, variance = np.zeros((2, classes, classes))

    def products(shard: Columns) -> tuple[sparse.coo_array, sparse.coo_array]:
        p = model_probabilities(shard["logits"], of)
        rows, label = np.arange(len(p)), of.label[np.searchsorted(of.image, shard["index"])]
        least = np.partition(p, -min(KEPT, classes), axis=1)[:, -min(KEPT, classes), None]
        kept = sparse.csr_array(np.where(p >= least, p, 0.0))
        given = sparse.csr_array((np.ones(len(p)), (rows, label)), shape=p.shape)
        each = (kept - given).T @ kept, (kept - kept * kept).T @ (kept * kept)
        return sparse.coo_array(each[0]), sparse.coo_array(each[1])

    for part in ledger.each(products, "index", "logits", rows=_READ) if classes else ():
        for whole, one in zip((total, variance), part, strict=True):
            whole += one.toarray()
    np.fill_diagonal(total, 0.0)
    z = total / np.sqrt(np.maximum(variance, 1e-12))
    return Excess(total / np.maximum(of.counts, 1), z)


def model_probabilities(
    logits: Float[np.ndarray, "image output"], of: Posterior
) -> Float[np.ndarray, "image class"]:
    """The model's softmax over the classes present, at temperature 1."""
    return special.softmax(logits[:, of.classes].astype(np.float64), axis=1)
