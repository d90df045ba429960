"""Detail interpretation: all pair maps at once against a gradient of each, one forward for all."""

from __future__ import annotations

from functools import partial
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattr import losses
from jaxattr.errors import JaxattrError
from jaxattr.experiments.details import details
from jaxattr.methods import complete
from jaxattr.vit import Taps

CLASSES = (3, 0, 4)


def by_gradient(model, image, loss):
    """Eq. 5 by hand: one reverse-mode gradient of one loss, then the product in NumPy."""
    c = model.config
    zeros = jnp.zeros((c.layers, c.heads, c.tokens, c.tokens), jnp.float32)

    def run(added):
        logits, taps = model.forward(image, add=Taps(attention=added))
        return loss(logits), taps.attention

    gradient, attention = (
        np.asarray(one, np.float64) for one in jax.jit(jax.grad(run, has_aux=True))(zeros)
    )
    row = np.zeros(c.tokens)
    row[0] = 1
    for layer in reversed(range(c.layers)):
        row = row @ (np.eye(c.tokens) + (gradient[layer] * attention[layer]).mean(axis=0))
    return row[1:].reshape(c.grid)


def difference(first, second, logits):
    return logits[first] - logits[second]


def relative(first, second, logits):
    return 1 - logits[second] / logits[first]


def test_pair_maps_are_those_of_separate_gradients(tiny_model, tiny_images):
    image = tiny_images[0]
    found = jax.jit(partial(details, method=complete))(tiny_model, image, jnp.array(CLASSES))
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert pairs == list(permutations(CLASSES, 2))
    for (first, second), one in zip(pairs, found.maps, strict=True):
        expected = by_gradient(tiny_model, image, partial(difference, first, second))
        np.testing.assert_allclose(one, expected, atol=2e-4 * np.abs(expected).max())
    np.testing.assert_allclose(found.logits, tiny_model.forward(image)[0], rtol=1e-4, atol=1e-5)


def test_the_map_of_the_pair_turned_round_is_not_the_negative(tiny_model, tiny_images):
    maps = np.asarray(jax.jit(details)(tiny_model, tiny_images[0], jnp.array(CLASSES[:2])).maps)
    assert np.abs(maps[0] + maps[1]).max() > 1e-3 * np.abs(maps).max()


def test_one_forward_pass_serves_all_pairs(tiny_model, tiny_images):
    """Exponentials, of softmax and activation, are forward: none has an axis of the six pairs."""
    jaxpr = jax.make_jaxpr(details)(tiny_model, tiny_images[0], jnp.array(CLASSES))
    shapes = [
        variable.aval.shape
        for equation in _equations(jaxpr.jaxpr)
        if equation.primitive.name == "exp"
        for variable in equation.outvars
    ]
    c = tiny_model.config
    assert (c.heads, c.tokens, c.tokens) in shapes  # the softmax's
    assert all(6 not in shape for shape in shapes), shapes


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for parameter in equation.params.values():
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


def test_another_loss_applies(tiny_model, tiny_images):
    image = tiny_images[0]
    run = jax.jit(lambda *given: details(*given, loss=losses.relative_difference, method=complete))
    found = run(tiny_model, image, jnp.array(CLASSES[:2]))
    for first, second, one in zip(found.first, found.second, found.maps, strict=True):
        expected = by_gradient(tiny_model, image, partial(relative, first, second))
        np.testing.assert_allclose(one, expected, atol=2e-4 * np.abs(expected).max())


def test_fewer_than_two_classes(tiny_model, tiny_images):
    with pytest.raises(JaxattrError, match="at least 2"):
        details(tiny_model, tiny_images[0], jnp.array([1]))
