"""Layer-wise relevance propagation: sets of rules under which a backward pass carries relevance.

Under such rules the derivative of a loss at a value of the network *is* the relevance of that
value (Chefer et al.), or must be multiplied by it (the family of AttnLRP, gradient times input).
These quotients are badly conditioned: run them in float64 (`jaxattr.gradients.sites.in_float64`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxattr.vit import Image, Loss, Model, Rules, Taps, forward, nonlinear

Variant = Literal["ours", "orig"]


@cache
def chefer(activation: str, variant: Variant) -> Rules:
    """The rules of Chefer et al. 2021: `"ours"`, of their T-Attr, or `"orig"`, of their full LRP.

    They differ in the quotients of the linear rule, of which `"orig"` has two, so that each linear
    layer doubles the relevance, and in the residual rule, which only `"ours"` renormalises.
    LayerNorm, activation and softmax hand relevance through. Starts from the loss's derivative by
    the logits: a one for `target_logit`, not the logit.
    """
    if variant not in ("ours", "orig"):
        raise ValueError(f"rules are {variant!r}; choose ours or orig.")
    residual = _ruled(jnp.add, _normalized_residual if variant == "ours" else _plain_residual)
    return Rules(
        softmax=_through(nonlinear.softmax),
        normalize=lambda x, epsilon: _through(partial(nonlinear.normalize, epsilon=epsilon))(x),
        activation=_through(nonlinear.ACTIVATIONS[activation]),
        affine=_ruled(nonlinear.affine, lambda r, normalized, scale, bias: (r, None, None)),
        dense=partial(_chefer_dense, variant),
        scores=_ruled(nonlinear.scores, _chefer_scores),
        combine=_ruled(nonlinear.combine, _chefer_combine),
        residual=residual,
        positions=residual,
        fork=_ruled(nonlinear.fork, _chefer_fork),
    )


@cache
def conservative(activation: str) -> Rules:
    """Conservative propagation: attention and LayerNorm's deviation are constants, secants else.

    Under these rules every block is linear at the point where it is, so that a value times its
    derivative is its relevance, and that of a layer's tokens sums to a linear loss but for biases.
    Nothing flows back into queries and keys; the derivative by the attention itself is that of
    `attention ⊙ value`. Well conditioned: no quotient of two small numbers. Of Ali et al. 2022 for
    LayerNorm and attention, of Achtibat et al. 2024 for the activation; Mehri et al. 2025
    (LibraGrad) use the same three for gradient methods.
    """
    secant = nonlinear.SECANTS[activation]
    return Rules(
        softmax=lambda scores: lax.stop_gradient(nonlinear.softmax(scores)),
        normalize=_constant_deviation,
        activation=lambda x: x * lax.stop_gradient(secant(x)),
    )


@cache
def attn_lrp(activation: str) -> Rules:
    """AttnLRP: products share relevance evenly, statistics of LayerNorm are constants."""
    return Rules(
        normalize=_constant_deviation,
        activation=_secant(activation),
        scores=_ruled(nonlinear.scores, partial(_halved, nonlinear.scores)),
        combine=_ruled(nonlinear.combine, partial(_halved, nonlinear.combine)),
    )


@cache
def res_lrp(activation: str, gamma: float) -> Rules:
    """ResLRP: those of AttnLRP, and a gamma rule wherever a branch is added to its skip connection.

    Of `z = a + b` the part whose sign is that of z weighs `1 + gamma`, the other one 1; each takes
    its weighted share of the relevance of z. Relevance is kept, and a sum that nearly cancels hands
    on at most `1 + 2 / gamma` times its magnitude; 0 is `attn_lrp`. Positions are added plainly.
    """
    if not gamma >= 0:
        raise ValueError(f"gamma is {gamma}; give 0, which is AttnLRP, or more.")
    return replace(attn_lrp(activation), residual=_ruled(jnp.add, partial(_gamma_residual, gamma)))


@cache
def cp_lrp(activation: str, gamma_conv: float | None, gamma_linear: float | None) -> Rules:
    """CP-LRP: attention is a constant; with gammas, their rule on patches, MLP and head."""
    dense = None
    if gamma_conv is not None or gamma_linear is not None:
        dense = partial(_gamma_dense, gamma_conv, gamma_linear)
    return Rules(
        normalize=_constant_deviation,
        activation=_secant(activation),
        combine=lambda attention, value: nonlinear.combine(lax.stop_gradient(attention), value),
        dense=dense,
    )


def conservation(
    model: Model, image: Image, loss: Loss, rules: Rules, *, times_input: bool = False
) -> Float[Array, "layer"]:
    """The sum of relevance at the input of each block, divided by what was started from.

    1 everywhere where relevance is conserved. `times_input` is for the rules of AttnLRP and CP-LRP,
    whose relevance is the derivative times the value, and whose start is the loss itself.
    """
    c = model.config
    zeros = jnp.zeros((c.layers, c.tokens, c.hidden_size), c.dtype)

    def run(added: Array) -> tuple[Array, tuple[Array, Array]]:
        logits, taps = forward(model, image, add=Taps(hidden=added), rules=rules)
        value = loss(logits)
        start = value if times_input else jax.grad(loss)(logits).sum()
        return value, (taps.hidden, start)

    relevance, (hidden, start) = jax.grad(run, has_aux=True)(zeros)
    if times_input:
        relevance = relevance * hidden
    return relevance.sum(axis=(1, 2)) / start


class Cancellation(NamedTuple):
    """How much cancels in the sums of skip connections and branches, `[layer, 2]`: of the attention
    and of the MLP. 1 where nothing does."""

    values: Float[Array, "layer 2"]
    """`Σ (|a| + |b|) / Σ |a + b|` of the two summands."""
    relevance: Float[Array, "layer 2"]
    """The same of their relevance: by how much a residual rule amplifies it."""


def cancellation(model: Model, image: Image, loss: Loss, rules: Rules) -> Cancellation:
    """What cancels at each residual sum, under rules whose relevance is the derivative times the
    value.

    Published beside ResLRP as C and A, to tell where relevance grows without being in the network.
    """
    layers = model.config.layers

    def run(probes: Array) -> Array:
        # Blocks add twice each, in this order; the sums come back as derivatives of the probes.
        order = iter(probes.reshape(-1, 2))
        plus = _measured(rules.residual or jnp.add)
        probed = replace(rules, residual=lambda skip, branch: plus(skip, branch, next(order)))
        return loss(forward(model, image, rules=probed)[0])

    found = jax.grad(run)(jnp.zeros((layers, 2, 2), model.config.dtype))
    return Cancellation(found[..., 0], found[..., 1])


Start = Literal["derivative", "product"]
"""What the relevance of pixels starts from at the logits: the loss's derivative, or this times the
logits."""


def gain(
    start: Start,
    values: Float[np.ndarray, "row column"],
    logits: Float[np.ndarray, "class"],
    loss: Loss,
) -> float:
    """How many times what it starts from a map of relevance sums to, both without their signs.

    1 where a loss of one class is conserved; far above 1 a map says where, but not how much. A
    start of both signs, as of a difference, may cancel: below 1 nothing is wrong.
    """
    wide = jnp.asarray(logits, jnp.float32)
    derivative = jax.grad(loss)(wide)
    started = float(jnp.abs(derivative * wide if start == "product" else derivative).sum())
    total = abs(float(np.sum(values, dtype=np.float64)))
    return total / started if started else float("inf") if total else 1.0


def _ruled(function: Callable[..., Any], relevance: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose backward pass is `relevance(of the output, *inputs)`, one for each input."""
    ruled = jax.custom_vjp(function)
    ruled.defvjp(
        lambda *inputs: (function(*inputs), inputs),
        lambda inputs, output: relevance(output, *inputs),
    )
    return ruled


def _through(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return _ruled(function, lambda relevance, x: (relevance,))


def _divide(numerator: Array, denominator: Array) -> Array:
    """The published quotient: 0 for a zero denominator, which is else moved up by 1e-9."""
    moved = denominator + 1e-9
    moved = jnp.where(moved == 0, 1e-9, moved)
    return jnp.where(denominator == 0, jnp.zeros_like(denominator), numerator / moved)


def _signs(x: Array) -> tuple[Array, Array]:
    return jnp.maximum(x, 0), jnp.minimum(x, 0)


def _chefer_dense(variant: Variant, name: str, x: Array, kernel: Array, bias: Array | None) -> Any:
    rule = partial(_patch_rule if name == "patch" else _linear_rule, variant)

    def relevance(output: Array, x: Array, kernel: Array, bias: Array | None) -> Any:
        found = rule(output, x, kernel)
        if name.startswith("head"):
            found = x * _divide(found, x)  # the rule of taking the class token
        return found, None, None

    return _ruled(partial(nonlinear.dense, name), relevance)(x, kernel, bias)


def _linear_rule(variant: Variant, relevance: Array, x: Array, kernel: Array) -> Array:
    """α = 1, β = 0: only products of equal signs carry relevance; the bias carries none."""
    (above, below), (raising, lowering) = _signs(x), _signs(kernel)
    first, second = above @ raising, below @ lowering
    if variant == "ours":
        first = second = first + second
    return above * (_divide(relevance, first) @ raising.T) + below * (
        _divide(relevance, second) @ lowering.T
    )


def _patch_rule(variant: Variant, relevance: Array, x: Array, kernel: Array) -> Array:
    """The z^B rule, with the image's own smallest and largest value as bounds."""
    del variant
    low, high, (raising, lowering) = x.min(), x.max(), _signs(kernel)
    total = x @ kernel - low * raising.sum(axis=0) - high * lowering.sum(axis=0) + 1e-9
    share = relevance / total
    return x * (share @ kernel.T) - low * (share @ raising.T) - high * (share @ lowering.T)


def _chefer_scores(relevance: Array, query: Array, key: Array) -> tuple[Array, Array]:
    share = _divide(relevance, jnp.einsum("hqd,hkd->hqk", query, key))
    return (
        query * jnp.einsum("hqk,hkd->hqd", share, key) / 2,
        key * jnp.einsum("hqk,hqd->hkd", share, query) / 2,
    )


def _chefer_combine(relevance: Array, attention: Array, value: Array) -> tuple[Array, Array]:
    share = _divide(relevance, nonlinear.combine(attention, value))
    return (
        attention * jnp.einsum("hqd,hkd->hqk", share, value) / 2,
        value * jnp.einsum("hqk,hqd->hkd", attention, share) / 2,
    )


def _plain_residual(relevance: Array, skip: Array, branch: Array) -> tuple[Array, Array]:
    share = _divide(relevance, skip + branch)
    return skip * share, branch * share


def _normalized_residual(relevance: Array, skip: Array, branch: Array) -> tuple[Array, Array]:
    first, second = _plain_residual(relevance, skip, branch)
    sums = first.sum(), second.sum()
    total = jnp.abs(sums[0]) + jnp.abs(sums[1])

    def scale(part: Array, own: Array) -> Array:
        return part * _divide(_divide(jnp.abs(own), total) * relevance.sum(), own)

    return scale(first, sums[0]), scale(second, sums[1])


def _gamma_residual(
    gamma: float, derivative: Array, skip: Array, branch: Array
) -> tuple[Array, Array]:
    total = skip + branch
    first, second = (jnp.where(part * total > 0, 1 + gamma, 1.0) for part in (skip, branch))
    weighted = first * skip + second * branch
    # It has the sign of the sum and is no smaller, hence 0 only where there is nothing to share.
    share = derivative * jnp.where(weighted == 0, float(gamma == 0), total / weighted)
    return first * share, second * share


def _measured(plus: Callable[[Array, Array], Array]) -> Callable[[Array, Array, Array], Array]:
    """A sum of two whose probe has as its derivative the two numbers of `Cancellation`."""

    def backward(derivative: Array, skip: Array, branch: Array, probe: Array) -> Any:
        total, pulled = jax.vjp(plus, skip, branch)
        first, second = pulled(derivative)

        def excess(one: Array, other: Array, both: Array) -> Array:
            return (jnp.abs(one).sum() + jnp.abs(other).sum()) / jnp.abs(both).sum()

        values = excess(skip, branch, total)
        found = values, excess(first * skip, second * branch, derivative * total)
        return first, second, jnp.stack(found).astype(probe.dtype)

    return _ruled(lambda skip, branch, probe: plus(skip, branch), backward)


def _chefer_fork(relevance: tuple[Array, Array], x: Array) -> tuple[Array]:
    skip, branch = relevance
    return (x * (_divide(skip, x) + _divide(branch, x)),)


def _constant_deviation(x: Array, epsilon: float) -> Array:
    wide = nonlinear.at_least_float32(x)
    centred = wide - nonlinear.mean(wide)
    inverse = lax.rsqrt(nonlinear.mean(centred * centred) + epsilon)
    return (centred * lax.stop_gradient(inverse)).astype(x.dtype)


def _secant(activation: str) -> Callable[[Array], Array]:
    """An activation whose derivative is its value divided by its input."""
    function = nonlinear.ACTIVATIONS[activation]
    return _ruled(function, lambda r, x: (r * function(x) / (x + 1e-10),))


def _halved(function: Callable[..., Array], relevance: Array, *inputs: Array) -> Any:
    """Each factor of a product gets half: the uniform rule."""
    _, backward = jax.vjp(function, *inputs)
    return backward(relevance / 2)


def _gamma_dense(
    conv: float | None, linear: float | None, name: str, x: Array, kernel: Array, bias: Any
) -> Array:
    gamma = conv if name == "patch" else linear
    if gamma is None or name not in ("patch", "fc1", "fc2", "head", "head_distilled"):
        return nonlinear.dense(name, x, kernel, bias)
    forward_ = partial(nonlinear.dense, name)

    def relevance(output: Array, x: Array, kernel: Array, bias: Any) -> Any:
        return _gamma_rule(gamma, output * forward_(x, kernel, bias), x, kernel, bias), None, None

    return _ruled(forward_, relevance)(x, kernel, bias)


def _gamma_rule(gamma: float, relevance: Array, x: Array, kernel: Array, bias: Any) -> Array:
    """Gamma for inputs and outputs of both signs, divided by the input: a derivative again."""
    (above, below), (raising, lowering) = _signs(x), _signs(kernel)
    up, down = kernel + gamma * raising, kernel + gamma * lowering
    bias = jnp.zeros(kernel.shape[-1], kernel.dtype) if bias is None else bias
    most, least = (bias + gamma * part for part in _signs(bias))
    output = nonlinear.dense("", x, kernel, bias)
    zeros = jnp.zeros_like(relevance)
    high = jnp.where(output > 0, relevance / _stable(above @ up + most + below @ down, 1e-6), zeros)
    low = jnp.where(output < 0, relevance / _stable(above @ down + least + below @ up, 1e-6), zeros)
    found = above * (high @ up.T + low @ down.T) + below * (high @ down.T + low @ up.T)
    return found / _stable(x, 1e-10)


def _stable(x: Array, epsilon: float) -> Array:
    return x + jnp.where(x < 0, -epsilon, epsilon)
