"""Losses against their formulas, and when they guide."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxattr import heads, losses
from jaxattr.errors import JaxattrError
from jaxattr.vit import ViTConfig

LOGITS = jnp.asarray([2.0, -1.0, 0.5, -3.0])


def test_values() -> None:
    assert losses.target_logit(2)(LOGITS) == 0.5
    assert losses.difference(0, 1)(LOGITS) == 3.0
    assert losses.relative_difference(0, 2)(LOGITS) == 0.75
    assert losses.ratio(0, 2)(LOGITS) == 4.0
    assert losses.against_rest(0)(LOGITS) == pytest.approx(2 - (-1 + 0.5 - 3) / 3)
    shifted = np.exp(np.asarray(LOGITS, np.float64))
    assert losses.log_probability(1)(LOGITS) == pytest.approx(np.log(shifted[1] / shifted.sum()))
    assert losses.weighted(jnp.asarray([1.0, 0.0, 0.0, -1.0]))(LOGITS) == 5.0


def test_log_odds_are_those_of_the_probability() -> None:
    for one in range(4):
        p = special.softmax(np.asarray(LOGITS, np.float64))[one]
        assert losses.log_odds(one)(LOGITS) == pytest.approx(np.log(p / (1 - p)), rel=1e-6)
    assert losses.log_odds(1)(LOGITS[:2]) == losses.difference(1, 0)(LOGITS[:2])
    assert losses.log_odds(0)(LOGITS[:1]) == LOGITS[0]  # one logit is log-odds already
    # Logits of a batch, each with a class of its own.
    several = jax.vmap(lambda loss: loss(LOGITS))(losses.log_odds(jnp.arange(4)))
    np.testing.assert_allclose(several, [losses.log_odds(c)(LOGITS) for c in range(4)], rtol=1e-6)


@pytest.mark.parametrize("large", [1e4, 3e38, -3e38])
def test_log_odds_are_stable(large) -> None:
    """A probability of 1 or 0 in float32 has log-odds and a gradient."""
    logits = jnp.asarray([large / 4, 1.0, 0.5])
    for one in range(3):
        value, gradient = jax.value_and_grad(losses.log_odds(one))(logits)
        assert np.isfinite(value)
        np.testing.assert_allclose(gradient.sum(), 0, atol=1e-6)
        assert gradient[one] == 1
    assert losses.log_odds(0)(logits) == pytest.approx(large / 4 - 1.4740770, rel=1e-6)


def test_classes_are_leaves() -> None:
    """Many classes are one `vmap` and one compilation."""
    traces = []

    @jax.jit
    def value(loss, logits):
        traces.append(1)
        return loss(logits)

    assert [float(value(losses.target_logit(c), LOGITS)) for c in range(4)] == LOGITS.tolist()
    assert len(traces) == 1
    batched = jax.vmap(lambda loss: loss(LOGITS))(
        losses.difference(jnp.arange(4), jnp.zeros(4, int))
    )
    np.testing.assert_array_equal(batched, LOGITS - 2)


@pytest.mark.parametrize("name", ["relative_difference", "ratio"])
def test_is_guiding(name) -> None:
    """Guiding means: descending the loss lowers the first logit and raises the second."""
    for first, second in np.ndindex(4, 4):
        if first == second:
            continue
        gradient = jax.grad(getattr(losses, name)(first, second))(LOGITS)
        guides = bool(gradient[first] > 0) and bool(gradient[second] < 0)
        assert bool(losses.is_guiding(LOGITS, first, second)) == guides


@pytest.mark.parametrize(
    ("problem", "classes", "wanted"),
    [
        ("single_label", 4, "softmax"),
        ("single_label", 1, "sigmoid"),
        ("multi_label", 4, "sigmoid"),
    ],
)
def test_log_odds_of_a_head(problem, classes, wanted) -> None:
    config = ViTConfig(
        image_size=(8, 8),
        patch_size=(4, 4),
        layers=1,
        hidden_size=4,
        heads=1,
        mlp_size=4,
        classes=classes,
        problem=problem,
    )
    logits = np.asarray(LOGITS[:classes], np.float64)
    p = (special.softmax(logits) if wanted == "softmax" else special.expit(logits))[0]
    assert heads.log_odds(config, 0)(LOGITS[:classes]) == pytest.approx(np.log(p / (1 - p)), 1e-6)


def test_a_regression_has_no_odds() -> None:
    config = ViTConfig(
        image_size=(8, 8),
        patch_size=(4, 4),
        layers=1,
        hidden_size=4,
        heads=1,
        mlp_size=4,
        classes=1,
        problem="regression",
    )
    with pytest.raises(JaxattrError, match="no odds; use the logit"):
        heads.log_odds(config, 0)
