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
    return with_residual((CORRECTIONS[kind](gradient) * attention).mean(axis=-3))


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
