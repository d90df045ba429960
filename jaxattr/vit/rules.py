"""The network's functions as values: what a backward pass under other rules exchanges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rules:
    """The functions of the network, exchangeable for LRP-type propagation.

    Sets of rules are in `jaxattr.gradients.relevance`. `None` is the real function; the real
    nonlinear ones have hand-written reverse-mode derivatives, so exchange them for plain `jax.nn`
    ones to use forward mode.
    """

    softmax: Callable[[Any], Any] | None = None
    normalize: Callable[[Any, float], Any] | None = None
    activation: Callable[[Any], Any] | None = None
    affine: Callable[[Any, Any, Any], Any] | None = None
    """Of the normalised tokens, the scale and the bias of a LayerNorm."""
    dense: Callable[[str, Any, Any, Any], Any] | None = None
    """Of a name, the input `[token, in]` or `[in]`, the kernel `[in, out]` and the bias or `None`;
    names are patch, qkv, projection, fc1, fc2, head and head_distilled."""
    scores: Callable[[Any, Any], Any] | None = None
    """Scaled scores of queries and keys."""
    combine: Callable[[Any, Any], Any] | None = None
    """Attention times value."""
    residual: Callable[[Any, Any], Any] | None = None
    """The sum of a skip connection and its branch."""
    positions: Callable[[Any, Any], Any] | None = None
    """The sum of tokens and positions."""
    fork: Callable[[Any], tuple[Any, Any]] | None = None
    """Where a skip connection leaves: `x -> (skip, branch)`."""
