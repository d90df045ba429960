"""Rewriting: how little of the pixels' change takes the label from an image?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int32

from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.probes.lots import known, lots
from jaxattr.audit.probes.store import Question
from jaxattr.vit import Image, Model, predict

if TYPE_CHECKING:
    from jaxattr.audit.probes import Subject

NAME = "rewriting"
VERSION = 1
CLASSES = 3
"""Fewest classes that can be compared."""
STEPS = 8
"""Steps at most; nearly all images need two to four."""
_BEYOND = (1.02, 0.05)
"""Each step goes so much farther than the margin, in parts of it and in logits."""


class Border(NamedTuple):
    """How far the decision border is, as the root mean square change of a pixel's channel."""

    budget: Float[Array, ""]
    """In grey levels, of the change that crossed it."""
    linear: Float[Array, ""]
    """The first step's forecast, `margin / |gradient|`."""
    crossed: Bool[Array, ""]
    to: Int32[Array, ""]
    """The class on the other side."""
    steps: Int32[Array, ""]


class _State(NamedTuple):
    change: Array
    linear: Array
    margin: Array
    rival: Array
    step: Array


def questions(analysis: Analysis) -> list[Question]:
    """One question an image that the model gets right, of classes that it knows; see `lots`.

    None where fewer than three classes have enough of them: there is nothing to compare with.
    """
    columns = analysis.ledger.read("index", "label", "prediction")
    right = (columns["label"] == columns["prediction"]) & known(analysis.posterior)
    index, label = columns["index"][right], columns["label"][right]
    drawn = lots(label)
    if len(drawn) < CLASSES:
        return []
    return [
        {"label": class_, "image": image}
        for class_, members in drawn
        for image in index[members].tolist()
    ]


def answer(subject: Subject, question: Question) -> dict[str, Any]:
    """The smallest change found that takes the label away, see `border`."""
    pixels = jnp.asarray(subject.image(question["image"]))
    found = jax.tree.map(np.asarray, _border(subject.model, pixels, question["label"]))
    return {
        "budget": round(float(found.budget), 6),
        "linear": round(float(found.linear), 6),
        "crossed": bool(found.crossed),
        "to": int(found.to),
        "steps": int(found.steps),
    }


def border(model: Model, image: Image, label: Any) -> Border:
    """Step across the nearest decision border, as the margin's gradient forecasts it.

    Each step adds `-(1.02 margin + 0.05) g / |g|²`, with g the gradient of the margin
    `l_label - max_other`, until another class leads: for a linear network one step of about the
    smallest L2 norm there is. The result is an upper bound of the true smallest one: there is a
    picture, in fractions of grey levels and not clipped to 0 to 255, that proves it. Costs a
    forward and a backward pass a step, and one more. Source: Moosavi-Dezfooli et al. 2016
    (DeepFool), with the strongest rival for the nearest.
    """
    scale = model.preprocessing.rescale / np.asarray(model.preprocessing.std)
    per_level = jnp.asarray(scale, image.dtype)
    target = jnp.asarray(label, jnp.int32)

    def margin(change: Array) -> tuple[Array, Array]:
        logits = predict(model, image + change * per_level).astype(jnp.float32)
        others = jnp.where(jnp.arange(logits.shape[0]) == target, -jnp.inf, logits)
        return logits[target] - others.max(), others.argmax().astype(jnp.int32)

    def look(change: Array) -> tuple[Array, Array, Array]:
        (value, rival), gradient = jax.value_and_grad(margin, has_aux=True)(change)
        return value, rival, gradient

    def going_on(carry: tuple[_State, Array]) -> Array:
        state, _ = carry
        return (state.margin > 0) & (state.step < STEPS)

    def step(carry: tuple[_State, Array]) -> tuple[_State, Array]:
        state, gradient = carry
        squared = jnp.maximum((gradient * gradient).sum(), jnp.finfo(jnp.float32).tiny)
        ahead = _BEYOND[0] * state.margin + _BEYOND[1]
        change = state.change - (ahead / squared) * gradient
        value, rival, gradient = look(change)
        return state._replace(
            change=change, margin=value, rival=rival, step=state.step + 1
        ), gradient

    nothing = jnp.zeros_like(image)
    value, rival, gradient = look(nothing)
    size = jnp.sqrt(jnp.asarray(image.size, jnp.float32))
    linear = value / jnp.sqrt((gradient * gradient).sum()) / size
    begun = _State(nothing, linear, value, rival, jnp.zeros((), jnp.int32))
    state, _ = lax.while_loop(going_on, step, (begun, gradient))
    length = jnp.sqrt((state.change * state.change).sum()) / size
    return Border(length, state.linear, state.margin <= 0, state.rival, state.step)


_border = jax.jit(border)
