"""The contract: one test over every method there is."""

from __future__ import annotations

import ast
import inspect
import pickle
from collections import Counter
from dataclasses import replace
from functools import cache, partial, wraps
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import FULL
from sharing import QUICK, shared

import jaxattr.methods
from jaxattr import losses
from jaxattr.errors import JaxattrError
from jaxattr.methods import METHODS, Cost, Method, complete, method, resolve, resolve_all
from jaxattr.vit import ViTConfig, initialize

ALL = pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
TRACES: Counter[str] = Counter()
REFUSED: dict[str, Exception] = {}
# Where the defaults mean hundreds of forward passes.
SMALL: dict[str, dict[str, Any]] = {
    "rise": {"masks": 16, "cells": 3, "probability": 0.5},
    "tis": {"masks": 12},
    "ca_lig": {"steps": 2},
}


@cache
def compiled(name: str, **options: object):
    """A method with options, jitted once for all tests."""
    return jax.jit(partial(METHODS[name].function, **options), compiler_options=QUICK)


def every(model, image, loss):
    """All methods in one function, so that they share what they have in common."""
    maps = {}
    for name, one in METHODS.items():
        TRACES[name] += 1
        try:
            maps[name] = one.function(model, image, loss, **SMALL.get(name, {}))
        except Exception as error:
            REFUSED[name] = error
    return maps


@pytest.fixture(scope="module")
def classes(tiny_model, tiny_images):
    """By method, maps of the first image for all classes, of a constant one, and of the second."""
    function = jax.jit(every, compiler_options=QUICK)
    with shared():
        found = [function(tiny_model, tiny_images[0], losses.target_logit(c)) for c in range(5)]
        image = jnp.zeros((*tiny_model.config.image_size, 3))
        found.append(function(tiny_model, image, losses.target_logit(0)))
        found.append(function(tiny_model, tiny_images[1], losses.target_logit(3)))
    return jax.tree.map(lambda *maps: np.stack(maps), *found)


@pytest.fixture(scope="module")
def batched(tiny_model, tiny_images):
    """The maps of two images for their own classes, by `vmap`."""
    function = jax.jit(jax.vmap(every, in_axes=(None, 0, 0)), compiler_options=QUICK)
    with shared():
        return function(tiny_model, tiny_images[:2], losses.target_logit(jnp.array([1, 3])))


def test_one_file_each_and_the_stub_names_them() -> None:
    folder = Path(jaxattr.methods.__file__).parent
    files = {path.stem for path in folder.glob("[a-z]*.py")} - {"method", "views"}
    assert files == set(METHODS)
    assert all(name == method.name for name, method in METHODS.items())
    tree = ast.parse((folder / "__init__.pyi").read_text(encoding="utf-8"))
    names = {
        name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "jaxattr.methods.method"
        for name in [(node.module or "").rpartition(".")[2]]
        if [alias.asname for alias in node.names] == [name]
    }
    assert names == set(METHODS)
    others = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert all(inspect.isfunction(getattr(jaxattr.methods, name)) for name in names | others)


def test_the_decorator_leaves_a_plain_function() -> None:
    for name, one in METHODS.items():
        function = getattr(jaxattr.methods, name)
        assert function is one.function
        assert pickle.loads(pickle.dumps(function)) is function
        assert resolve(function) is resolve(name) is resolve(one) is one


def mine(model, image, loss):
    """A map of one's own."""
    return complete(model, image, loss, start_layer=1)


def test_a_function_of_ones_own_is_a_method() -> None:
    one = resolve(mine)
    assert (one.name, one.function, one.signed, one.target_dependent) == ("mine", mine, True, True)
    found = resolve(f"{__name__}:mine")
    assert found == one
    said = method(signed=False, cost=Cost(forward=2, backward=1, block=3, flow=1))(partial_of_mine)
    assert said is partial_of_mine
    assert (resolve(said).signed, str(resolve(said).cost)) == (False, "2F + 1B + 3b + 1S")
    assert resolve(said).forwards == 104
    later = resolve(partial(complete, start_layer=1))
    assert (later.name, later.signed, str(later.cost)) == (
        "complete(start_layer=1)", True, "unknown",
    )  # fmt: skip


def partial_of_mine(model, image, loss):
    return mine(model, image, loss)


def test_a_known_name_is_never_another_function() -> None:
    def complete(model, image, loss):
        return mine(model, image, loss)

    name = f"{__name__}:test_a_known_name_is_never_another_function.<locals>.complete"
    assert resolve(complete).name == name
    wrapped = wraps(METHODS["complete"].function)(complete)
    assert resolve(wrapped).function is wrapped
    assert resolve(wrapped).name != "complete"
    again = Method("mine", complete)
    with pytest.raises(JaxattrError, match="two methods have the name mine; give one another"):
        resolve_all([mine, again])
    assert resolve_all([mine, "complete", mine]) == (resolve(mine), METHODS["complete"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nonsense", "unknown method nonsense; choose from conservative, .*, or write package.mod"),
        ("no_such_module:f", "no_such_module cannot be imported .ModuleNotFoundError"),
        ("json:nothing", "json has no function nothing"),
        ("json:__doc__", "json has no function __doc__"),
        ("a b:c", "names no method; write package.module:function"),
        (":c", "names no method; write package.module:function"),
    ],
)
def test_what_is_no_method(word, message) -> None:
    with pytest.raises(JaxattrError, match=message) as caught:
        resolve(word)
    assert "\n" not in str(caught.value)


@ALL
def test_signature(method) -> None:
    parameters = list(inspect.signature(method.function).parameters.values())
    assert [p.name for p in parameters[:3]] == ["model", "image", "loss"]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[3:])
    assert all(p.default is not p.empty for p in parameters[3:])
    assert method.function.__name__ == method.name
    documentation = inspect.getdoc(method.function) or ""
    assert "Source:" in documentation
    assert "pass" in documentation
    for parameter in parameters[3:]:
        assert f"\n    {parameter.name}:" in documentation
    assert method.source
    assert method.forwards >= 1


@ALL
def test_shape_sign_and_classes(method, tiny_model, classes) -> None:
    """One trace serves all classes; a constant image gives numbers, too."""
    if method.name in REFUSED:
        raise REFUSED[method.name]
    maps = classes[method.name]
    assert maps.shape == (7, *tiny_model.config.grid)
    assert maps.dtype == jnp.float32
    assert np.isfinite(maps).all()
    maps = maps[:5]
    assert np.ptp(maps[0]) > 0
    assert (maps < 0).any() == method.signed
    differ = not np.allclose(maps[0], maps[1], rtol=1e-3)
    assert differ == method.target_dependent


@ALL
def test_vmap_equals_a_loop(method, classes, batched) -> None:
    for found, alone in zip(batched[method.name], classes[method.name][[1, 6]], strict=True):
        np.testing.assert_allclose(found, alone, rtol=2e-4, atol=2e-5 * np.abs(alone).max())
    assert TRACES[method.name] == 2, "once by itself, once under vmap, whatever the classes"


@ALL
def test_wrong_shape_is_refused(method, tiny_model) -> None:
    with pytest.raises(ValueError, match=r"image has shape \(9, 12, 3\).*\(8, 12, 3\)"):
        jax.eval_shape(method.function, tiny_model, jnp.zeros((9, 12, 3)), losses.target_logit(0))


STARTING = [
    name
    for name, method in METHODS.items()
    if "start_layer" in inspect.signature(method.function).parameters
]


@pytest.mark.parametrize("name", STARTING)
def test_start_layer_outside(name, tiny_model, tiny_images) -> None:
    for outside in (3, -1):
        function = partial(METHODS[name].function, start_layer=outside)
        with pytest.raises(ValueError, match="layers 0 to 2"):
            jax.eval_shape(function, tiny_model, tiny_images[0], losses.target_logit(0))


@pytest.mark.parametrize("name", ["rollout", "complete"])
def test_start_layer(name, tiny_model, tiny_images) -> None:
    given = tiny_model, tiny_images[0], losses.target_logit(0)
    later = compiled(name, start_layer=1)(*given)
    assert not np.allclose(compiled(name)(*given), later)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rollout", {"head_fusion": "median"}, "choose mean, max, min or per_head"),
        ("rollout", {"discard_ratio": 1.0}, "from 0 to below 1"),
        ("positive", {"clamp": "never"}, "choose before or after"),
        ("grad_cam", {"layer": 3}, "layers 0 to 2"),
        ("layer_cam", {"site": "pixels"}, "choose tokens or attention"),
        ("legrad", {"layers": 4}, "the model has 3"),
        ("grad_eclip", {"strict": True}, "strict with single"),
        ("bi_cam", {"temperature": 0.0}, "above 0"),
        ("ca_lig", {"steps": 0}, "at least 1"),
        ("dix", {"layers": (4,)}, "to 3"),
        ("tam", {"steps": 0}, "at least 1"),
        ("lrp", {"method": "first_layer"}, "choose from full"),
        ("res_lrp", {"gamma": -1.0}, "0, which is AttnLRP, or more"),
        ("integrated_gradients", {"steps": 1}, "at least 2"),
        ("smooth_grad", {"samples": 0}, "at least 1"),
        ("attention_flow", {"chunk_size": 0}, "at least 1"),
        ("caap", {"stop_layer": 1}, "give 2 to 3, for the first"),
        ("rise", {"masks": 0}, "at least 1"),
        ("rise", {"chunk_size": 0}, "at least 1"),
        ("tis", {"masks": 37}, "has 36 features"),
        ("tis", {"tokens_ratio": 0.1}, "leaves 0 of 6"),
        ("tis", {"ablation": "words"}, "choose tokens or pixels"),
        ("vit_cx", {"threshold": 0.0}, "above 0"),
        ("vit_cx", {"layer": 3}, "layers 0 to 2"),
    ],
)
def test_bad_options(name, options, message, tiny_model, tiny_images) -> None:
    # Without the checks of types that tests run with, which would be first.
    function = partial(inspect.unwrap(METHODS[name].function), **options)
    with pytest.raises(ValueError, match=message) as caught:
        jax.eval_shape(function, tiny_model, tiny_images[0], losses.target_logit(0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rollout", {"head_fusion": "max"}),
        ("gradient_rollout", {}),
        ("grad_eclip", {"heads": "single"}),
        ("dix", {"layers": (2,), "steps": 2}),
    ],
)
def test_strict_keeps_the_mistakes_apart(name, options, tiny_model, tiny_images) -> None:
    """What the authors' code gets wrong is there for comparison, and changes the map."""
    given = tiny_model, tiny_images[0], losses.target_logit(0)
    mended = options | ({"row_normalize": True} if name == "rollout" else {})
    right, wrong = (
        np.asarray(compiled(name, **these)(*given))
        for these in (mended, options | {"strict": True})
    )
    assert np.abs(right - wrong).max() > 1e-3 * np.abs(right).max()


@pytest.mark.parametrize(
    "change",
    [
        {"layers": 1, "heads": 1, "class_token": False, "pooling": "mean"},
        {"layers": 2, "distilled": True},
    ],
    ids=["one layer and head, no class token", "distilled"],
)
def test_other_networks(change, tiny_config, monkeypatch) -> None:
    """Nothing depends on the sizes, the prefix tokens or what the head reads."""
    config = replace(tiny_config, **change)
    model = jax.eval_shape(lambda: initialize(config, jax.random.key(0)))
    image = jax.ShapeDtypeStruct((*config.image_size, 3), jnp.float32)
    monkeypatch.setitem(globals(), "TRACES", Counter())
    monkeypatch.setitem(globals(), "REFUSED", {})
    with shared():
        maps = jax.eval_shape(every, model, image, losses.target_logit(1))
    assert not REFUSED
    assert {one.shape for one in maps.values()} == {config.grid}
    assert set(maps) == set(METHODS)


def test_finer_cam_is_grad_cam_of_its_loss(tiny_model, tiny_images) -> None:
    """The published formula by hand; against nothing, and against one class, it is known."""
    finer, plain = METHODS["finer_cam"].function, METHODS["grad_cam"].function
    loss = losses.target_logit(1)

    def run(model, image):
        logits = model.forward(image)[0]
        nearest = jnp.argsort(jnp.abs(logits - logits[1]))

        def by_hand(logits):
            weights = [jax.nn.softmax(logits)[nearest[i]] for i in (1, 2, 3)]
            terms = [w * (logits[1] - logits[nearest[i + 1]]) for i, w in enumerate(weights)]
            return sum(terms) / (sum(weights) + 1e-9)

        return (
            (finer(model, image, loss), plain(model, image, by_hand)),
            (finer(model, image, loss, alpha=0.0), plain(model, image, loss)),
            (
                finer(model, image, loss, comparisons=(1,)),
                plain(model, image, lambda logits: logits[1] - logits[nearest[1]]),
            ),
        )

    with shared():
        pairs = jax.jit(run, compiler_options=QUICK)(tiny_model, tiny_images[0])
    for found, wanted in pairs:
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


SHARED_ATTENTION = ("gradient_rollout", "positive")


@pytest.mark.parametrize("name", SHARED_ATTENTION)
def test_many_losses_at_once_equal_one_by_one(name) -> None:
    """At a size where some XLA versions fuse a product of heads wrongly (jax-ml/jax#39103)."""
    config = ViTConfig((96, 96), (8, 8), 32, 2, 4, 64, 5)
    model = initialize(config, jax.random.key(0))
    image = jax.random.normal(jax.random.key(1), (96, 96, 3))
    function = METHODS[name].function
    together = jax.jit(jax.vmap(function, in_axes=(None, None, 0)), compiler_options=FULL)
    found = together(model, image, losses.target_logit(jnp.arange(2)))
    for target, maps in enumerate(found):
        alone = jax.jit(function, compiler_options=FULL)(model, image, losses.target_logit(target))
        np.testing.assert_allclose(maps, alone, atol=1e-4 * np.abs(alone).max())
