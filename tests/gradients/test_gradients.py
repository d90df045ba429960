"""Derivatives against float64 central differences, and the streamed form against the stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattr import losses
from jaxattr.gradients import (
    attention_gradients,
    fold_back,
    forward_pass,
    frozen_attention_gradients,
    over_images,
    rollout_row,
    walk_back,
)
from jaxattr.gradients.corrections import CORRECTIONS, corrected, rollout
from jaxattr.methods import METHODS
from jaxattr.vit import Taps, forward, initialize


def _wide(config, **changes):
    config = replace(config, dtype="float64", **changes)
    model = initialize(config, jax.random.key(2))
    model = jax.tree.map(lambda leaf: (leaf + 0.01) * 8 if leaf.ndim > 1 else leaf, model)
    image = jax.random.normal(jax.random.key(3), (*config.image_size, 3), jnp.float64)
    return model, image


@pytest.mark.parametrize("frozen", [False, True], ids=["total", "frozen"])
@pytest.mark.usefixtures("x64")
def test_central_differences(frozen, tiny_config) -> None:
    model, image = _wide(tiny_config)
    loss = losses.difference(0, 1)
    function = frozen_attention_gradients if frozen else attention_gradients
    result = function(model, image, loss)
    own = result.attention

    @jax.jit
    def value(delta):
        added = Taps(attention=None if frozen else delta)
        replaced = Taps(attention=own + delta if frozen else None)
        return loss(forward(model, image, add=added, replace=replaced)[0])

    step = 1e-5
    # Every entry of one row of each layer and head, and the class token's row.
    for layer, head, query, key in np.ndindex(3, 2, 2, own.shape[-1]):
        delta = jnp.zeros_like(own).at[layer, head, query, key].set(step)
        slope = (value(delta) - value(-delta)) / (2 * step)
        expected = result.gradient[layer, head, query, key]
        scale = np.abs(result.gradient).max()
        assert abs(slope - expected) < 1e-8 * scale


@pytest.mark.usefixtures("x64")
def test_total_equals_frozen_in_the_last_layer_only(tiny_config) -> None:
    model, image = _wide(tiny_config)
    total = attention_gradients(model, image, losses.target_logit(2)).gradient
    frozen = frozen_attention_gradients(model, image, losses.target_logit(2)).gradient
    difference = np.abs(total - frozen).max(axis=(1, 2, 3)) / np.abs(total).max(axis=(1, 2, 3))
    assert difference[-1] < 1e-12
    assert (difference[:-1] > 1e-2).all()


@pytest.mark.parametrize("kind", CORRECTIONS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"distilled": True}, {"pooling": "mean"}, {"pooling": "mean_then_norm", "layers": 1}],
    ids=["class_token", "distilled", "mean", "mean_then_norm"],
)
@pytest.mark.usefixtures("x64")
def test_streamed_equals_stored(kind, changes, tiny_config) -> None:
    """Matrix products of stored gradients, with the head's row on the left."""
    model, image = _wide(tiny_config, **changes)
    stored = attention_gradients(model, image, losses.target_logit(1))
    matrices = corrected(stored.attention, stored.gradient, kind)
    product = np.eye(model.config.tokens)
    for matrix in matrices:
        product = np.asarray(matrix) @ product
    prefix = model.config.prefix_tokens
    class_token = model.config.pooling == "class_token"
    row = product[0] if class_token else product[prefix:].mean(axis=0)
    walk = rollout_row(model, image, losses.target_logit(1), CORRECTIONS[kind])
    np.testing.assert_allclose(walk.state, row, rtol=1e-11, atol=1e-12 * np.abs(row).max())
    np.testing.assert_allclose(walk.logits, stored.logits, rtol=1e-12)
    if class_token:
        np.testing.assert_allclose(rollout(matrices), row, rtol=1e-12)


def test_many_losses_share_one_forward(tiny_model, tiny_images) -> None:
    """Under `vmap` over the loss the forward pass is traced without a batch axis."""
    image, count = tiny_images[0], 4
    complete = METHODS["complete"].function
    many = jax.vmap(complete, in_axes=(None, None, 0))
    loss = losses.target_logit(jnp.arange(count))
    for one, class_ in zip(many(tiny_model, image, loss), range(count), strict=True):
        expected = complete(tiny_model, image, losses.target_logit(class_))
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-5)

    def flops(function, *arguments) -> float:
        analysis: Any = jax.jit(function).lower(*arguments).cost_analysis()
        return analysis["flops"]

    single = flops(complete, tiny_model, image, losses.target_logit(0))
    forward_only = flops(lambda m, i: forward(m, i)[0], tiny_model, image)
    both = flops(many, tiny_model, image, loss)
    assert both < count * single - (count - 1.5) * forward_only


def test_no_gradient_of_all_layers_is_stored(tiny_config) -> None:
    """Temporary memory of the streamed form does not hold `[layer, head, token, token]` twice."""
    config = replace(tiny_config, image_size=(48, 48), layers=8)
    model = initialize(config, jax.random.key(0))
    image, loss = jnp.zeros((48, 48, 3)), losses.target_logit(0)

    def stored(model, image, loss):
        result = attention_gradients(model, image, loss)
        return rollout(corrected(result.attention, result.gradient, "complete"))

    def memory(function):
        analysis: Any = jax.jit(function).lower(model, image, loss).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    one_layer = config.heads * config.tokens**2 * 4
    saved = memory(stored) - memory(METHODS["complete"].function)
    assert saved > (config.layers - 2) * one_layer


def test_over_images(tiny_model, tiny_images) -> None:
    loss = losses.target_logit(jnp.arange(4))
    complete = METHODS["complete"].function

    def run(model, images, loss, chunk_size=None):
        def one(image, loss):
            return complete(model, image, loss)

        return over_images(one, images, loss, chunk_size=chunk_size)

    alone = jax.jit(run)(tiny_model, tiny_images, loss)
    chunked = jax.jit(lambda *a: run(*a, chunk_size=3))(tiny_model, tiny_images, loss)
    np.testing.assert_allclose(alone, chunked, rtol=1e-4, atol=1e-5)
    # On CPU an image's result is bit for bit independent of the batch it came in.
    reordered = jax.jit(run)(
        tiny_model, tiny_images[::-1], losses.target_logit(jnp.arange(4)[::-1])
    )
    np.testing.assert_array_equal(alone, reordered[::-1])


def test_walk_back_order(tiny_model, tiny_images) -> None:
    def fold(shapes, layer):
        assert layer.attention.shape == layer.gradient.shape
        return [*shapes, layer.attention.shape]

    walk = walk_back(tiny_model, tiny_images[0], losses.target_logit(0), fold, [], start_layer=1)
    # The last block first, with the class token as its only query.
    assert walk.state == [(2, 1, 7), (2, 7, 7)]


def test_losses_that_are_walked_back_together(tiny_model, tiny_images) -> None:
    """`fold_back` sees the gradients of all of them: those that each has alone."""

    def collect(seen, layer):
        return [*seen, layer]

    @jax.jit
    def run(model, image):
        passed = forward_pass(model, image, start_layer=1)
        together = fold_back(passed, jnp.eye(5)[jnp.array([3, 1])], collect, [])
        alone = [
            walk_back(model, image, losses.target_logit(class_), collect, [], start_layer=1)
            for class_ in (3, 1)
        ]
        return passed.logits, together, alone

    logits, together, alone = run(tiny_model, tiny_images[0])
    close: Any = {"rtol": 1e-4, "atol": 1e-5}
    for at, walk in enumerate(alone):
        np.testing.assert_allclose(logits, walk.logits, rtol=1e-5)
        for one, other in zip(together, walk.state, strict=True):
            np.testing.assert_allclose(one.attention, other.attention, **close)
            np.testing.assert_allclose(one.hidden, other.hidden, **close)
            np.testing.assert_allclose(one.gradient[at], other.gradient, **close)
            np.testing.assert_allclose(one.hidden_gradient[at], other.hidden_gradient, **close)
