"""Pixel rewriting: the pixels are the only parameters, a difference of logits the loss (Fig. 11).

This is a targeted adversarial attack in the manner of projected gradient descent, used here to
measure how fragile a decision is. Unlike most, it ends in a picture of 8-bit pixels: each step
looks at the *rounded* picture, and the gradient passes the rounding straight through.

Pixels are the model's input grid, after resize and crop, in grey levels from 0 to 255.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.tree_util import Partial
from jaxtyping import Bool, Float, Int32, UInt8

from jaxattr.errors import ImageError
from jaxattr.heads import check_classifier
from jaxattr.losses import check_classes, check_loss, class_index, pick
from jaxattr.vit import Image, Logits, Loss, Model, Preprocessing, predict

Pixels = UInt8[Array, "height width channel"] | UInt8[np.ndarray, "height width channel"]
Change = Float[Array, "height width channel"]

OPTIMIZER = optax.sign_sgd(0.25)
"""The default: a quarter of a grey level along the gradient's sign, as in projected gradient
descent under an L-infinity budget; made once, so that it compiles once."""
STEPS = 200


class Limits(NamedTuple):
    """What the rewriting may do, and when it ends. All are leaves: changing them compiles nothing.

    Lengths are grey levels (0 to 255), of the 8-bit change.
    """

    linf: Any = float("inf")
    """Largest change of a channel of a pixel; fractions are rounded down."""
    l2: Any = float("inf")
    """Root of the sum of squared changes."""
    total_variation: Any = 0.0
    """Weight of `mean |d change / dx| + |d change / dy|`, grey levels a pixel, in the loss."""
    margin: Any = 1.0
    """Ends when the new class leads every other by this many logits; infinite: never early."""
    mask: Bool[Array, "height width"] | Bool[np.ndarray, "height width"] | None = None
    """Where pixels may change; `None`: everywhere."""


class Problem(NamedTuple):
    """One image, the target class, the loss that is descended, and the limits."""

    pixels: Any
    """8-bit, `[height, width, channel]`."""
    to: Int32[Array, ""]
    loss: Loss
    limits: Limits


class State(NamedTuple):
    """Where a rewriting stands; `advance` resumes from it."""

    change: Change
    """Not rounded: what the optimizer works on."""
    gradient: Change
    optimizer: Any
    step: Int32[Array, ""]
    """Steps done, -1 before the original has been looked at."""
    best: UInt8[Array, "height width channel"]
    """The picture with the largest margin so far."""
    best_step: Int32[Array, ""]
    margin: Float[Array, ""]
    """The logit of the new class minus the largest other one, of `best`."""


class Rewritten(NamedTuple):
    """The best picture that was found."""

    pixels: UInt8[Array, "height width channel"]
    reached: Bool[Array, ""]
    """Whether the margin asked for was reached."""
    margin: Float[Array, ""]
    steps: Int32[Array, ""]
    """Steps done."""
    best_step: Int32[Array, ""]


def rewrite(
    model: Model,
    pixels: Pixels,
    to: Any,
    *,
    loss: Loss | None = None,
    limits: Limits = Limits(),  # noqa: B008  (immutable)
    steps: Any = STEPS,
    optimizer: optax.GradientTransformation = OPTIMIZER,
) -> Rewritten:
    """Change the pixels of one image until the model sees another class, as little as allowed.

    Pure; under `jit` one compilation serves any image, classes, limits and number of steps.
    Batches are `vmap` or `over_images`; each image stops when it is done.

    Args:
        pixels: 8-bit, of the model's input size (`jaxattr.images.fit`).
        to: the target class.
        loss: of the logits, descended; for the paper `losses.difference(old, to)`. `None` is
            `lead_of_others(to)`.
        steps: at most so many updates.
        optimizer: any of optax; its parameters are changes in grey levels.

    Raises:
        JaxattrError: see `pose` and `advance`.
    """
    problem = pose(pixels, to, loss, limits)
    return result(problem, advance(model, problem, start(problem, optimizer), steps, optimizer))


def lead_of_others(to: Any) -> Loss:
    """The largest logit of another class minus that of `to` (Carlini and Wagner 2017)."""
    return Partial(_lead_of_others, class_index(to))


def pose(
    pixels: Pixels,
    to: Any,
    loss: Loss | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> Problem:
    """The problem that `start` and `advance` work on.

    Raises:
        JaxattrError: the pixels are not 8-bit, or the class is no whole number.
    """
    if pixels.dtype != jnp.uint8:
        raise ImageError(
            f"rewrite: the pixels are of type {pixels.dtype}, wanted uint8 grey levels of the "
            "model's input size, as jaxattr.images.fit gives them."
        )
    mask = None if limits.mask is None else jnp.asarray(limits.mask, bool)
    linf, l2, variation, margin = (jnp.asarray(one, jnp.float32) for one in limits[:4])
    target = class_index(to)
    return Problem(
        jnp.asarray(pixels),
        target,
        lead_of_others(target) if loss is None else loss,
        Limits(linf, l2, variation, margin, mask),
    )


def start(problem: Problem, optimizer: optax.GradientTransformation = OPTIMIZER) -> State:
    """No change yet; the original itself is looked at by the first `advance`."""
    nothing = jnp.zeros(problem.pixels.shape, jnp.float32)
    none = jnp.asarray(-1, jnp.int32)
    lowest = jnp.asarray(-jnp.inf, jnp.float32)
    return State(nothing, nothing, optimizer.init(nothing), none, problem.pixels, none, lowest)


def advance(
    model: Model,
    problem: Problem,
    state: State,
    until: Any,
    optimizer: optax.GradientTransformation = OPTIMIZER,
) -> State:
    """Go on to step `until`, or to the margin asked for if that comes first.

    Raises:
        JaxattrError: the model does not give an image one class (a head of one logit, or one label
            of many, is two classes by `heads.two_classes`); or a class that it has not (where it is
            traced, the margin stays at minus infinity).
    """
    check_classifier(model, "rewrite")
    check_classes(problem.to, model.config.classes, what="rewrite: to")
    check_loss(problem.loss, model.config.classes)
    pixels, limits = problem.pixels.astype(jnp.float32), problem.limits

    def objective(change: Array) -> tuple[Array, tuple[Array, Array]]:
        rounded = _rounded(change, limits.l2)
        seen = pixels + change + lax.stop_gradient(rounded - change)
        logits = predict(model, to_input(seen, model.preprocessing)).astype(jnp.float32)
        value = problem.loss(logits) + limits.total_variation * total_variation(change)
        return value, (logits, rounded)

    def going_on(state: State) -> Array:
        return (state.step < until) & (state.margin < limits.margin)

    def step(state: State) -> State:
        with jax.numpy_dtype_promotion("standard"):  # optax mixes types; the caller may be strict
            updates, optimized = optimizer.update(state.gradient, state.optimizer, state.change)
        moved = project(jnp.asarray(optax.apply_updates(state.change, updates)), pixels, limits)
        # The first time round there is no gradient yet: only look.
        change, optimized = jax.tree.map(
            lambda new, old: jnp.where(state.step < 0, old, new),
            (moved, optimized),
            (state.change, state.optimizer),
        )
        gradient, (logits, rounded) = jax.grad(objective, has_aux=True)(change)
        number, margin = state.step + 1, -_lead_of_others(problem.to, logits)
        better = margin > state.margin
        picture = jnp.where(better, (pixels + rounded).astype(jnp.uint8), state.best)
        best_step = jnp.where(better, number, state.best_step)
        margin = jnp.where(better, margin, state.margin)
        return State(change, gradient, optimized, number, picture, best_step, margin)

    return lax.while_loop(going_on, step, state)


def result(problem: Problem, state: State) -> Rewritten:
    """The best picture so far."""
    reached = state.margin >= problem.limits.margin
    return Rewritten(state.best, reached, state.margin, state.step, state.best_step)


def project(change: Change, pixels: Float[Array, "height width channel"], limits: Limits) -> Change:
    """The nearest allowed change: inside the mask, the budgets, and 0 to 255."""
    if limits.mask is not None:
        change = jnp.where(limits.mask[..., None], change, jnp.zeros_like(change))
    bound = jnp.floor(jnp.asarray(limits.linf, change.dtype))
    change = jnp.clip(change, -bound, bound)
    length = jnp.sqrt((change * change).sum())
    change = change * jnp.minimum(1, limits.l2 / jnp.maximum(length, 1e-12))
    return jnp.clip(change, -pixels, 255 - pixels)


def total_variation(change: Change) -> Float[Array, ""]:
    """`mean over pixels and channels of |d/dx| + |d/dy|`, differences of neighbours."""
    down = jnp.abs(jnp.diff(change, axis=0)).sum()
    right = jnp.abs(jnp.diff(change, axis=1)).sum()
    return (down + right) / change.size


def to_input(pixels: Float[Array, "height width channel"], preprocessing: Preprocessing) -> Image:
    """`images.normalize` on the device: `(pixel * rescale - mean) / std`."""
    mean, std = (jnp.array(one, pixels.dtype) for one in (preprocessing.mean, preprocessing.std))
    ordered = pixels[..., ::-1] if preprocessing.order == "bgr" else pixels
    return (ordered * preprocessing.rescale - mean) / std


def _lead_of_others(to: Any, logits: Logits) -> Array:
    others = jnp.where(jnp.arange(logits.shape[0]) == to, -jnp.inf, logits)
    return others.max() - pick(logits, to)


def _rounded(change: Change, l2: Any) -> Change:
    """The change in whole grey levels, shrunk first where rounding would break the L2 budget."""

    def length(scale: Array) -> Array:
        whole = jnp.rint(change * scale)
        return jnp.sqrt((whole * whole).sum())

    def halve(_: Any, low_high: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = low_high
        middle = (low + high) / 2
        fits = length(middle) <= l2
        return jnp.where(fits, middle, low), jnp.where(fits, high, middle)

    one = jnp.ones((), change.dtype)
    low = lax.cond(
        length(one) <= l2,
        lambda: one,
        lambda: lax.fori_loop(0, 12, halve, (jnp.zeros_like(one), one))[0],
    )
    return jnp.rint(change * lax.stop_gradient(low))
