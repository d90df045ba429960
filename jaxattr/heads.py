"""What the logits of a head say: probabilities, and heads of other problems as classifiers.

`ViTConfig.problem` says what was trained. As in transformers' image-classification pipeline:

- `single_label` with two logits or more: one class an image, softmax;
- `single_label` with one logit: the class or not, sigmoid;
- `multi_label`: each class or not, sigmoid;
- `regression`: numbers, without a probability.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import special

from jaxattr import losses
from jaxattr.errors import JaxattrError, LabelError
from jaxattr.vit import Loss, Model, ViTConfig, map_head

Logits = Float[Array, "*batch class"] | Float[np.ndarray, "*batch class"]


def link(config: ViTConfig) -> Literal["softmax", "sigmoid"] | None:
    """The function from logits to probabilities; `None` where there are none (regression)."""
    if config.problem == "regression":
        return None
    return "sigmoid" if config.problem == "multi_label" or config.classes == 1 else "softmax"


def probabilities(config: ViTConfig, logits: Logits) -> Any:
    """The probabilities of logits, `[..., class]`, by the head's own function: see `link`.

    NumPy in, NumPy out, in the logits' precision; JAX in, JAX out.

    Raises:
        JaxattrError: the head is a regression, whose outputs are values.
    """
    function = link(config)
    if function is None:
        raise JaxattrError(
            "this model's head is a regression: its outputs are values, which have no "
            "probability; look at the logits instead."
        )
    if isinstance(logits, np.ndarray):
        return special.softmax(logits, axis=-1) if function == "softmax" else special.expit(logits)
    return jax.nn.softmax(logits) if function == "softmax" else jax.nn.sigmoid(logits)


def log_odds(config: ViTConfig, class_: Any) -> Loss:
    """The loss whose value is the log-odds of one output, `log p / (1 - p)`, by the head's link.

    `losses.log_odds` of a softmax head; of a sigmoid head the logit, which is just that.

    Raises:
        JaxattrError: the head is a regression, whose outputs are values.
    """
    function = link(config)
    if function is None:
        raise JaxattrError(
            "this model's head is a regression: its outputs are values, which have no odds; use "
            "the logit."
        )
    return losses.log_odds(class_) if function == "softmax" else losses.target_logit(class_)


def pair_weight(config: ViTConfig, class_: Any, logits: Float[Array, "class"]) -> Float[Array, ""]:
    """What the log-odds of a class weigh in a difference of two logits, by the head's link.

    With `o_c` the loss of `log_odds`, `∇(l_x - l_y) = w_x ∇o_x - w_y ∇o_y`: whatever is linear in
    the derivative of the loss is known for all pairs where it is known for each class. `w_c` is
    `1 - p_c` of a softmax head, for `∇o_c = (e_c - p) / (1 - p_c)`; of a sigmoid head it is 1.
    Right where `p_c` rounds to 1, too.

    Raises:
        JaxattrError: the head is a regression, whose outputs are values.
    """
    odds = log_odds(config, class_)(logits)
    return jax.nn.sigmoid(-odds) if link(config) == "softmax" else jnp.ones_like(odds)


def classifier(model: Model, task: str) -> Model:
    """The model as one whose softmax names one class an image, for work that needs such a model.

    A head of one logit becomes `two_classes`; a softmax head stays as it is.

    Args:
        task: what asks, for the message.

    Raises:
        JaxattrError: a multi-label head, or a regression.
    """
    if model.config.problem == "single_label" and model.config.classes == 1:
        return two_classes(model)
    check_classifier(model, task)
    return model


def check_classifier(model: Model, task: str) -> None:
    """Raise `JaxattrError` where the model's head is no softmax over two classes or more."""
    config = model.config
    if link(config) == "softmax":
        return
    if config.problem == "single_label":
        raise JaxattrError(
            f"{task} needs a softmax over two classes or more, and this model has one logit; make "
            f"two classes of it with jaxattr.heads.two_classes."
        )
    what = {
        "multi_label": "multi-label: each label is there or not",
        "regression": "a regression: its outputs are values",
    }[config.problem]
    raise JaxattrError(
        f"{task} needs a model that gives each image one class, and this model's head is {what} "
        f"(problem_type in its config.json). Use a single-label classifier; jaxattr explain works "
        f"with this model."
    )


def two_classes(model: Model, index: int = 0, names: tuple[str, str] | None = None) -> Model:
    """One output of a sigmoid head as a softmax over two classes: 0 is "not X", 1 is X.

    Their logits are `-z/2` and `z/2`, so that the softmax is the sigmoid of the output z, and both
    classes have a gradient and therefore a map.

    Args:
        index: which output, of a multi-label head.
        names: the two labels, by default `("not X", "X")` of the output's own label.

    Raises:
        JaxattrError: the head is no sigmoid's.
        LabelError: there is no such output.
    """
    if link(model.config) != "sigmoid":
        raise JaxattrError(
            f"two_classes needs a head whose outputs are each there or not (one logit, or "
            f"multi-label), and this one's problem is {model.config.problem} with "
            f"{model.config.classes} outputs; use the model as it is."
        )
    if not 0 <= index < model.config.classes:
        raise LabelError(f"class index {index} is not between 0 and {model.config.classes - 1}.")
    if names is None:
        own = model.labels[index] if model.labels else f"class {index}"
        names = f"{NOT}{own}", own

    def halves(leaf: Any) -> Array:
        one = jnp.asarray(leaf)[..., index]
        return jnp.stack([-0.5 * one, 0.5 * one], axis=-1)

    return replace(map_head(model, halves, classes=2, problem="single_label"), labels=names)


NOT = "not "
"""Before the label of a one-logit head: the name of its other class."""
