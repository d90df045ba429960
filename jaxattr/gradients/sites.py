"""Gradients at single places of the network: one layer's attention or tokens, and the pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxattr.vit import (
    Image,
    Loss,
    Map,
    Model,
    Rules,
    Taps,
    ViTConfig,
    check_image,
    forward,
    normalized_tokens,
    project_tokens,
)
from jaxattr.vit.nonlinear import at_least_float32


def last_attention_gradient(
    model: Model, image: Image, loss: Loss
) -> Float[Array, "head token token"]:
    """The gradient with respect to the last layer's attention: one forward, a short backward."""
    c = model.config

    def run(added: Array) -> Array:
        return loss(forward(model, image, add=at_layer(c, -1, attention=added))[0])

    return jax.grad(run)(jnp.zeros((c.heads, c.tokens, c.tokens), c.dtype))


def integrated_last_gradient(
    model: Model, image: Image, loss: Loss, steps: int
) -> Float[Array, "head token token"]:
    """The mean of `last_attention_gradient` on `α image`, `α = k / (steps - 1)`, ends included.

    Not an integral along the attention: there is no completeness. The image is scaled after its
    normalisation, so that `α = 0` is the mean colour.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; give at least 1.")

    def add(total: Array, scale: Array) -> tuple[Array, None]:
        return total + last_attention_gradient(model, scale * image, loss), None

    c = model.config
    zeros = jnp.zeros((c.heads, c.tokens, c.tokens), c.dtype)
    return lax.scan(add, zeros, jnp.linspace(0, 1, steps, dtype=image.dtype))[0] * (1 / steps)


def channels(
    model: Model, image: Image, loss: Loss, site: str, layer: int
) -> tuple[Float[Array, "patch feature"], Float[Array, "patch feature"]]:
    """What class activation maps see: activations of the patches, and the loss's gradient there.

    `"tokens"` is the output of a block's first LayerNorm; `"attention"` is its attention, whose
    channels are all queries of all heads. In a model that reads its class token only this one's
    queries have a gradient in the last block.
    """
    c = model.config
    if not -c.layers <= layer < c.layers:
        raise ValueError(
            f"layer is {layer}, the model has layers 0 to {c.layers - 1}; negative ones count from "
            f"the end."
        )
    if site == "attention":
        activation, gradient = _attention_channels(model, image, loss, layer)
    elif site == "tokens":
        activation, gradient = _token_channels(model, image, loss, layer)
    else:
        raise ValueError(f"site is {site!r}; choose tokens or attention.")
    return activation[c.prefix_tokens :], gradient[c.prefix_tokens :]


def _attention_channels(model: Model, image: Image, loss: Loss, layer: int) -> tuple[Array, Array]:
    c = model.config

    def run(added: Array) -> tuple[Array, Array]:
        logits, taps = forward(model, image, add=at_layer(c, layer, attention=added))
        return loss(logits), taps.attention[layer]

    zeros = jnp.zeros((c.heads, c.tokens, c.tokens), c.dtype)
    gradient, attention = jax.grad(run, has_aux=True)(zeros)
    return attention.reshape(-1, c.tokens).T, gradient.reshape(-1, c.tokens).T


def _token_channels(model: Model, image: Image, loss: Loss, layer: int) -> tuple[Array, Array]:
    c = model.config

    def run(added: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        query, key, value = added
        logits, taps = forward(
            model, image, add=at_layer(c, layer, query=query, key=key, value=value)
        )
        return loss(logits), taps.hidden[layer]

    zeros = jnp.zeros((c.heads, c.tokens, c.hidden_size // c.heads), c.dtype)
    gradients, hidden = jax.grad(run, has_aux=True)((zeros, zeros, zeros))
    # The tokens reach the loss through query, key and value only.
    tokens = normalized_tokens(model, layer, hidden)
    _, pull_back = jax.vjp(partial(project_tokens, model, layer), tokens)
    return tokens, pull_back(gradients)[0]


def image_gradient(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    rules: Rules = Rules(),
) -> Float[Array, "height width channel"]:
    """The gradient of a loss with respect to the pixels; with other rules, their relevance."""
    check_image(model, image)
    return jax.grad(lambda pixels: loss(forward(model, pixels, rules=rules)[0]))(image)


def integrated_image_gradient(
    model: Model, image: Image, loss: Loss, steps: int, quadrature: str, baseline: float
) -> Float[Array, "height width channel"]:
    """The mean of the pixels' gradient on the straight way from a constant image."""
    check_image(model, image)
    if steps < 2 or quadrature not in ("gauss_legendre", "trapezoid"):
        raise ValueError(
            f"quadrature is {quadrature!r} of {steps} steps; choose gauss_legendre or trapezoid, "
            f"and at least 2."
        )
    if quadrature == "trapezoid":
        nodes, weights = np.linspace(0, 1, steps), np.full(steps, 1 / steps)
        weights[[0, -1]] /= 2
    else:
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        nodes, weights = (nodes + 1) / 2, weights / 2

    def add(total: Array, step: tuple[Array, Array]) -> tuple[Array, None]:
        node, weight = step
        point = baseline + node * (image - baseline)
        return total + weight * image_gradient(model, point, loss), None

    path = jnp.asarray(nodes, image.dtype), jnp.asarray(weights, image.dtype)
    return lax.scan(add, jnp.zeros_like(image), path)[0]


def smoothed_image_gradient(
    model: Model,
    image: Image,
    loss: Loss,
    noise: Float[Array, "sample height width channel"],
    change: Callable[[Array], Array],
) -> Float[Array, "height width channel"]:
    """The mean over noisy copies of the pixels' gradient, changed before it is averaged."""

    def add(total: Array, one: Array) -> tuple[Array, None]:
        return total + change(image_gradient(model, image + one, loss)), None

    return lax.scan(add, jnp.zeros_like(image), noise)[0] * (1 / len(noise))


def per_patch(config: ViTConfig, pixels: Float[Array, "height width channel"]) -> Map:
    """Sum pixels and channels over each patch."""
    (rows, columns), (height, width) = config.grid, config.patch_size
    return at_least_float32(pixels.reshape(rows, height, columns, width, -1).sum(axis=(1, 3, 4)))


def in_float64(
    function: Callable[[Model, Image, Loss], Array], model: Model, image: Image, loss: Loss
) -> Array:
    """Run a function of the model in float64 whatever JAX's setting is; float32 comes back.

    A model that is float64 already gets float64 back.
    """
    check_image(model, image)
    if model.config.dtype == "float64":
        return function(model, image, loss)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model.parameters)
        config = dataclasses.replace(model.config, dtype="float64")
        model = dataclasses.replace(model, parameters=wide, config=config)
        return function(model, image.astype(jnp.float64), loss).astype(jnp.float32)


def at_layer(config: ViTConfig, layer: int, **taps: Array) -> Taps:
    """Taps of one layer alone, as `add` and `replace` take them."""
    chosen = layer % config.layers
    return Taps(
        **{
            site: tuple(value if i == chosen else None for i in range(config.layers))
            for site, value in taps.items()
        }
    )
