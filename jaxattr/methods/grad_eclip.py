from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxattr.gradients import arrange, readout
from jaxattr.gradients.sites import at_layer
from jaxattr.methods.method import Cost, method
from jaxattr.vit import (
    Image,
    Logits,
    Loss,
    Map,
    Model,
    Taps,
    forward,
    normalized_tokens,
)


@method(
    differentiates="context",
    cost=Cost(forward=1, block=1),
    source="Zhao et al. 2024",
    equals="Grad-Eclip (single head)",
)
def grad_eclip(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    heads: Literal["multi", "single"] = "multi",
    similarity: bool = True,
    strict: bool = False,
) -> Map:
    """Values of the last block weighted by the gradient of its output and by similarity.

    `Σ_d g[d] v[p, d] λ[p]` with `g` the gradient at the class token's context and `λ` the cosine of
    its query with each key, scaled to 0..1 over the patches. Signed: published maps cut off the
    negative part. The authors run the last block with one head as wide as the model, which
    explains another network than the one asked about; by default its own heads are kept.
    Costs one forward pass and a backward pass of one block; twice the forward with one head.
    Source: Zhao et al. 2024 (Grad-ECLIP), the notebook for Vision Transformers.

    Args:
        heads: keep the heads, or see the last block as one head, scaled as before.
        similarity: whether to weight by λ.
        strict: add the residual connection to the normalised tokens, as the notebook does by
            mistake; only with one head.
    """
    if heads not in ("multi", "single") or (strict and heads == "multi"):
        raise ValueError(
            f"heads is {heads!r}, strict is {strict}; choose multi or single, strict with single."
        )
    c, taps = model.config, forward(model, image)[1]
    query, key, value = taps.query[-1], taps.key[-1], taps.value[-1]
    replace = _single_head(model, taps, strict) if heads == "single" else Taps()

    def run(added: Array) -> Array:
        return loss(forward(model, image, add=at_layer(c, -1, context=added), replace=replace)[0])

    gradient = jax.grad(run)(jnp.zeros_like(taps.context[-1])).sum(axis=1)
    patches = jnp.einsum("hd,htd->t", gradient, value)[c.prefix_tokens :]
    if similarity:
        reader = jnp.einsum("t,htd->hd", readout(c), query)
        patches = patches * _similarity(reader, key[:, c.prefix_tokens :])
    return arrange(c, patches)


def single_head_logits(model: Model, image: Image, *, strict: bool = False) -> Logits:
    """What the network answers that the authors explain: its last block has one head.

    Where these logits prefer another class than the model's own, `heads="single"` explains an
    answer that the model does not give. Costs two forward passes.
    """
    replace = _single_head(model, forward(model, image)[1], strict)
    return forward(model, image, replace=replace)[0]


def _single_head(model: Model, taps: Taps, strict: bool) -> Taps:
    c, query, value = model.config, taps.query[-1], taps.value[-1]
    scores = jnp.einsum("hqd,hkd->qk", query, taps.key[-1]) * query.shape[-1] ** -0.5
    attention = jnp.broadcast_to(jax.nn.softmax(scores), (c.heads, c.tokens, c.tokens))
    other = (
        {"hidden": normalized_tokens(model, -1, taps.hidden[-1]), "value": value} if strict else {}
    )
    return at_layer(c, -1, attention=attention, **other)


def _similarity(
    query: Float[Array, "head size"], key: Float[Array, "head patch size"]
) -> Float[Array, "patch"]:
    """The cosine of a query with each key, all heads together, scaled to 0..1; or zeros."""
    lengths = jnp.sqrt((query**2).sum() * (key**2).sum(axis=(0, 2)))
    cosine = jnp.einsum("hd,hpd->p", query, key) / jnp.maximum(lengths, 1e-12)
    low, high = cosine.min(), cosine.max()
    return (cosine - low) / jnp.where(high > low, high - low, 1)
