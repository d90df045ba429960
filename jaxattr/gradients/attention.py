"""Gradients of a loss with respect to the attention: total, frozen, and streamed.

One image at a time; batches are `vmap`, or `over_images`, which also knows what is fast where.
Several losses of one image are `vmap(function, in_axes=(None, None, 0))`: the forward pass, which
does not depend on them, is then run once, and one batched backward pass serves them all. What needs
the gradients of several losses together is a fold over `fold_back`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxattr.vit import (
    Image,
    Logits,
    Loss,
    Map,
    Model,
    Rules,
    Taps,
    ViT,
    ViTConfig,
    apply,
    apply_block,
    check_image,
    forward,
    read_queries,
)
from jaxattr.vit.nonlinear import at_least_float32


class AttentionGradients(NamedTuple):
    """Attention of all layers, and the gradient of a loss with respect to each entry."""

    logits: Logits
    attention: Float[Array, "layer head token token"]
    gradient: Float[Array, "layer head token token"]


class Layer(NamedTuple):
    """What a streamed backward pass sees of one block; what `fold` does not read costs nothing.

    Of several losses at once (`fold_back`) both gradients have an axis of losses in front.
    """

    attention: Float[Array, "head query token"]
    """In the last block `query` counts only the tokens that the head reads."""
    gradient: Float[Array, "*loss head query token"]
    """The total derivative of the loss with respect to each entry of the attention."""
    hidden: Float[Array, "token hidden"]
    """The tokens that the block was given."""
    hidden_gradient: Float[Array, "*loss token hidden"]


class ForwardPass(NamedTuple):
    """What a forward pass leaves for `fold_back`: see `forward_pass`."""

    logits: Logits
    features: Float[Array, "read hidden"]
    head: Callable[..., Any]
    """From the derivative by the logits to that by the last block's tokens."""
    blocks: tuple[tuple[Callable[..., Any], Array, Array], ...]
    """Of each block from `start_layer`: its pullback, its attention, the tokens it was given."""


class Walk(NamedTuple):
    """The result of a streamed backward pass."""

    logits: Logits
    features: Float[Array, "read hidden"]
    """What the head read: the normalised class token (or the patches' mean)."""
    state: Any


def attention_gradients(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    rules: Rules = Rules(),
) -> AttentionGradients:
    """The total derivative `d loss / d A_l`: through the queries and keys of later layers, too.

    What PyTorch hooks give, and what the paper and its peers mean. Stores the gradients of all
    layers; `walk_back` does not. With the rules of `jaxattr.gradients.relevance` the result is the
    relevance of each attention.
    """
    c = model.config
    zeros = jnp.zeros((c.layers, c.heads, c.tokens, c.tokens), c.dtype)

    def run(added: Array) -> tuple[Array, tuple[Array, Array]]:
        logits, taps = forward(model, image, add=Taps(attention=added), rules=rules)
        return loss(logits), (logits, taps.attention)

    gradient, (logits, attention) = jax.grad(run, has_aux=True)(zeros)
    return AttentionGradients(logits, attention, gradient)


def frozen_attention_gradients(model: Model, image: Image, loss: Loss) -> AttentionGradients:
    """The partial derivative `∂ loss / ∂ A_l` with the attention of all other layers held fixed.

    Equal to the total derivative in the last layer only.
    """
    logits, taps = forward(model, image)

    def run(attention: Array) -> Array:
        return loss(forward(model, image, replace=Taps(attention=attention))[0])

    return AttentionGradients(logits, taps.attention, jax.grad(run)(taps.attention))


def walk_back(
    model: Model,
    image: Image,
    loss: Loss,
    fold: Callable[[Any, Layer], Any],
    state: Any,
    *,
    start_layer: int = 0,
    rules: Rules = Rules(),
) -> Walk:
    """Fold over the layers from the last to `start_layer`, as their gradients appear.

    `fold(state, layer) -> state` sees one layer's attention, tokens and total derivatives, which
    are then dropped: memory does not grow with the gradients of all layers. With the rules of
    `jaxattr.gradients.relevance` the derivatives are taken under these.

    Raises:
        ImageError: as `forward`.
        ValueError: `start_layer` does not fit the model.
    """
    run = forward_pass(model, image, start_layer=start_layer, rules=rules)
    state = fold_back(run, jax.grad(loss)(run.logits), fold, state)
    return Walk(run.logits, run.features, state)


def forward_pass(
    model: Model,
    image: Image,
    *,
    start_layer: int = 0,
    rules: Rules = Rules(),
) -> ForwardPass:
    """The first half of `walk_back`, for losses that depend on the logits: see `fold_back`.

    Raises:
        ImageError: as `forward`.
        ValueError: `start_layer` does not fit the model.
    """
    c = model.config
    check_image(model, image)
    check_start_layer(c, start_layer)
    x = apply(model, ViT.embed, image, rules=rules)
    blocks = []
    for layer in range(c.layers):
        if layer < start_layer:
            x, _ = apply_block(model, layer, x, rules=rules)
            continue
        queries = read_queries(c, layer)
        block = partial(_block, model, layer, queries, rules)
        zeros = jnp.zeros((c.heads, queries, c.tokens), c.dtype)
        before = x
        x, block_vjp, attention = jax.vjp(block, x, zeros, has_aux=True)
        blocks.append((block_vjp, attention, before))
    logits, head_vjp, features = jax.vjp(partial(_classify, model, rules), x, has_aux=True)
    return ForwardPass(logits, features, head_vjp, tuple(blocks))


def fold_back(
    run: ForwardPass,
    derivative: Float[Array, "*loss class"],
    fold: Callable[[Any, Layer], Any],
    state: Any,
) -> Any:
    """The second half of `walk_back`: fold over the layers of a forward pass, the last one first.

    Args:
        derivative: of the loss by the logits; of several losses `[loss, class]`, which are walked
            back together, so that `fold` sees the gradients of all.
    """

    def pull(pullback: Callable[..., Any], cotangent: Array) -> Any:
        return (jax.vmap(pullback) if derivative.ndim > 1 else pullback)(cotangent)

    (cotangent,) = pull(run.head, derivative)
    for pullback, attention, hidden in reversed(run.blocks):
        cotangent, gradient = pull(pullback, cotangent)
        state = fold(state, Layer(attention, gradient, hidden, cotangent))
    return state


def rollout_row(
    model: Model,
    image: Image,
    loss: Loss,
    correct: Callable[[Array], Array],
    *,
    start_layer: int = 0,
    rules: Rules = Rules(),
) -> Walk:
    """The head's row of `Π_l (I + E_h(f(∇A_l) ⊙ A_l))`, streamed (paper, Eq. 2-6).

    `state` of the result is the row, `[token]`: contributions of all tokens, prefix included.
    """

    def fold(row: Array, layer: Layer) -> Array:
        return rolled(row, layer.attention, correct(layer.gradient))

    start = readout(model.config)
    return walk_back(model, image, loss, fold, start, start_layer=start_layer, rules=rules)


def rolled(
    row: Float[Array, "token"],
    attention: Float[Array, "head query token"],
    weight: Float[Array, "head query token"],
) -> Float[Array, "token"]:
    """One step of the roll-out: `row · (I + E_h(weight ⊙ attention))`."""
    heads, queries, tokens = attention.shape
    weighted = (weight * attention).reshape(heads * queries, tokens)
    # The mean over heads and the row product in one matrix-vector product.
    return row + jnp.tile(row[:queries] * (1 / heads), heads) @ weighted


def readout(config: ViTConfig) -> Float[Array, "token"]:
    """The row to start from: the class token's (Eq. 3), or the mean of the patches' it reads."""
    tokens = jnp.arange(config.tokens)
    if config.pooling == "class_token":
        return (tokens == 0).astype(config.dtype)
    patches = config.tokens - config.prefix_tokens
    return (tokens >= config.prefix_tokens).astype(config.dtype) * (1 / patches)


def read_rows(
    config: ViTConfig,
) -> tuple[Float[Array, "read token"], Float[Array, "read"]]:
    """Unit rows of the last block's queries that the head reads, and their weights in `readout`."""
    read = read_queries(config, config.layers - 1)
    return jnp.eye(read, config.tokens, dtype=config.dtype), readout(config)[:read]


def feedback_map(
    config: ViTConfig,
    matrices: Float[Array, "layer token token"],
    gradient: Float[Array, "head token token"] | None,
) -> Map:
    """Beyond Intuition's read-out: rollout of `I + M_l`, times `E_h [gradient]+` where given."""
    rows, weights = read_rows(config)
    read = len(rows)
    for matrix in matrices[::-1]:
        rows = rows + rows @ matrix
    if gradient is not None:
        rows = rows * jnp.maximum(gradient, 0).mean(axis=0)[:read]
    return to_map(config, weights @ rows)


def to_map(config: ViTConfig, row: Float[Array, "token"]) -> Map:
    """Drop the prefix tokens and arrange the patches as `[row, column]`, in float32 at least."""
    return arrange(config, row[config.prefix_tokens :])


def arrange(config: ViTConfig, patches: Float[Array, "patch"]) -> Map:
    """The patches as `[row, column]`, in float32 at least."""
    return at_least_float32(patches.reshape(config.grid))


def over_images(function: Callable[..., Any], *batched: Any, chunk_size: int | None = None) -> Any:
    """Map a per-image function over the leading axis of its arguments, as this backend likes it.

    On CPU one image after the other (or `chunk_size` at once), which keeps temporaries in the
    cache, memory flat, and each result independent of its batch; on accelerators all at once.
    """
    if chunk_size is None and jax.default_backend() != "cpu":
        return jax.vmap(function)(*batched)
    return lax.map(lambda one: function(*one), batched, batch_size=chunk_size)


def check_start_layer(config: ViTConfig, start_layer: int) -> None:
    """Raise `ValueError` where the first layer to include is not one of the model's."""
    if not 0 <= start_layer < config.layers:
        raise ValueError(
            f"start_layer is {start_layer}, the model has layers 0 to {config.layers - 1}; "
            f"name the first block to include, counted from 0."
        )


def _block(
    model: Model, layer: int, queries: int, rules: Rules, x: Array, added: Array
) -> tuple[Array, Array]:
    taps = Taps(attention=added)
    x, taps = apply_block(model, layer, x, taps, queries=queries, rules=rules)
    return x, taps.attention


def _classify(model: Model, rules: Rules, x: Array) -> tuple[Array, Array]:
    features = apply(model, ViT.features, x, rules=rules)
    return apply(model, ViT.classify, features, rules=rules), features
