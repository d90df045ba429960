"""Attention transfer: against a loop in torch, against the methods, and what it must keep."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxattr
from jaxattr import losses
from jaxattr.errors import JaxattrError
from jaxattr.experiments.transfer import MAPS, frozen_maps, schedule, transfer
from jaxattr.gradients import frozen_attention_gradients, to_map
from jaxattr.gradients.corrections import corrected, rollout
from jaxattr.methods import METHODS

FAST = optax.sgd(0.02)


@pytest.fixture(scope="module")
def compiled():
    return jax.jit(partial(transfer, optimizer=FAST))


def test_the_first_frame_is_the_model_itself(tiny_model, tiny_images):
    image, loss = tiny_images[0], losses.target_logit(2)
    found = jax.jit(transfer)(tiny_model, image, loss, schedule(0, 1))
    logits, taps = jax.jit(jaxattr.forward)(tiny_model, image)
    np.testing.assert_allclose(found.logits[0], logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.attention, taps.attention, atol=1e-6)
    assert float(found.moved.max()) < 1e-6
    assert float(found.row_error.max()) < 1e-5
    assert float(found.negative.max()) == 0


@pytest.mark.parametrize("kind", ["positive", "complete", "absolute"])
def test_maps_are_the_rollout_of_the_frozen_gradient(tiny_model, tiny_images, kind):
    image, loss = tiny_images[1], losses.difference(1, 3)
    shown = jax.tree.map(lambda leaf: leaf[None], loss)
    found = jax.jit(partial(frozen_maps, method=kind))(tiny_model, image, shown)
    _, attention, gradient = jax.jit(frozen_attention_gradients)(tiny_model, image, loss)
    expected = to_map(tiny_model.config, rollout(corrected(attention, gradient, kind)))
    np.testing.assert_allclose(found[0], expected, rtol=2e-4, atol=1e-5)


def test_methods_without_a_gradient_are_the_methods(tiny_model, tiny_images):
    image, loss = tiny_images[1], losses.target_logit(jnp.array([0]))
    for name in ("rollout", "raw_attention"):
        method, maps = METHODS[name].function, partial(frozen_maps, method=name)
        expected = jax.jit(method)(tiny_model, image, losses.target_logit(0))
        found = jax.jit(maps)(tiny_model, image, loss)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_names_of_the_maps():
    assert set(MAPS) <= set(METHODS)


@pytest.mark.parametrize("parameters", ["raw", "scores"])
def test_the_logit_goes_where_it_is_sent(tiny_model, tiny_images, parameters):
    run: Any = jax.jit(partial(transfer, optimizer=FAST, parameters=parameters))
    steps, loss = schedule(6, 2), losses.target_logit(1)
    up = run(tiny_model, tiny_images[0], loss, steps, ascend=True)
    down = run(tiny_model, tiny_images[0], loss, steps, ascend=False)
    assert (np.diff(up.logits[:, 1]) > 0).all()
    assert (np.diff(down.logits[:, 1]) < 0).all()
    assert run._cache_size() == 1
    start = jax.jit(jaxattr.forward)(tiny_model, tiny_images[0])[1].attention
    moved = np.abs(np.asarray(up.attention - start)).sum(-1).mean((1, 2)) / 2
    np.testing.assert_allclose(up.moved[-1], moved, rtol=1e-3, atol=1e-6)
    assert (np.diff(up.moved.sum(axis=1)) > 0).all()
    if parameters == "scores":
        np.testing.assert_allclose(up.attention.sum(-1), 1, atol=1e-5)
        assert float(up.row_error.max()) < 1e-5
        assert float(up.negative.max()) == 0
    else:
        assert float(up.row_error[-1]) > 1e-4


def test_maps_of_several_classes_and_a_batch(tiny_model, tiny_images, compiled):
    steps = schedule(5, 2)
    assert steps.tolist() == [0, 2, 4, 5]
    shown = losses.target_logit(jnp.array([4, 0, 2]))
    targets = losses.target_logit(jnp.array([0, 1, 4]))

    def one(image, loss):
        return compiled(tiny_model, image, loss, steps, explain=shown)

    batch = jax.vmap(one)(tiny_images[:3], targets)
    assert batch.maps.shape == (3, 4, 3, *tiny_model.config.grid)
    for i in range(3):
        alone = one(tiny_images[i], jax.tree.map(lambda leaf, i=i: leaf[i], targets))
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=2e-3, atol=1e-4),
            batch,
            alone,
        )


def test_one_compilation_for_any_image_class_and_number_of_steps(tiny_model, tiny_images):
    run: Any = jax.jit(partial(transfer, optimizer=FAST))
    long = run(tiny_model, tiny_images[0], losses.target_logit(0), schedule(6, 1, 7))
    short = run(tiny_model, tiny_images[0], losses.target_logit(0), schedule(4, 2, 7))
    run(tiny_model, tiny_images[1], losses.target_logit(3), schedule(0, 1, 7))
    assert run._cache_size() == 1
    assert short.steps.tolist() == [0, 2, 4, 4, 4, 4, 4]
    np.testing.assert_allclose(short.logits[:3], long.logits[:5:2], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(short.logits[2], short.logits[6])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, i: schedule(-1, 2), "-1 steps, every 2"),
        (lambda m, i: schedule(5, 0), "5 steps, every 0"),
        (lambda m, i: schedule(10, 1, 5), "are 11 frames, more than 5"),
        (lambda m, i: run_badly(m, i, steps=np.array([3, 1])), r"steps are \[3, 1\]"),
        (lambda m, i: run_badly(m, i, steps=np.array([-1, 1])), r"steps are \[-1, 1\]"),
        (lambda m, i: run_badly(m, i, parameters="logits"), "unknown parameters 'logits'"),
        (lambda m, i: run_badly(m, i, method="lrp"), "no map of 'lrp' here"),
    ],
)
def test_bad_arguments(tiny_model, tiny_images, call, message):
    with pytest.raises(JaxattrError, match=message):
        call(tiny_model, tiny_images[0])


def run_badly(model, image, steps=(0, 1), **options):
    # Past the annotations, which would refuse some of these first.
    checked: Any = transfer
    return checked.__wrapped__(model, image, losses.target_logit(0), np.asarray(steps), **options)


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("parameters", "name"), [("raw", "sgd"), ("scores", "adam")])
def test_ten_steps_of_a_loop_in_torch(tmp_path, parameters, name):
    torch = pytest.importorskip("torch", reason="parity needs torch: install the extra `parity`")
    network = random_network(torch, tmp_path)
    image = np.random.default_rng(0).standard_normal((24, 24, 3), np.float32)
    pixels = torch.from_numpy(image.transpose(2, 0, 1)[None].copy())
    network.config._attn_implementation = "eager"
    initial = [a.detach() for a in network(pixel_values=pixels, output_attentions=True).attentions]
    network.config._attn_implementation = "given"
    raw = parameters == "raw"
    leaves = [(a if raw else a.log()).clone().requires_grad_() for a in initial]
    rate = 0.02 if raw else 0.05
    optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name](leaves, lr=rate)

    def logits():
        given = leaves if raw else [leaf.softmax(-1) for leaf in leaves]
        for layer, maps in zip(network.vit.layers, given, strict=True):
            layer.attention.given = maps
        return network(pixel_values=pixels).logits[0], given

    seen = []
    for _ in range(10):
        optimizer.zero_grad()
        value = logits()[0]
        seen.append(value.detach().numpy())
        (-value[3]).backward()
        optimizer.step()
    value, given = logits()
    seen.append(value.detach().numpy())

    model = jaxattr.load(tmp_path)
    ours = jax.jit(partial(transfer, optimizer=getattr(optax, name)(rate), parameters=parameters))(
        model, jnp.asarray(image), losses.target_logit(3), schedule(10, 1)
    )
    assert float(ours.logits[-1, 3] - ours.logits[0, 3]) > 0.1
    np.testing.assert_allclose(ours.logits, seen, atol=1e-4)
    theirs = torch.stack([a[0] for a in given])
    np.testing.assert_allclose(ours.attention, theirs.detach().numpy(), atol=1e-4)
    gradients = torch.autograd.grad(value[3], given)
    product = torch.eye(theirs.shape[-1])
    for attention, gradient in zip(given, gradients, strict=True):
        product = product + (gradient * attention).mean(1)[0] @ product
    expected = product[0, 1:].detach().numpy().reshape(ours.maps.shape[-2:])
    np.testing.assert_allclose(
        ours.maps[-1, 0], expected, atol=1e-4 * max(1, np.abs(expected).max())
    )


def random_network(torch, folder):
    """transformers' ViT whose layers use `module.given` as their attention, saved to a folder."""
    transformers = pytest.importorskip("transformers")

    def given(module, query, key, value, attention_mask=None, **options):
        return (module.given @ value).transpose(1, 2).contiguous(), module.given

    transformers.AttentionInterface.register("given", given)
    torch.manual_seed(1)
    config = transformers.ViTConfig(
        image_size=24,
        patch_size=6,
        hidden_size=24,
        num_attention_heads=2,
        num_hidden_layers=3,
        intermediate_size=40,
        num_labels=7,
        initializer_range=0.2,
        attn_implementation="eager",
    )
    network = transformers.ViTForImageClassification(config).eval().requires_grad_(False)
    network.save_pretrained(folder)
    return network
