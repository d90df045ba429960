"""Relevance: what is conserved, and that the network itself is left alone."""

from __future__ import annotations

import inspect
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sharing import QUICK

from jaxattr import losses, relevance
from jaxattr.cli import conserved
from jaxattr.cli.targets import Asked
from jaxattr.sites import image_gradient, in_float64
from jaxattr.types import Rules
from jaxattr.vit import forward

SETS = {
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
    assert relevance.gain("lrp", values, logits, losses.target_logit(0)) == 6
    assert relevance.gain("lrp", values, logits, losses.difference(0, 1)) == 3
    assert relevance.gain("cp_lrp", values, logits, losses.target_logit(1)) == 1.5
    assert relevance.gain("attn_lrp", values, logits, losses.difference(0, 1)) == 1
    assert relevance.gain("cp_lrp", values, logits * 0, losses.target_logit(1)) == np.inf


def test_far_too_much_relevance_is_told_in_one_line() -> None:
    asked, logits = [Asked(0, None), Asked(1, 0)], [np.array([2.0, -4.0])] * 2
    maps = np.array([[[30.0, 0.5]], [[1.0, 2.0]]])
    line = conserved.warning("lrp", "logit", asked, logits, maps)
    assert line
    assert "lrp does not conserve relevance: a map sums to 30.5 times" in line
    assert "\n" not in line
    assert conserved.warning("lrp", "difference", asked[1:], logits[1:], maps[1:]) is None
    assert conserved.warning("complete", "logit", asked, logits, 100 * maps) is None


def test_the_default_rules_are_the_network(tiny_model, tiny_images) -> None:
    named = Rules()
    assert all(getattr(named, field) is None for field in named.__dataclass_fields__)
    first = forward(tiny_model, tiny_images[0], rules=named)[0]
    np.testing.assert_array_equal(first, tiny_model.forward(tiny_images[0])[0])
