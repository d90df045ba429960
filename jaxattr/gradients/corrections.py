"""Equations 1-6 of the paper: corrected attention and its rollout, on arrays alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

Correction = Literal["positive", "complete", "absolute"]

CORRECTIONS: dict[Correction, Callable[[Array], Array]] = {
    "positive": lambda gradient: jnp.maximum(gradient, 0),
    "complete": lambda gradient: gradient,
    "absolute": jnp.abs,
}


def corrected(
    attention: Float[Array, "*layer head query token"],
    gradient: Float[Array, "*layer head query token"],
    kind: Correction,
) -> Float[Array, "*layer query token"]:
    """Weight attention by its own gradient and add the residual: `Ā = I + E_h(f(∇A) ⊙ A)`.

    `f` keeps the positive part (Eq. 4, equal to GAE), all of it (Eq. 5), or its absolute value
    (Eq. 6) of the gradient.
    """
    return with_residual(mean_product(CORRECTIONS[kind](gradient), attention))


def mean_product(
    first: Float[Array, "*layer head query token"], second: Float[Array, "*layer head query token"]
) -> Float[Array, "*layer query token"]:
    """`E_h(first ⊙ second)`, as a product of tensors.

    jaxlib 0.10.2 to 0.11.0 compute `(first * second).mean(axis=-3)` wrongly on CPUs where one
    of the two is batched and the other is not, as under a `vmap` over losses (jax-ml/jax#39103).
    """
    return jnp.einsum("...hqk,...hqk->...qk", first, second) / first.shape[-3]


def with_residual(matrix: Float[Array, "*layer query token"]) -> Float[Array, "*layer query token"]:
    """Add the residual connection: `I + M`."""
    return matrix + jnp.eye(*matrix.shape[-2:], dtype=matrix.dtype)


def rollout(matrices: Float[Array, "layer token token"]) -> Float[Array, "token"]:
    """The class token's row of `Ā_L · Ā_{L-1} · ... · Ā_1` (Eq. 2-3), not normalised.

    As a product of a row with each matrix, `O(token²)` a layer. Entry 0 is the class token's own;
    drop the prefix tokens to have the contributions `C` of the patches.
    """
    row = matrices[-1, 0]
    for matrix in matrices[-2::-1]:
        row = row @ matrix
    return row


def fuse(
    attention: Float[Array, "layer head query token"], how: str
) -> Float[Array, "layer fused query token"]:
    """Heads to one matrix by `"mean"`, `"max"` or `"min"`; `"per_head"` leaves them alone."""
    if how == "per_head":
        return attention
    reduce = {"mean": jnp.mean, "max": jnp.max, "min": jnp.min}
    if how not in reduce:
        raise ValueError(f"head_fusion is {how!r}; choose mean, max, min or per_head.")
    return reduce[how](attention, axis=1, keepdims=True)


def discard(
    matrices: Float[Array, "*stack query token"], ratio: float, *, protect_first: bool = True
) -> Float[Array, "*stack query token"]:
    """Set the smallest entries of each matrix, the share `ratio`, to zero.

    `protect_first` keeps the class token's attention to itself.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"discard_ratio is {ratio}; give a share from 0 to below 1.")
    *stack, query, token = matrices.shape
    count = int(query * token * ratio)
    if count == 0:
        return matrices
    flat = matrices.reshape(*stack, query * token)
    ranks = jnp.argsort(jnp.argsort(flat, axis=-1), axis=-1)
    kept = ranks >= count
    if protect_first:
        kept |= jnp.arange(query * token) == 0
    return jnp.where(kept, flat, jnp.zeros_like(flat)).reshape(matrices.shape)


def divide(
    matrices: Float[Array, "*stack token token"], *, by_column: bool = False
) -> Float[Array, "*stack token token"]:
    """Divide each row by its sum, or zero; `by_column` divides column j by the sum of row j."""
    sums = matrices.sum(axis=-1)
    sums = sums[..., None, :] if by_column else sums[..., None]
    return jnp.where(sums == 0, jnp.zeros_like(matrices), matrices / jnp.where(sums == 0, 1, sums))
