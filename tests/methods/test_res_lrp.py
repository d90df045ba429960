"""ResLRP against relevance handed from layer to layer in NumPy, nothing of which is a derivative.

The library's rules are backward passes whose derivative, times the value, is the relevance. Here
every step divides relevance among the summands of the value itself, in float64.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy_vit
import pytest
from numpy_vit import dense, norm, normalized
from sharing import QUICK

from jaxattr import losses
from jaxattr.gradients import relevance
from jaxattr.gradients.sites import in_float64
from jaxattr.methods import METHODS

TARGET = 2


@pytest.fixture(scope="module")
def model(tiny_model):
    return numpy_vit.with_biases(tiny_model)


@pytest.fixture(scope="module")
def by_library(model, tiny_images):
    """Maps by gamma, and what cancels, in one compiled function."""

    def run(model, image, loss):
        maps = {g: METHODS["res_lrp"].function(model, image, loss, gamma=g) for g in (0.0, 1.0)}
        plain = METHODS["attn_lrp"].function(model, image, loss)

        def cancelled(model, image, loss):
            rules = (relevance.res_lrp(model.config.activation, g) for g in (0.0, 1.0))
            return jnp.stack([jnp.stack(_two(model, image, loss, one)) for one in rules])

        return maps, plain, in_float64(cancelled, model, image, loss)

    given = model, tiny_images[0], losses.target_logit(TARGET)
    return jax.jit(run, compiler_options=QUICK)(*given)


def _two(model, image, loss, rules):
    return relevance.cancellation(model, image, loss, rules)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_relevance_by_hand(gamma, model, tiny_images, by_library) -> None:
    maps, _, cancelled = by_library
    pixels, found = by_hand(model, np.asarray(tiny_images[0], np.float64), gamma)
    wanted = pixels.reshape(2, 4, 3, 4, 3).sum(axis=(1, 3, 4))
    np.testing.assert_allclose(maps[gamma], wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())
    # values and relevance, layer, attention and MLP
    np.testing.assert_allclose(cancelled[int(gamma)], np.moveaxis(found, -1, 0), rtol=1e-5)


def test_without_a_gamma_it_is_attn_lrp(by_library) -> None:
    maps, plain, _ = by_library
    np.testing.assert_allclose(maps[0.0], plain, rtol=1e-6)
    assert np.abs(maps[1.0] - plain).max() > 1e-2 * np.abs(plain).max()


def test_the_rule_bounds_what_a_sum_amplifies(by_library) -> None:
    values, with_none, with_one = by_library[2][0, 0], by_library[2][0, 1], by_library[2][1, 1]
    assert (by_library[2] >= 1 - 1e-6).all()
    assert values.max() > 1.2, "something cancels"
    assert (with_one <= 3).all(), "1 + 2 / gamma"
    assert with_one.max() < with_none.max()


def test_the_rule_keeps_relevance() -> None:
    """Also where the sum cancels exactly, of numbers of any sign and size."""
    skip = jnp.array([2.0, -2.0, 3.0, 1.0, 0.0, 0.0, 1e-8])
    branch = jnp.array([1.0, 3.0, -1.0, -1.0, 0.0, 5.0, -1e8])
    for gamma in (0.0, 0.25, 1.0, 8.0):
        residual: Any = relevance.res_lrp("gelu", gamma).residual
        total, back = jax.vjp(residual, skip, branch)
        of_skip, of_branch = back(jnp.ones(7))
        first, second = skip * of_skip, branch * of_branch
        np.testing.assert_allclose(first + second, total, rtol=1e-6)
        if gamma:
            most = (1 + 2 / gamma) * np.abs(total) * (1 + 1e-6)
            assert (np.abs(first) + np.abs(second) <= most).all()


def test_with_a_constant_attention_it_is_conserved(tiny_model, tiny_images) -> None:
    """Without biases and prefix tokens, which absorb some, and the softmax, which does not keep it:
    the rules of CP-LRP with this residual."""

    def clear(path, leaf):
        kept = path[-1].key not in ("bias", "patch_bias", "class_token", "positions")
        return leaf if kept else jnp.zeros_like(leaf)

    bare = replace(
        tiny_model,
        parameters=jax.tree_util.tree_map_with_path(clear, tiny_model.parameters),
    )
    residual = relevance.res_lrp("gelu", 1.0).residual
    rules = replace(relevance.cp_lrp("gelu", None, None), residual=residual)

    def shares(model, image, loss):
        return relevance.conservation(model, image, loss, rules, times_input=True)

    run = jax.jit(lambda *given: in_float64(shares, *given), compiler_options=QUICK)
    np.testing.assert_allclose(run(bare, tiny_images[0], losses.target_logit(1)), 1, rtol=1e-5)


def by_hand(model, image, gamma):
    """Relevance of the pixels, and `[layer, 2, 2]` of both residuals' values and relevance."""
    w = numpy_vit.weights(model)
    patches, tokens = numpy_vit.embed(w, image)
    kernel = w["patch_kernel"].reshape(48, 12)
    blocks, x = [], tokens + w["positions"]
    for layer in range(3):
        kept = numpy_vit.block(w[f"blocks_{layer}"], x)
        blocks.append(kept)
        x = kept["out"]
    normed = norm(w["norm"], x[:1])
    logits = dense(w["head"], normed)
    r = np.where(np.arange(5) == TARGET, logits, 0)
    r = _norm_back(w["norm"], x[:1], _back(w["head"], normed, r))
    r = np.concatenate([r, np.zeros_like(x[1:])])
    cancelled = []
    for layer in reversed(range(3)):
        r, found = _backward(w[f"blocks_{layer}"], blocks[layer], r, gamma)
        cancelled.insert(0, found)
    r = (tokens / (tokens + w["positions"]) * r)[1:]
    r = patches * ((r / tokens[1:]) @ kernel.T)
    pixels = r.reshape(2, 3, 4, 4, 3).transpose(0, 2, 1, 3, 4).reshape(8, 12, 3)
    return pixels, np.array(cancelled)


def _backward(w, kept, r, gamma):
    skip, branch, second = _residual(kept["mid"], kept["b2"], r, gamma)
    branch = _back(w["fc1"], kept["n2"], _back(w["fc2"], kept["g"], branch))
    r = skip + _norm_back(w["norm2"], kept["mid"], branch)
    skip, branch, first = _residual(kept["x"], kept["b1"], r, gamma)
    r = _back(w["projection"], kept["merged"], branch)
    share = r.reshape(7, 2, 6).transpose(1, 0, 2) / kept["o"] / 2
    of_v = kept["v"] * (kept["a"].transpose(0, 2, 1) @ share)
    slope = share @ kept["v"].transpose(0, 2, 1)  # relevance of the attention, divided by it
    slope = kept["a"] * (slope - (kept["a"] * slope).sum(axis=-1, keepdims=True)) / 2
    of_q = kept["q"] * (slope @ kept["k"]) / sqrt(6)
    of_k = kept["k"] * (slope.transpose(0, 2, 1) @ kept["q"]) / sqrt(6)
    of_qkv = np.concatenate(
        [part.transpose(1, 0, 2).reshape(7, 12) for part in (of_q, of_k, of_v)], axis=1
    )
    branch = _norm_back(w["norm1"], kept["x"], _back(w["qkv"], kept["n1"], of_qkv))
    return skip + branch, [first, second]


def _residual(skip, branch, r, gamma):
    total = skip + branch
    first, second = (np.where(one * total > 0, 1 + gamma, 1) * one for one in (skip, branch))
    first, second = (one / (first + second) * r for one in (first, second))
    excess = (np.abs(skip) + np.abs(branch)).sum() / np.abs(total).sum()
    return first, second, [excess, (np.abs(first) + np.abs(second)).sum() / np.abs(r).sum()]


def _back(w, x, r):
    y = dense(w, x)
    return x * (np.divide(r, y, out=np.zeros_like(r), where=r != 0) @ w["kernel"].T)


def _norm_back(w, x, r):
    share = r / norm(w, x) * w["scale"] * normalized(w, x)  # of the centred tokens
    centred = x - x.mean(axis=-1, keepdims=True)
    slope = share / centred
    return x * (slope - slope.mean(axis=-1, keepdims=True))
