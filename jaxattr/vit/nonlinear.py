"""The functions that `Rules` exchanges; the nonlinear ones with hand-written derivatives.

On CPU these halve the memory traffic of a backward pass. They work under `vmap` and repeated
reverse mode; for forward mode hand the plain `jax.nn` functions to `Rules`. Reductions over the
last axis are dots with a vector of ones (XLA's CPU reductions cost more than they save here), at
the highest precision, so that no accelerator shortens them.
"""

from __future__ import annotations

from math import pi, sqrt

import jax
import jax.numpy as jnp
from jax import Array, lax


def _sum(x: Array) -> Array:
    ones = jnp.ones((x.shape[-1],), x.dtype)
    return jnp.dot(x, ones, precision=lax.Precision.HIGHEST)[..., None]


def mean(x: Array) -> Array:
    """The mean over the last axis, which is kept."""
    return _sum(x) * (1 / x.shape[-1])


def at_least_float32(x: Array) -> Array:
    """Widen half precision, for statistics, exponentials and results; leave the rest alone."""
    return x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)


@jax.custom_vjp
def softmax(scores: Array) -> Array:
    """Softmax over the last axis: `A = e / sum(e)`, `e = exp(S - max S)`."""
    wide = at_least_float32(scores)
    exponential = jnp.exp(wide - lax.stop_gradient(wide.max(axis=-1, keepdims=True)))
    return (exponential / _sum(exponential)).astype(scores.dtype)


def _softmax_forward(scores: Array) -> tuple[Array, Array]:
    attention = softmax(scores)
    return attention, attention


def _softmax_backward(attention: Array, cotangent: Array) -> tuple[Array]:
    weighted = attention * cotangent
    return (weighted - attention * _sum(weighted),)


softmax.defvjp(_softmax_forward, _softmax_backward)


def normalize(x: Array, epsilon: float) -> Array:
    """Subtract the mean and divide by `sqrt(variance + epsilon)`, over the last axis."""
    return _normalize(epsilon, x)


def _statistics(epsilon: float, x: Array) -> tuple[Array, Array]:
    wide = at_least_float32(x)
    centred = wide - mean(wide)
    inverse = lax.rsqrt(mean(centred * centred) + epsilon)
    return centred * inverse, inverse


def _normalize_forward(epsilon: float, x: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    normalized, inverse = _statistics(epsilon, x)
    # The empty array carries the dtype of x to the backward pass.
    return normalized.astype(x.dtype), (normalized, inverse, jnp.zeros((0,), x.dtype))


def _normalize_backward(
    epsilon: float, residuals: tuple[Array, Array, Array], cotangent: Array
) -> tuple[Array]:
    del epsilon
    normalized, inverse, like = residuals
    g = cotangent.astype(normalized.dtype)
    g = inverse * (g - mean(g) - normalized * mean(g * normalized))
    return (g.astype(like.dtype),)


_normalize = jax.custom_vjp(
    lambda epsilon, x: _statistics(epsilon, x)[0].astype(x.dtype), nondiff_argnums=(0,)
)
_normalize.defvjp(_normalize_forward, _normalize_backward)


def normal_distribution(x: Array) -> Array:
    """Φ, the standard normal distribution function: GELU's secant `gelu(x) / x`."""
    # lax.erf, not jax.nn.gelu, which goes through erfc and is slower.
    return (1 + lax.erf(x * sqrt(0.5))) * 0.5


@jax.custom_vjp
def gelu(x: Array) -> Array:
    """The exact GELU, `x Φ(x)` with Φ the standard normal distribution function."""
    return x * normal_distribution(x)


def _gelu_forward(x: Array) -> tuple[Array, Array]:
    return gelu(x), x


def _gelu_backward(x: Array, cotangent: Array) -> tuple[Array]:
    density = jnp.exp(x * x * -0.5) * (1 / sqrt(2 * pi))
    return (cotangent * (normal_distribution(x) + x * density),)


gelu.defvjp(_gelu_forward, _gelu_backward)


def gelu_tanh(x: Array) -> Array:
    """The tanh approximation of GELU."""
    return jax.nn.gelu(x, approximate=True)


def quick_gelu(x: Array) -> Array:
    """`x sigmoid(1.702 x)`, as in CLIP."""
    return x * jax.nn.sigmoid(x * 1.702)


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "relu": jax.nn.relu,
}


SECANTS = {
    "gelu": normal_distribution,
    "gelu_tanh": lambda x: (1 + jnp.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) * 0.5,
    "quick_gelu": lambda x: jax.nn.sigmoid(x * 1.702),
    "relu": lambda x: (x > 0).astype(x.dtype),
}
"""`f(x) / x` of each activation, without the division."""


def affine(normalized: Array, scale: Array, bias: Array) -> Array:
    """The scale and bias of a LayerNorm."""
    return normalized * scale + bias


def dense(name: str, x: Array, kernel: Array, bias: Array | None) -> Array:
    """An affine map; its name does not matter here."""
    del name
    return x @ kernel if bias is None else x @ kernel + bias


def scores(query: Array, key: Array) -> Array:
    """`Q Kᵀ / sqrt(head_dim)`, by scaling the query, which is cheaper than scaling the scores."""
    return jnp.einsum("hqd,hkd->hqk", query * (query.shape[-1] ** -0.5), key)


def combine(attention: Array, value: Array) -> Array:
    """The values' mean by attention, `[head, query, head_dim]`."""
    return jnp.einsum("hqk,hkd->hqd", attention, value)


def fork(x: Array) -> tuple[Array, Array]:
    """A skip connection and its branch, both `x`."""
    return x, x
