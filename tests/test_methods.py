"""The contract: one test over every method there is."""

from __future__ import annotations

import inspect
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxattr.methods
from jaxattr import losses
from jaxattr.methods import METHODS

ALL = pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)


def test_one_file_and_one_row_each() -> None:
    folder = Path(jaxattr.methods.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert files == set(METHODS)
    assert all(name == method.name for name, method in METHODS.items())


@ALL
def test_signature(method) -> None:
    parameters = list(inspect.signature(method.function).parameters.values())
    assert [p.name for p in parameters[:3]] == ["model", "image", "loss"]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[3:])
    assert all(p.default is not p.empty for p in parameters[3:])
    assert method.function.__name__ == method.name
    assert "Source:" in (inspect.getdoc(method.function) or "")
    assert method.source
    assert method.cost


@ALL
def test_shape_sign_and_finiteness(method, tiny_model, tiny_images) -> None:
    values = jax.jit(method.function)(tiny_model, tiny_images[0], losses.difference(1, 2))
    assert values.shape == tiny_model.config.grid
    assert values.dtype == jnp.float32
    assert np.isfinite(values).all()
    assert np.ptp(values) > 0
    if not method.signed:
        assert (np.asarray(values) >= 0).all()
    else:
        assert (np.asarray(values) < 0).any()


@ALL
def test_one_compilation_for_all_classes(method, tiny_model, tiny_images) -> None:
    chex.clear_trace_counter()
    function = jax.jit(chex.assert_max_traces(method.function, n=1))
    maps = [function(tiny_model, tiny_images[0], losses.target_logit(c)) for c in range(5)]
    differ = not np.allclose(maps[0], maps[1], rtol=1e-3)
    assert differ == method.target_dependent


@ALL
def test_vmap_equals_a_loop(method, tiny_model, tiny_images) -> None:
    loss = losses.target_logit(jnp.arange(len(tiny_images)))
    batched = jax.vmap(method.function, in_axes=(None, 0, 0))(tiny_model, tiny_images, loss)
    for i, image in enumerate(tiny_images):
        one = method.function(tiny_model, image, losses.target_logit(i))
        np.testing.assert_allclose(batched[i], one, rtol=2e-4, atol=2e-5)


@ALL
def test_constant_image(method, tiny_model) -> None:
    image = jnp.zeros((*tiny_model.config.image_size, 3))
    assert np.isfinite(method.function(tiny_model, image, losses.target_logit(0))).all()


@ALL
def test_wrong_shape_is_refused(method, tiny_model) -> None:
    with pytest.raises(ValueError, match=r"image has shape \(9, 12, 3\).*\(8, 12, 3\)"):
        method.function(tiny_model, jnp.zeros((9, 12, 3)), losses.target_logit(0))


@pytest.mark.parametrize("name", ["rollout", "positive", "complete", "absolute"])
def test_start_layer(name, tiny_model, tiny_images) -> None:
    function, loss = METHODS[name].function, losses.target_logit(0)
    every = function(tiny_model, tiny_images[0], loss)
    later = function(tiny_model, tiny_images[0], loss, start_layer=1)
    assert not np.allclose(every, later)
    for outside in (3, -1):
        with pytest.raises(ValueError, match="layers 0 to 2"):
            function(tiny_model, tiny_images[0], loss, start_layer=outside)
