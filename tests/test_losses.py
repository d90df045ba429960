"""Losses against their formulas, and when they guide."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattr import losses

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
