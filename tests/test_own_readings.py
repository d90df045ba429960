"""Methods without an authors' code to compare with: what their own text makes known."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from sharing import QUICK, shared

from jaxattr import losses
from jaxattr.gradients import attention_gradients
from jaxattr.methods.bi_cam import bi_cam
from jaxattr.methods.ca_lig import _token_attributions
from jaxattr.types import Taps
from jaxattr.vit import forward


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
