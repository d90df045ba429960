"""Methods without an authors' code to compare with: what their own text makes known."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy_vit
from sharing import QUICK, shared

from jaxattr import losses
from jaxattr.gradients import attention_gradients
from jaxattr.methods.bi_cam import bi_cam
from jaxattr.methods.ca_lig import _token_attributions
from jaxattr.methods.caap import caap
from jaxattr.methods.fullgrad_plus import fullgrad_plus
from jaxattr.vit import Taps, forward, initialize


def test_bi_cam_without_a_temperature_is_attention_times_gradient(tiny_model, tiny_images) -> None:
    """Of the later layers' class token; a high temperature leaves the even mean of the rest."""
    loss = losses.target_logit(1)

    def run(model, image):
        _, attention, gradient = attention_gradients(model, image, loss)
        maps = [bi_cam(model, image, loss, temperature=t) for t in (1.0, 1e6)]
        return maps, attention, gradient

    with shared():
        maps, attention, gradient = jax.jit(run, compiler_options=QUICK)(tiny_model, tiny_images[0])
    weighted = np.einsum("lhk,lhk->k", attention[1:, :, 0], gradient[1:, :, 0])[1:]
    np.testing.assert_allclose(maps[0].reshape(-1), weighted, rtol=1e-4, atol=1e-5)
    even = np.asarray(gradient[1:, :, 0]).sum(axis=(0, 1))[1:] / 7
    np.testing.assert_allclose(maps[1].reshape(-1), even, rtol=1e-3, atol=1e-4)


def test_ca_lig_integrates_along_each_block_s_input(tiny_model, tiny_images, x64) -> None:
    """Over all tokens the gradients sum to the slope along the path, here by differences."""
    model = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), tiny_model)
    model = replace(model, config=replace(model.config, dtype="float64"))
    image, loss = tiny_images[0].astype(jnp.float64), losses.target_logit(1)

    def run(model, image, scales):
        hidden = forward(model, image)[1].hidden
        found = _token_attributions(model, image, loss, hidden, 2, 1)

        def scaled(layer, scale):
            return loss(forward(model, image, add=at_layer(layer, (scale - 1) * hidden))[0])

        def at_layer(layer, values):
            chosen = jnp.arange(len(hidden))[:, None, None] == layer
            return Taps(hidden=jnp.where(chosen, values, 0))

        over = jax.vmap(jax.vmap(scaled, in_axes=(None, 0)), in_axes=(0, None))
        return found, over(jnp.arange(1, 3), scales)

    nodes = (np.array([-1, 1]) / np.sqrt(3) + 1) / 2
    scales = np.concatenate([nodes - 1e-5, nodes + 1e-5])
    found, values = jax.jit(run, compiler_options=QUICK)(model, image, scales)
    slopes = (values[:, 2:] - values[:, :2]) / 2e-5
    np.testing.assert_allclose(found[1:].sum(axis=1), slopes.mean(axis=1), rtol=1e-5, atol=1e-7)
    assert not np.any(found[0])


def test_fullgrad_plus_is_what_each_token_carries(tiny_model, tiny_images) -> None:
    """Attention, deviations and gates held, the network is affine: every token's part is carried
    through it by itself, from each block on, and every bias from where it is added."""
    model, loss = numpy_vit.with_biases(tiny_model), losses.target_logit(1)
    found = jax.jit(fullgrad_plus, compiler_options=QUICK)(model, tiny_images[0], loss)
    w = numpy_vit.weights(model)
    x, blocks = numpy_vit.embed(w, tiny_images[0])[1] + w["positions"], []
    for layer in range(3):
        blocks.append(numpy_vit.block(w[f"blocks_{layer}"], x))
        x = blocks[-1]["out"]
    own = np.eye(7)[:, :, None]  # origin, token, feature

    def logit(parts, first, biases):
        for layer in range(first, 3):
            parts = numpy_vit.carried(w[f"blocks_{layer}"], blocks[layer], parts, biases * own)
        return numpy_vit.carried_logits(w, x, parts, biases * own)[:, 1]

    tokens = [logit(own * blocks[layer]["x"], layer, 0.0) for layer in range(3)]
    wanted = logit(own * 0 * x, 0, 1.0)
    total = (tokens[0] + wanted).sum() + w["head"]["bias"][1]
    np.testing.assert_allclose(total, numpy_vit.logits(w, x)[1])
    wanted = (np.sum(tokens, axis=0) + wanted)[1:]
    np.testing.assert_allclose(found.reshape(-1), wanted, rtol=1e-4, atol=1e-5 * abs(wanted).max())


def test_fullgrad_plus_of_one_block_is_complete(tiny_config) -> None:
    """In a model of the patches' mean, without prefix tokens, only the head's bias is left out."""
    config = replace(tiny_config, layers=1, class_token=False, pooling="mean")
    model = numpy_vit.with_biases(initialize(config, jax.random.key(0)))
    image = jax.random.normal(jax.random.key(1), (8, 12, 3))

    def run(model, image):
        return fullgrad_plus(model, image, losses.target_logit(1)), model.forward(image)[0][1]

    found, logit = jax.jit(run, compiler_options=QUICK)(model, image)
    wanted = logit - model.parameters["head"]["bias"][1]
    np.testing.assert_allclose(found.sum(), wanted, rtol=1e-4)


def test_caap_inserts_one_token_in_a_range_of_blocks(tiny_model, tiny_images) -> None:
    model, loss = numpy_vit.with_biases(tiny_model), losses.target_logit(1)
    w = numpy_vit.weights(model)

    def inputs(image):
        x, seen = numpy_vit.embed(w, image)[1] + w["positions"], []
        for layer in range(3):
            seen.append(x)
            x = numpy_vit.block(w[f"blocks_{layer}"], x)["out"]
        return seen, numpy_vit.logits(w, x)[1]

    source, _ = inputs(tiny_images[0])
    neutral, blank = inputs(0 * tiny_images[0])
    for options, (start, stop) in (({}, (1, 2)), ({"start_layer": 0, "stop_layer": 3}, (0, 3))):
        given = model, tiny_images[0], loss
        found = jax.jit(partial(caap, **options), compiler_options=QUICK)(*given)
        wanted = []
        for token in range(1, 7):
            x = neutral[start].copy()
            for layer in range(start, 3):
                if layer < stop:
                    x[token] = source[layer][token]
                x = numpy_vit.block(w[f"blocks_{layer}"], x)["out"]
            wanted.append(numpy_vit.logits(w, x)[1] - blank)
        largest = np.abs(wanted).max()
        np.testing.assert_allclose(found.reshape(-1), wanted, atol=1e-4 * largest)
