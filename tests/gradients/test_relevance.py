"""Relevance: what is conserved, and that the network itself is left alone."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy_vit
import pytest
from scipy import special
from sharing import QUICK

from jaxattr import losses
from jaxattr.cli.common import conservation as conserved
from jaxattr.cli.common.targets import Asked
from jaxattr.gradients import relevance
from jaxattr.gradients.sites import image_gradient, in_float64
from jaxattr.methods import METHODS
from jaxattr.vit import Rules, forward, nonlinear

SETS = {
    "conservative": relevance.conservative("gelu"),
    "ours": relevance.chefer("gelu", "ours"),
    "orig": relevance.chefer("gelu", "orig"),
    "attn_lrp": relevance.attn_lrp("gelu"),
    "cp_lrp": relevance.cp_lrp("gelu", None, None),
    "gamma": relevance.cp_lrp("gelu", 0.25, 0.05),
}


@pytest.fixture(scope="module")
def bare(tiny_model):
    """The tiny model without biases, prefix token and positions, which absorb relevance."""

    def clear(path, leaf):
        name = path[-1].key
        cleared = name in ("bias", "patch_bias", "class_token", "positions")
        return jnp.zeros_like(leaf) if cleared else leaf

    parameters = jax.tree_util.tree_map_with_path(clear, tiny_model.parameters)
    return replace(tiny_model, parameters=parameters)


@pytest.mark.parametrize("name", SETS)
def test_rules_change_the_backward_pass_only(name, tiny_model, tiny_images) -> None:
    plain, _ = forward(tiny_model, tiny_images[0])
    ruled, _ = forward(tiny_model, tiny_images[0], rules=SETS[name])
    np.testing.assert_allclose(ruled, plain, rtol=1e-5, atol=1e-5)


def test_rules_are_kept() -> None:
    """Equal arguments give equal rules, so that jitted functions are not compiled again."""
    assert relevance.chefer("gelu", "ours") is SETS["ours"]
    assert relevance.cp_lrp("gelu", 0.25, 0.05) == SETS["gamma"]
    with pytest.raises(ValueError, match="choose ours or orig"):
        inspect.unwrap(relevance.chefer)("gelu", "theirs")


def test_cp_lrp_conserves_without_biases(bare, tiny_images) -> None:
    def total(model, image, loss):
        pixels = image * image_gradient(model, image, loss, rules=SETS["cp_lrp"])
        layers = relevance.conservation(model, image, loss, SETS["cp_lrp"], times_input=True)
        return jnp.append(layers, pixels.sum() / loss(forward(model, image)[0]))

    run = jax.jit(lambda *given: in_float64(total, *given), compiler_options=QUICK)
    np.testing.assert_allclose(run(bare, tiny_images[0], losses.target_logit(1)), 1, rtol=1e-5)


def test_ours_conserves_and_orig_doubles(tiny_model, tiny_images) -> None:
    """The published rules but one keep the sum from block to block; those of `orig` do not."""

    def both(model, image, loss):
        return jnp.stack(
            [relevance.conservation(model, image, loss, SETS[name]) for name in ("ours", "orig")]
        )

    run = jax.jit(lambda *given: in_float64(both, *given), compiler_options=QUICK)
    ours, orig = run(tiny_model, tiny_images[0], losses.target_logit(1))
    np.testing.assert_allclose(ours, 1, rtol=1e-3)
    assert (np.abs(orig - 1) > 0.5).all()


def test_the_gain_is_the_sum_over_the_start() -> None:
    logits, values = np.array([2.0, -4.0, 1.0]), np.array([[3.0, -9.0]])
    assert relevance.gain("derivative", values, logits, losses.target_logit(0)) == 6
    assert relevance.gain("derivative", values, logits, losses.difference(0, 1)) == 3
    assert relevance.gain("product", values, logits, losses.target_logit(1)) == 1.5
    assert relevance.gain("product", values, logits, losses.difference(0, 1)) == 1
    assert relevance.gain("product", values, logits * 0, losses.target_logit(1)) == np.inf


def test_far_too_much_relevance_is_told_in_one_line() -> None:
    asked, logits = [Asked(0, None), Asked(1, 0)], [np.array([2.0, -4.0])] * 2
    maps = np.array([[[30.0, 0.5]], [[1.0, 2.0]]])
    line = conserved.warning(METHODS["lrp"], "logit", asked, logits, maps)
    assert line
    assert "lrp does not conserve relevance: a map sums to 30.5 times" in line
    assert "\n" not in line
    assert conserved.warning(METHODS["lrp"], "difference", asked[1:], logits[1:], maps[1:]) is None
    assert conserved.warning(METHODS["complete"], "logit", asked, logits, 100 * maps) is None


def test_the_default_rules_are_the_network(tiny_model, tiny_images) -> None:
    named = Rules()
    assert all(getattr(named, field) is None for field in named.__dataclass_fields__)
    first = forward(tiny_model, tiny_images[0], rules=named)[0]
    np.testing.assert_array_equal(first, tiny_model.forward(tiny_images[0])[0])


@pytest.fixture(scope="module")
def carrying(tiny_model, tiny_images):
    """Weights, values of each block and last tokens in NumPy, of a model with biases."""
    model = numpy_vit.with_biases(tiny_model)
    w, blocks = numpy_vit.weights(model), []
    x = numpy_vit.embed(w, tiny_images[0])[1] + w["positions"]
    for layer in range(3):
        blocks.append(numpy_vit.block(w[f"blocks_{layer}"], x))
        x = blocks[-1]["out"]
    return model, w, blocks, x


def _arriving(w, blocks, x, parts, first):
    for layer in range(first, 3):
        parts = numpy_vit.carried(w[f"blocks_{layer}"], blocks[layer], parts, 0)
    return numpy_vit.carried_logits(w, x, parts, 0)


def test_conservative_weighs_each_edge_by_what_arrives_along_it(carrying, tiny_images) -> None:
    """What one head carries from one token to another is put alone behind the attention, and
    brought to the logits with all other factors held; these shares are then rolled out."""
    model, w, blocks, x = carrying
    weights = np.array([0.0, 1.0, -0.5, 0.0, 0.0])
    matrices = []
    for layer, kept in enumerate(blocks):
        own, parts = w[f"blocks_{layer}"], np.zeros((2, 7, 7, 7, 12))
        kernel = own["projection"]["kernel"].reshape(2, 6, 12)
        for head, query, key in np.ndindex(2, 7, 7):
            share = kept["a"][head, query, key] * kept["v"][head, key] @ kernel[head]
            parts[head, query, key, query] = share
        parts = numpy_vit.carried_past_attention(own, kept, parts.reshape(98, 7, 12), 0)
        edges = _arriving(w, blocks, x, parts, layer + 1) @ weights
        matrices.append(np.eye(7) + edges.reshape(2, 7, 7).mean(axis=0))
    wanted = (matrices[2] @ matrices[1] @ matrices[0])[0, 1:]
    run = jax.jit(METHODS["conservative"].function, compiler_options=QUICK)
    found = run(model, tiny_images[0], losses.weighted(weights))
    assert (wanted < 0).any()
    assert (wanted > 0).any()
    np.testing.assert_allclose(found.reshape(-1), wanted, rtol=1e-4, atol=1e-5 * abs(wanted).max())


def test_token_relevance_is_what_arrives_from_each_token(carrying, tiny_images) -> None:
    model, w, blocks, x = carrying
    own = np.eye(7)[:, :, None]  # origin, token, feature
    arrived = np.sum(
        [_arriving(w, blocks, x, own * kept["x"], layer) for layer, kept in enumerate(blocks)],
        axis=0,
    )
    run = jax.jit(
        jax.vmap(METHODS["token_relevance"].function, in_axes=(None, None, 0)),
        compiler_options=QUICK,
    )
    found = np.asarray(run(model, tiny_images[0], losses.target_logit(jnp.arange(5))))
    scale = np.abs(arrived).max()
    np.testing.assert_allclose(found.reshape(5, -1), arrived[1:].T, rtol=1e-4, atol=1e-5 * scale)


def test_token_relevance_is_additive(tiny_model, tiny_images) -> None:
    """Linear in the derivative by the logits: the maps of the classes give any pair's, and the
    log-odds' by the other classes' shares."""
    model, image = tiny_model, tiny_images[0]
    run = jax.jit(METHODS["token_relevance"].function, compiler_options=QUICK)
    maps = np.stack([run(model, image, losses.target_logit(c)) for c in range(5)])
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5 * np.abs(maps).max())
    close(run(model, image, losses.difference(1, 3)), maps[1] - maps[3])
    others = np.asarray(forward(model, image)[0], np.float64)
    others[2] = -np.inf
    close(
        run(model, image, losses.log_odds(2)),
        maps[2] - np.tensordot(special.softmax(others), maps, 1),
    )


def test_conservative_relevance_is_complete_without_biases(bare, tiny_images) -> None:
    """In every block the tokens' relevance sums to the logit: 1e-5, in float32."""
    rules = relevance.conservative("gelu")
    run = jax.jit(
        partial(relevance.conservation, rules=rules, times_input=True), compiler_options=QUICK
    )
    np.testing.assert_allclose(run(bare, tiny_images[0], losses.target_logit(1)), 1, rtol=1e-5)


def test_conservative_maps_need_no_float64(tiny_model, tiny_images) -> None:
    given = tiny_model, tiny_images[0], losses.log_odds(1)
    for name in ("conservative", "token_relevance"):
        function = METHODS[name].function
        single = jax.jit(function, compiler_options=QUICK)(*given)
        double = jax.jit(partial(in_float64, function), compiler_options=QUICK)(*given)
        np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-5 * np.abs(double).max())


@pytest.mark.parametrize("name", nonlinear.ACTIVATIONS)
def test_secants_are_the_values_divided_by_the_inputs(name) -> None:
    x = jnp.asarray([-8.0, -1.5, -1e-3, 1e-3, 0.7, 6.0])
    np.testing.assert_allclose(
        nonlinear.SECANTS[name](x), nonlinear.ACTIVATIONS[name](x) / x, rtol=2e-5, atol=1e-7
    )
    assert np.isfinite(nonlinear.SECANTS[name](jnp.zeros(1))).all()
