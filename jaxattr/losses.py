"""Losses: pytree callables `logits -> scalar`, whose class indices are leaves.

Because indices are leaves, a batch of images with different classes is one `vmap`, several losses
for one image are a `vmap` over the loss, and no class needs a compilation of its own. Any other
callable of the logits works as well.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float

from jaxattr.types import Logits, Loss


def _index(class_: Any) -> Array:
    return jnp.asarray(class_, jnp.int32)


def _target_logit(class_: Array, logits: Logits) -> Array:
    return logits[class_]


def _difference(first: Array, second: Array, logits: Logits) -> Array:
    return logits[first] - logits[second]


def _relative_difference(first: Array, second: Array, logits: Logits) -> Array:
    return (logits[first] - logits[second]) / logits[first]


def _ratio(first: Array, second: Array, logits: Logits) -> Array:
    return logits[first] / logits[second]


def _against_rest(class_: Array, logits: Logits) -> Array:
    return (logits[class_] * logits.shape[0] - logits.sum()) / (logits.shape[0] - 1)


def _log_probability(class_: Array, logits: Logits) -> Array:
    return jax.nn.log_softmax(logits)[class_]


def _weighted(weights: Array, logits: Logits) -> Array:
    return weights.astype(logits.dtype) @ logits


def target_logit(class_: Any) -> Loss:
    """The logit of one class: `l_target` (paper, Eq. 7)."""
    return Partial(_target_logit, _index(class_))


def difference(first: Any, second: Any) -> Loss:
    """The difference of two logits, `l_first - l_second`: guides attention from one to the other.

    The default for guidance, because it guides whatever the logits' signs are.
    """
    return Partial(_difference, _index(first), _index(second))


def relative_difference(first: Any, second: Any) -> Loss:
    """`(l_first - l_second) / l_first` (paper, Eq. 8).

    Inverts when both logits are negative and explodes near `l_first = 0`: see `is_guiding`.
    """
    return Partial(_relative_difference, _index(first), _index(second))


def ratio(first: Any, second: Any) -> Loss:
    """`l_first / l_second` (paper, section 4.4); inverts and explodes as Eq. 8 does."""
    return Partial(_ratio, _index(first), _index(second))


def against_rest(class_: Any) -> Loss:
    """One logit minus the mean of all others: `l_c - mean_{j != c} l_j`."""
    return Partial(_against_rest, _index(class_))


def log_probability(class_: Any) -> Loss:
    """The log-softmax of one class: `l_c - log sum_j exp l_j`."""
    return Partial(_log_probability, _index(class_))


def weighted(weights: Float[Array, "... class"]) -> Loss:
    """Any linear loss, `w . l`: the general form of `target_logit` and `difference`."""
    return Partial(_weighted, jnp.asarray(weights))


def is_guiding(
    logits: Float[Array, "*batch class"], first: Any, second: Any
) -> Bool[Array, "*batch"]:
    """Whether Eq. 8 and the ratio lower `l_first` and raise `l_second` when they descend.

    `d Eq8 = (l_2 dl_1 - l_1 dl_2) / l_1²`, and the ratio's derivative is a positive multiple of it:
    both guide from first to second only where both logits are positive. With opposite signs they
    push the two logits the same way; with two negative ones red and blue are exchanged.
    """
    return (logits[..., _index(first)] > 0) & (logits[..., _index(second)] > 0)
