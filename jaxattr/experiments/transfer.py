"""Attention transfer: the attention maps are the only parameters, and a logit is the loss (Fig. 6).

The attention of all layers is taken from one forward pass and then becomes free: nothing computes
it any more, an optimizer changes it. So its gradient is the **frozen** one of `jaxattr.gradients`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.core import Tracer
from jaxtyping import Float, Int, Int32

from jaxattr.errors import JaxattrError
from jaxattr.gradients import readout, to_map
from jaxattr.gradients.corrections import CORRECTIONS, mean_product
from jaxattr.losses import check_loss
from jaxattr.vit import Image, Loss, Model, Taps, ViTConfig, forward
from jaxattr.vit.nonlinear import at_least_float32, softmax

Parameters = Literal["raw", "scores"]
Attention = Float[Array, "layer head token token"]

LEARNING_RATE = 0.0004
"""The paper's."""
PAPER = optax.sgd(LEARNING_RATE)
"""Plain gradient descent with the paper's learning rate; made once, so that it compiles once."""


class Trajectory(NamedTuple):
    """What was seen at the chosen steps; step 0 is the model's own attention."""

    steps: Int[Array, "frame"]
    logits: Float[Array, "frame class"]
    maps: Float[Array, "frame map row column"]
    """Raw maps of the losses that were asked for, each at the attention of its step."""
    moved: Float[Array, "frame layer"]
    """Mean over heads and queries of `½ Σ_key |A - A_0|`: 0 nothing, 1 all of a row's attention."""
    row_error: Float[Array, "frame"]
    """Largest `|Σ_key A - 1|`: how far rows are from being distributions."""
    negative: Float[Array, "frame"]
    """Largest `-A`, zero where no entry is negative."""
    attention: Attention
    """After the last step."""


def transfer(
    model: Model,
    image: Image,
    loss: Loss,
    steps: Int[Array, "frame"] | Int[np.ndarray, "frame"],
    *,
    explain: Loss | None = None,
    ascend: Any = True,
    optimizer: optax.GradientTransformation = PAPER,
    parameters: Parameters = "raw",
    method: str = "complete",
) -> Trajectory:
    """Optimise the attention maps of all layers for a loss, and look on at the given steps.

    One `lax.scan` over the frames, in which a loop runs the steps between two of them: under `jit`
    one compilation serves any image, class and number of steps. Pure; batches are `vmap` or
    `over_images`.

    Args:
        loss: of the logits, for the paper one class's logit.
        steps: step numbers to look at, from `schedule`: not negative, never decreasing.
        explain: losses to draw maps of, one pytree with a leading axis, as
            `losses.target_logit(jnp.array([340, 386]))`; `None` draws that of `loss`.
        ascend: climb the loss, which is what moves the evidence as in Fig. 6 (measured in
            `docs/notebook/transfer.md`), or descend it; may be a traced boolean.
        optimizer: any of optax.
        parameters: `raw` maps, which may leave the simplex; or the `scores` before the softmax,
            whose rows stay distributions.
        method: a key of `MAPS`.

    Raises:
        JaxattrError: an unknown method or kind of parameters, steps that decrease, or a class that
            the model does not have (of traced losses: NaN).
    """
    _check(steps, parameters, method)
    for one in (loss, explain):
        check_loss(one, model.config.classes)
    numbers = jnp.asarray(steps, jnp.int32)
    shown = jax.tree.map(lambda leaf: leaf[None], loss) if explain is None else explain
    start, first = _start(model, image, parameters)

    def logits_of(attention: Array) -> Array:
        replaced = attention.astype(model.config.dtype)
        return forward(model, image, replace=Taps(attention=replaced))[0]

    def objective(values: Array) -> Array:
        value = loss(logits_of(_attention(values, parameters)))
        return jnp.where(ascend, -value, value)

    def update(_: Any, carry: tuple[Array, Any]) -> tuple[Array, Any]:
        values, state = carry
        gradient = jax.grad(objective)(values)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes types; the caller may be strict
            updates, state = optimizer.update(gradient, state, values)
        return jnp.asarray(optax.apply_updates(values, updates)), state

    def frame(carry: tuple[Array, Any], count: Array) -> tuple[tuple[Array, Any], Any]:
        carry = lax.fori_loop(0, count, update, carry)
        attention = _attention(carry[0], parameters)
        logits, maps = _maps(model.config, logits_of, attention, shown, method)
        return carry, (logits, maps, *_measures(attention, start))

    counts = jnp.diff(numbers, prepend=jnp.zeros((1,), jnp.int32))
    (last, _), frames = lax.scan(frame, (first, optimizer.init(first)), counts)
    logits, maps, moved, row_error, negative = frames
    attention = _attention(last, parameters)
    return Trajectory(numbers, logits, maps, moved, row_error, negative, attention)


def schedule(steps: int, every: int, frames: int | None = None) -> Int32[np.ndarray, "frame"]:
    """The step numbers 0, every, 2 every, ..., steps, filled up with `steps` to `frames` entries.

    With a fixed number of frames every number of steps has the same shape and is compiled once;
    each entry that only fills up costs one forward and backward pass.

    Raises:
        JaxattrError: negative steps, `every` below 1, or more frames than `frames`.
    """
    if steps < 0 or every < 1:
        raise JaxattrError(f"{steps} steps, every {every}: wanted at least 0 and at least 1.")
    numbers = [*range(0, steps, every), steps]
    if frames is not None and len(numbers) > frames:
        raise JaxattrError(
            f"{steps} steps, every {every}, are {len(numbers)} frames, more than {frames}; look "
            "less often."
        )
    numbers += [steps] * ((frames or 0) - len(numbers))
    return np.array(numbers, np.int32)


def frozen_maps(
    model: Model, image: Image, explain: Loss, *, method: str = "complete"
) -> Float[Array, "map row column"]:
    """The maps of the first frame: a method with the frozen gradient in place of the total one.

    `explain` has a leading axis, one entry for each map.
    """
    trajectory = transfer(
        model,
        image,
        jax.tree.map(lambda leaf: leaf[0], explain),
        schedule(0, 1),
        explain=explain,
        method=method,
    )
    return trajectory.maps[0]


Weigh = Callable[[Array, Array], Array]
"""From one layer's attention and gradient, `[head, query, token]`, to what is rolled out."""
MAPS: dict[str, Weigh | None] = {
    **{
        kind: lambda attention, gradient, correct=correct: mean_product(
            correct(gradient), attention
        )
        for kind, correct in CORRECTIONS.items()
    },
    "rollout": lambda attention, gradient: attention.mean(axis=-3),
    "raw_attention": None,
}
"""The methods that are functions of attention and gradient; `None`: the last layer alone."""


def _maps(
    config: ViTConfig,
    logits_of: Callable[[Array], Array],
    attention: Attention,
    shown: Loss,
    method: str,
) -> tuple[Array, Array]:
    """Logits, and the maps of several losses from one forward and one batched backward pass."""
    logits, backward = jax.vjp(logits_of, attention)
    weigh = MAPS[method]

    def one(loss: Loss) -> Array:
        if weigh is None:
            return to_map(config, readout(config).astype(attention.dtype) @ attention[-1].mean(0))
        (gradient,) = backward(jax.grad(loss)(logits))
        matrices = weigh(attention, gradient)
        row = readout(config).astype(attention.dtype)
        for layer in range(config.layers - 1, -1, -1):
            row = row + row @ matrices[layer]
        return to_map(config, row)

    return logits, jax.vmap(one)(shown)


def _start(model: Model, image: Image, parameters: Parameters) -> tuple[Array, Array]:
    """The model's own attention, and the parameters that give it; in float32 at least."""
    taps = forward(model, image)[1]
    attention = at_least_float32(taps.attention)
    if parameters == "raw":
        return attention, attention
    query = taps.query * (taps.query.shape[-1] ** -0.5)
    scores = at_least_float32(jnp.einsum("lhqd,lhkd->lhqk", query, taps.key))
    return softmax(scores), scores


def _attention(values: Array, parameters: Parameters) -> Array:
    return values if parameters == "raw" else softmax(values)


def _measures(attention: Array, start: Array) -> tuple[Array, Array, Array]:
    """The columns `moved`, `row_error` and `negative` of a trajectory."""
    moved = jnp.abs(attention - start).sum(axis=-1).mean(axis=(1, 2)) * 0.5
    row_error = jnp.abs(attention.sum(axis=-1) - 1).max()
    return moved, row_error, jnp.maximum(-attention.min(), 0)


def _check(steps: Any, parameters: str, method: str) -> None:
    if parameters not in ("raw", "scores"):
        raise JaxattrError(f"unknown parameters {parameters!r}; choose raw or scores.")
    if method not in MAPS:
        raise JaxattrError(f"no map of {method!r} here; choose from {', '.join(MAPS)}.")
    if isinstance(steps, Tracer):
        return
    numbers = np.asarray(steps)
    if not len(numbers) or numbers[0] < 0 or (np.diff(numbers) < 0).any():
        raise JaxattrError(
            f"steps are {numbers.tolist()[:8]}; wanted numbers from 0 on that never decrease, as "
            "schedule() gives them."
        )
