"""Losses: pytree callables `logits -> scalar`, whose class indices are leaves.

Because indices are leaves, a batch of images with different classes is one `vmap`, several losses
for one image are a `vmap` over the loss, and no class needs a compilation of its own. Any other
callable of the logits works as well.

A class that the model does not have is never another one's: a concrete index out of range is a
`LabelError` where the loss meets the logits, at trace time at the latest; a traced index, as of a
loss that is an argument of a jitted function, gives NaN, and so does the map. Negative indices are
out of range. What a loss means depends on the head (`jaxattr.heads`): differences of logits are
log-odds of two classes under a softmax; under sigmoids they compare two independent answers, and
in a regression two values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float

from jaxattr import registry
from jaxattr.errors import JaxattrError, LabelError
from jaxattr.vit import Logits, Loss

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class LossOf:
    """A function that makes losses of classes, with what is said of it: a row of `LOSSES`."""

    name: str
    make: Callable[..., Loss]
    """Of one class, or of two: `make(class_)` or `make(first, second)`."""
    classes: int
    positive: bool = False
    """Whether it guides only where both logits are positive, see `is_guiding`."""

    def of(self, first: Any, second: Any) -> Loss:
        """The loss; the second class is left out where it is of one."""
        return self.make(first) if self.classes == 1 else self.make(first, second)


def loss(*, name: str, classes: int, positive: bool = False) -> Callable[[Function], Function]:
    """Say beside a function that makes losses what is known of it, see `LossOf`."""

    def decorate(function: Function) -> Function:
        return registry.attach(function, LossOf(name, function, classes, positive))

    return decorate


def class_index(class_: Any, *, what: str = "class index") -> Any:
    """A class index, or an array of them, as int32; concrete ones stay NumPy's.

    Raises:
        LabelError: no whole number: a text, a truth value, or a fraction.
    """
    if isinstance(class_, jax.Array):
        found: Any = class_
    else:
        found = class_ if isinstance(class_, np.ndarray | np.generic) else _as_array(class_, what)
    if not jnp.issubdtype(found.dtype, jnp.integer):
        raise LabelError(
            f"{what} {_short(class_)} is of type {found.dtype}; give a whole number, which "
            f"LabelTable.resolve finds for a label."
        )
    # A number that int32 does not hold would become another one; it is out of range as it is.
    lowest, highest = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    if isinstance(found, jax.Array):
        wide = found.dtype.itemsize > 4
        return (jnp.clip(found, lowest, highest) if wide else found).astype(np.int32)
    return np.clip(found.astype(np.int64), lowest, highest).astype(np.int32)


def check_classes(indices: Any, classes: int, *, what: str = "class index") -> None:
    """Raise `LabelError` where a concrete index is not one of `classes`; traced ones pass."""
    if isinstance(indices, Tracer):
        return
    values = np.atleast_1d(np.asarray(indices))
    wrong = values[(values < 0) | (values >= classes)]
    if wrong.size:
        raise LabelError(
            f"{what} {wrong.flat[0]} is not one of the model's {classes} outputs; give 0 to "
            f"{classes - 1}."
        )


def check_loss(loss: Loss | None, classes: int) -> None:
    """Raise `LabelError` where a loss of this module names a class that is not there.

    For losses with a leading axis, whose indices a `vmap` hides; other callables pass.
    """
    if isinstance(loss, Partial) and loss.func in _OF_CLASSES:
        for indices in jax.tree.leaves(loss):
            check_classes(indices, classes)


def pick(values: Float[Array, "*batch class"], class_: Any) -> Float[Array, "*batch"]:
    """The values of one class: `values[..., class_]`, but never another class's.

    A concrete index that is out of range is an error; a traced one, as under `jit` and `vmap`,
    gives NaN, in the value and in its gradient.

    Raises:
        LabelError: no whole number, or out of range.
    """
    index = class_index(class_)
    classes = values.shape[-1]
    check_classes(index, classes)
    if not isinstance(index, Tracer):
        return values[..., jnp.asarray(index)]
    inside = (index >= 0) & (index < classes)
    # A product, not a choice: the gradient of a `where` would be zero, not NaN.
    factor = jnp.where(inside, jnp.ones((), values.dtype), jnp.asarray(jnp.nan, values.dtype))
    return values[..., jnp.clip(index, 0, classes - 1)] * factor


def _as_array(class_: Any, what: str) -> Any:
    try:
        return np.asarray(class_)
    except (TypeError, ValueError):
        raise LabelError(f"{what} {_short(class_)} is not a number; give a whole number.") from None


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) < 60 else f"{text[:57]}..."


def _logit(logits: Logits, class_: Any) -> Array:
    """The logit of one class; several of them in a loss are for `vmap` alone."""
    if np.ndim(class_):
        raise LabelError(
            f"class index is an array of shape {np.shape(class_)}, and a loss is of one class; "
            f"`jax.vmap` over the loss gives a map for each."
        )
    return pick(logits, class_)


def _target_logit(class_: Any, logits: Logits) -> Array:
    return _logit(logits, class_)


def _difference(first: Any, second: Any, logits: Logits) -> Array:
    return _logit(logits, first) - _logit(logits, second)


def _relative_difference(first: Any, second: Any, logits: Logits) -> Array:
    return (_logit(logits, first) - _logit(logits, second)) / _logit(logits, first)


def _ratio(first: Any, second: Any, logits: Logits) -> Array:
    return _logit(logits, first) / _logit(logits, second)


def _against_rest(class_: Any, logits: Logits) -> Array:
    _several(logits, "against_rest", "target_logit")
    return (_logit(logits, class_) * logits.shape[0] - logits.sum()) / (logits.shape[0] - 1)


def _log_probability(class_: Any, logits: Logits) -> Array:
    _several(logits, "log_probability", "log_sigmoid")
    return _logit(jax.nn.log_softmax(logits), class_)


def _log_sigmoid(class_: Any, logits: Logits) -> Array:
    return jax.nn.log_sigmoid(_logit(logits, class_))


def _log_odds(class_: Any, logits: Logits) -> Array:
    logit = pick(logits, class_)
    if logits.shape[-1] == 1:
        return logit
    own = jnp.arange(logits.shape[-1], dtype=jnp.int32) == class_index(class_)
    return logit - jax.nn.logsumexp(jnp.where(own, -jnp.inf, logits))


def _weighted(weights: Any, logits: Logits) -> Array:
    if weights.shape != logits.shape:
        raise LabelError(
            f"weighted: weights of shape {weights.shape} for {logits.shape[0]} logits; give one "
            f"weight for each, and `vmap` over many sets of them."
        )
    return jnp.asarray(weights, logits.dtype) @ logits


def _several(logits: Logits, name: str, instead: str) -> None:
    if logits.shape[0] < 2:
        raise JaxattrError(
            f"{name}: the model has one output, so there is no other class; use {instead}."
        )


_OF_CLASSES = (
    _target_logit,
    _difference,
    _relative_difference,
    _ratio,
    _against_rest,
    _log_probability,
    _log_sigmoid,
    _log_odds,
)


@loss(name="log-odds", classes=1)
def log_odds(class_: Any) -> Loss:
    """The log-odds of one class against all others: `l_c - log sum_{j != c} exp l_j`.

    Of a softmax head this is `log p / (1 - p)`: the class against each other one, weighted by how
    much it competes. With two classes it is their `difference`; with one logit, the logit. Outputs
    of a multi-label head are log-odds already: use `target_logit`, or `heads.log_odds`, which knows
    the head. Stable for logits of any size.
    """
    return Partial(_log_odds, class_index(class_))


@loss(name="logit", classes=1)
def target_logit(class_: Any) -> Loss:
    """The logit of one class: `l_target` (paper, Eq. 7)."""
    return Partial(_target_logit, class_index(class_))


@loss(name="difference", classes=2)
def difference(first: Any, second: Any) -> Loss:
    """The difference of two logits, `l_first - l_second`: guides attention from one to the other.

    The default for guidance, because it guides whatever the logits' signs are.
    """
    return Partial(_difference, class_index(first), class_index(second))


@loss(name="relative", classes=2, positive=True)
def relative_difference(first: Any, second: Any) -> Loss:
    """`(l_first - l_second) / l_first` (paper, Eq. 8).

    Inverts when both logits are negative and explodes near `l_first = 0`: see `is_guiding`.
    """
    return Partial(_relative_difference, class_index(first), class_index(second))


@loss(name="ratio", classes=2, positive=True)
def ratio(first: Any, second: Any) -> Loss:
    """`l_first / l_second` (paper, section 4.4); inverts and explodes as Eq. 8 does."""
    return Partial(_ratio, class_index(first), class_index(second))


def against_rest(class_: Any) -> Loss:
    """One logit minus the mean of all others: `l_c - mean_{j != c} l_j`."""
    return Partial(_against_rest, class_index(class_))


def log_probability(class_: Any) -> Loss:
    """The log-softmax of one class: `l_c - log sum_j exp l_j`, of a single-label head.

    For heads of one logit, and of many labels, see `log_sigmoid`.
    """
    return Partial(_log_probability, class_index(class_))


def log_sigmoid(class_: Any) -> Loss:
    """The log-probability of one output of a sigmoid head, `log σ(l_c)`: one logit, multi-label."""
    return Partial(_log_sigmoid, class_index(class_))


def weighted(weights: Float[Array, "... class"] | Float[np.ndarray, "... class"]) -> Loss:
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
    return (pick(logits, first) > 0) & (pick(logits, second) > 0)


LOSSES: dict[str, LossOf] = {
    one.name: one
    for value in list(globals().values())
    if (one := registry.attached(value, LossOf)) is not None
}
"""Those that have a name, for `jaxattr.explain` and the command line."""
NAMES = tuple(LOSSES)


def named(name: str) -> Callable[[Any, Any], Loss]:
    """A loss of two classes by its name, see `resolve`; those of one class ignore the second.

    `log-odds` is `log_odds`, `logit` `target_logit` (Eq. 7), `difference` itself, `relative`
    `relative_difference` (Eq. 8), and `ratio` itself.

    Raises:
        JaxattrError: no such name.
    """
    return resolve(name).of


def resolve(given: str | LossOf | Callable[..., Any]) -> LossOf:
    """What makes losses, by its name, by `package.module:function`, or of a function.

    A function of one's own with one parameter without a default is of one class, else of two.

    Raises:
        JaxattrError: an unknown name.
    """
    if isinstance(given, LossOf):
        return given
    if isinstance(given, str):
        if given in LOSSES:
            return LOSSES[given]
        found = registry.find(given, "loss")
        if found is None:
            raise JaxattrError(
                f"unknown loss {given}; choose from {', '.join(LOSSES)}, or write "
                "package.module:function."
            )
        return resolve(found)
    record = registry.attached(given, LossOf)
    if record is not None:
        return record if record.make is given else replace(record, make=given)
    parameters = inspect.signature(given).parameters.values()
    wanted = sum(one.default is one.empty for one in parameters)
    name = getattr(given, "__name__", type(given).__name__)
    return LossOf(name, given, 1 if wanted == 1 else 2)
