"""The forward pass: taps, replacement, precision, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattr.vit import Rules, Taps, forward, initialize, predict
from jaxattr.vit.nonlinear import gelu, normalize, softmax

RUN = jax.jit(forward)


def test_taps(tiny_model, tiny_images) -> None:
    logits, taps = RUN(tiny_model, tiny_images[0])
    shapes = {site: value.shape for site, value in taps._asdict().items()}
    heads = (3, 2, 7, 6)
    assert logits.shape == (5,)
    assert shapes == {
        "query": heads,
        "key": heads,
        "value": heads,
        "attention": (3, 2, 7, 7),
        "context": heads,
        "hidden": (3, 7, 12),
    }
    np.testing.assert_allclose(taps.attention.sum(-1), 1, rtol=1e-5)
    scores = jnp.einsum("lhqd,lhkd->lhqk", taps.query, taps.key) / np.sqrt(6).astype(np.float32)
    np.testing.assert_allclose(jax.nn.softmax(scores), taps.attention, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("site", Taps._fields)
def test_replacing_by_its_own_value_changes_nothing(site, tiny_model, tiny_images) -> None:
    logits, taps = RUN(tiny_model, tiny_images[0])
    own = Taps(**{site: getattr(taps, site)})
    again, _ = RUN(tiny_model, tiny_images[0], replace=own)
    np.testing.assert_allclose(logits, again, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("site", Taps._fields)
def test_adding_is_seen_in_the_tap_and_in_the_logits(site, tiny_model, tiny_images) -> None:
    logits, taps = RUN(tiny_model, tiny_images[0])
    value = getattr(taps, site)
    added = (
        jnp.zeros_like(value).at[0].set(0.1 * jax.random.normal(jax.random.key(9), value[0].shape))
    )
    changed, seen = RUN(tiny_model, tiny_images[0], add=Taps(**{site: added}))
    np.testing.assert_allclose(getattr(seen, site)[0], value[0] + added[0], rtol=1e-5, atol=1e-6)
    assert np.abs(changed - logits).max() > 1e-3


def test_knocking_out_a_head(tiny_model, tiny_images) -> None:
    _, taps = RUN(tiny_model, tiny_images[0])
    out = jnp.zeros_like(taps.attention).at[1, 0].set(-taps.attention[1, 0])
    _, seen = RUN(tiny_model, tiny_images[0], add=Taps(attention=out))
    assert np.abs(seen.attention[1, 0]).max() < 1e-6
    assert np.abs(seen.context[1, 0]).max() < 1e-5


def test_wrong_layer_count_is_refused(tiny_model, tiny_images) -> None:
    with pytest.raises(ValueError, match="leading axis of 2, the model has 3"):
        forward(tiny_model, tiny_images[0], add=Taps(attention=jnp.zeros((2, 2, 7, 7))))


def test_unread_taps_cost_nothing(tiny_model, tiny_images) -> None:
    def flops(function):
        analysis: Any = jax.jit(function).lower(tiny_model, tiny_images[0]).cost_analysis()
        return analysis["flops"]

    everything = flops(forward)
    assert flops(lambda m, i: forward(m, i)[0]) <= everything
    compiled = jax.jit(lambda m, i: forward(m, i)[0]).lower(tiny_model, tiny_images[0]).compile()
    analysis: Any = compiled.memory_analysis()
    assert analysis.output_size_in_bytes < 100


def test_plain_rules_give_the_same_logits_and_forward_mode(tiny_model, tiny_images) -> None:
    def plain(x, epsilon):
        return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + epsilon)

    rules = Rules(jax.nn.softmax, plain, lambda x: jax.nn.gelu(x, approximate=False))
    run = lambda image: forward(tiny_model, image, rules=rules)[0]  # noqa: E731
    np.testing.assert_allclose(
        run(tiny_images[0]), RUN(tiny_model, tiny_images[0])[0], rtol=1e-4, atol=1e-5
    )
    _, slope = jax.jvp(run, (tiny_images[0],), (tiny_images[1],))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("function", "plain"),
    [
        (softmax, jax.nn.softmax),
        (gelu, lambda x: jax.nn.gelu(x, approximate=False)),
        (
            lambda x: normalize(x, 1e-6),
            lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6),
        ),
    ],
    ids=["softmax", "gelu", "normalize"],
)
@pytest.mark.usefixtures("x64")
def test_hand_written_derivatives(function, plain) -> None:
    x = jax.random.normal(jax.random.key(0), (3, 5), jnp.float64) * 2
    weight = jax.random.normal(jax.random.key(1), (3, 5), jnp.float64)
    np.testing.assert_allclose(function(x), plain(x), rtol=1e-12, atol=1e-14)
    slope = lambda f: jax.grad(lambda x: (f(x) * weight).sum())  # noqa: E731
    np.testing.assert_allclose(slope(function)(x), slope(plain)(x), rtol=1e-10, atol=1e-12)
    # Twice in reverse mode, and under vmap.
    twice = lambda f: jax.grad(lambda x: (slope(f)(x) ** 2).sum())(x)  # noqa: E731
    np.testing.assert_allclose(twice(function), twice(plain), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        jax.vmap(slope(lambda r: function(r)))(x[:, None, :])[:, 0].shape, (3, 5)
    )


def test_half_precision_is_close(tiny_config, tiny_images) -> None:
    wide = initialize(tiny_config, jax.random.key(4))
    config = replace(tiny_config, dtype="bfloat16")
    narrow = replace(
        wide,
        parameters=jax.tree.map(lambda p: p.astype(jnp.bfloat16), wide.parameters),
        config=config,
    )
    logits, taps = RUN(narrow, tiny_images[0])
    assert logits.dtype == jnp.float32
    assert taps.attention.dtype == jnp.bfloat16
    np.testing.assert_allclose(logits, RUN(wide, tiny_images[0])[0], atol=0.05)


@pytest.mark.parametrize(
    "changes",
    [
        {"distilled": True},
        {"qkv_bias": False},
        {"pooling": "mean"},
        {"pooling": "mean_then_norm", "class_token": False},
        {"patch_size": (2, 6)},
        {"activation": "relu"},
        {"activation": "quick_gelu"},
        {"activation": "gelu_tanh"},
    ],
    ids=str,
)
def test_variants_run(changes, tiny_config, tiny_images) -> None:
    config = replace(tiny_config, **changes)
    model = initialize(config, jax.random.key(0))
    logits, taps = RUN(model, tiny_images[0])
    assert np.isfinite(logits).all()
    assert taps.attention.shape[-1] == config.tokens


def test_the_model_is_a_pytree_of_its_parameters(tiny_model) -> None:
    leaves = jax.tree.leaves(tiny_model)
    assert len(leaves) == len(jax.tree.leaves(tiny_model.parameters))
    doubled = jax.tree.map(lambda leaf: leaf * 2, tiny_model)
    assert doubled.config == tiny_model.config
    assert doubled.labels == tiny_model.labels


@pytest.mark.parametrize("changes", [{}, {"distilled": True}, {"pooling": "mean"}], ids=str)
def test_predict_gives_the_logits_of_forward(changes, tiny_config, tiny_images) -> None:
    model = initialize(replace(tiny_config, **changes), jax.random.key(0))
    expected, _ = RUN(model, tiny_images[0])
    np.testing.assert_allclose(
        jax.jit(predict)(model, tiny_images[0]), expected, rtol=1e-5, atol=1e-6
    )
