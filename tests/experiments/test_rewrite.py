"""Pixel rewriting: against a loop in torch, its limits, its early end, and the budget search."""

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
from jaxattr.data import images
from jaxattr.errors import JaxattrError
from jaxattr.experiments.budget import first_bracket, smallest_budget
from jaxattr.experiments.distances import distances, ssim
from jaxattr.experiments.rewrite import (
    Limits,
    advance,
    lead_of_others,
    pose,
    project,
    result,
    rewrite,
    start,
    total_variation,
)

INFINITE = float("inf")


@pytest.fixture(scope="module")
def photos():
    """Four pictures of `tiny_model`'s size, with the ends of the range among their values."""
    return np.random.default_rng(0).integers(0, 256, (4, 8, 12, 3), np.uint8)


@pytest.fixture(scope="module")
def compiled():
    return jax.jit(partial(rewrite, optimizer=optax.sign_sgd(1.0)))


def logits_of(model, pixels):
    """By the library's own way from pixels to logits, without `rewrite`."""
    array = images.normalize(np.asarray(pixels), model.preprocessing)
    return np.asarray(jax.jit(jaxattr.predict)(model, array))


def margin_of(model, pixels, to):
    logits = logits_of(model, pixels)
    return logits[to] - np.delete(logits, to).max()


def other_class(model, pixels):
    """The second most probable class: a small random network cannot be brought to every class."""
    return int(np.argsort(logits_of(model, pixels))[-2])


def test_the_new_class_is_there_in_whole_grey_levels(tiny_model, photos, compiled):
    for i, pixels in enumerate(photos):
        to = other_class(tiny_model, pixels)
        found = compiled(tiny_model, pixels, to, limits=Limits(margin=0.1))
        assert found.pixels.dtype == np.uint8
        assert found.reached, i
        assert 0 < found.best_step == found.steps <= 200
        margin = margin_of(tiny_model, found.pixels, to)
        np.testing.assert_allclose(found.margin, margin, rtol=1e-4, atol=1e-4)
        assert margin >= 0.1 - 1e-3
    assert compiled._cache_size() == 1


@pytest.mark.parametrize("name", ["linf", "fraction", "l2", "mask", "all"])
def test_limits_hold(tiny_model, photos, compiled, name):
    mask = np.zeros((8, 12), bool)
    mask[2:6, 3:9] = True
    limits = {
        "linf": Limits(linf=3.0, margin=INFINITE),
        "fraction": Limits(linf=2.9, margin=INFINITE),
        "l2": Limits(l2=20.5, margin=INFINITE),
        "mask": Limits(margin=INFINITE, mask=jnp.asarray(mask)),
        "all": Limits(linf=4.0, l2=30.0, margin=INFINITE, mask=jnp.asarray(mask)),
    }[name]
    pixels = photos[0]
    to = other_class(tiny_model, pixels)
    found = compiled(tiny_model, pixels, to, limits=limits, steps=30)
    change = np.asarray(found.pixels).astype(int) - pixels
    assert int(found.steps) == 30
    assert not found.reached
    assert 0 < np.abs(change).max() <= np.floor(limits.linf if limits.linf < 256 else 255)
    assert np.sqrt((change**2).sum()) <= limits.l2 * (1 + 1e-6)
    if limits.mask is not None:
        assert (change[~mask] == 0).all()
    assert margin_of(tiny_model, found.pixels, to) > margin_of(tiny_model, pixels, to)


def test_projection_is_inside_and_leaves_the_inside_alone():
    random = np.random.default_rng(1)
    pixels = random.uniform(0, 255, (6, 5, 3)).astype(np.float32)
    change = random.normal(0, 60, (6, 5, 3)).astype(np.float32)
    limits = Limits(linf=jnp.float32(50), l2=jnp.float32(200))
    inside = np.asarray(project(jnp.asarray(change), jnp.asarray(pixels), limits))
    assert np.abs(inside).max() <= 50
    assert np.sqrt((inside**2).sum()) <= 200.01
    assert (pixels + inside).min() >= -1e-4
    assert (pixels + inside).max() <= 255.0001
    again = np.asarray(project(jnp.asarray(inside), jnp.asarray(pixels), limits))
    np.testing.assert_allclose(again, inside, rtol=1e-5, atol=1e-5)


def test_total_variation(tiny_model, photos, compiled):
    change = np.random.default_rng(2).normal(size=(4, 5, 3)).astype(np.float32)
    by_hand = sum(
        abs(float(change[r, c, k]) - float(change[r + dr, c + dc, k]))
        for dr, dc in ((0, 1), (1, 0))
        for r in range(4 - dr)
        for c in range(5 - dc)
        for k in range(3)
    )
    assert float(total_variation(jnp.asarray(change))) == pytest.approx(by_hand / 60, rel=1e-5)

    to = other_class(tiny_model, photos[1])
    rough, smooth = (
        compiled(
            tiny_model,
            photos[1],
            to,
            limits=Limits(linf=8.0, margin=INFINITE, total_variation=weight),
            steps=30,
        )
        for weight in (0.0, 3.0)
    )
    values = [
        float(total_variation(jnp.asarray(np.asarray(one.pixels) - photos[1].astype(np.float32))))
        for one in (rough, smooth)
    ]
    assert values[1] < 0.8 * values[0]


def test_a_batch_is_its_images_each_with_its_own_end(tiny_model, photos, compiled):
    to = np.array([other_class(tiny_model, one) for one in photos], np.int32)
    batch = jax.jit(
        jax.vmap(partial(rewrite, optimizer=optax.sign_sgd(1.0)), in_axes=(None, 0, 0))
    )(tiny_model, photos, to)
    assert len(set(np.asarray(batch.steps).tolist())) > 1
    for i in range(len(photos)):
        alone = compiled(tiny_model, photos[i], to[i])
        assert int(alone.steps) == int(batch.steps[i])
        different = np.asarray(alone.pixels).astype(int) - np.asarray(batch.pixels[i])
        assert (different != 0).mean() < 0.02


def test_going_on_is_the_same_as_going_through(tiny_model, photos):
    problem = pose(photos[2], other_class(tiny_model, photos[2]), None, Limits(margin=INFINITE))
    run: Any = jax.jit(advance)
    state = start(problem)
    for until in (0, 3, 4, 9):
        state = run(tiny_model, problem, state, until)
        assert int(state.step) == until
    through = run(tiny_model, problem, start(problem), 9)
    np.testing.assert_array_equal(state.best, through.best)
    np.testing.assert_allclose(state.change, through.change, rtol=1e-5, atol=1e-5)
    assert run._cache_size() == 1
    first = result(problem, run(tiny_model, problem, start(problem), 0))
    np.testing.assert_array_equal(first.pixels, photos[2])
    expected = margin_of(tiny_model, photos[2], int(problem.to))
    np.testing.assert_allclose(first.margin, expected, rtol=1e-4, atol=1e-4)


def test_a_class_it_has_already_is_left_alone(tiny_model, photos, compiled):
    to = int(logits_of(tiny_model, photos[3]).argmax())
    enough = Limits(margin=margin_of(tiny_model, photos[3], to) / 2)
    found = compiled(tiny_model, photos[3], to, limits=enough)
    assert int(found.steps) == int(found.best_step) == 0
    np.testing.assert_array_equal(found.pixels, photos[3])


def test_the_lead_of_others():
    logits = jnp.array([1.0, 5.0, 3.0])
    values = [float(lead_of_others(to)(logits)) for to in range(3)]
    assert values == [4.0, -2.0, 2.0]


@pytest.mark.parametrize("largest", [1, 2, 7, 40])
def test_the_bracket_finds_every_threshold(largest):
    for threshold in range(1, largest + 2):
        bracket, tried = first_bracket(largest), []
        while bracket.open:
            tried.append(int(bracket.proposal))
            bracket = bracket.narrowed(tried[-1] >= threshold)
        assert int(bracket.succeeded) == threshold
        assert min(tried) >= 1
        assert max(tried) <= largest
        assert len(tried) == len(set(tried)) <= 2 * np.ceil(np.log2(largest + 1)) + 1


def test_the_smallest_budget_is_the_smallest(tiny_model, photos, compiled):
    to = np.array([other_class(tiny_model, one) for one in photos[:2]], np.int32)
    search = partial(
        smallest_budget, optimizer=optax.sign_sgd(1.0), steps=40, limits=Limits(margin=0.1)
    )
    found = jax.jit(jax.vmap(search, in_axes=(None, 0, 0)))(tiny_model, photos[:2], to)
    for i in range(2):
        linf = int(found.linf[i])
        assert found.rewritten.reached[i]
        assert margin_of(tiny_model, found.rewritten.pixels[i], to[i]) > 0.09
        change = np.asarray(found.rewritten.pixels[i]).astype(int) - photos[i]
        assert np.abs(change).max() <= linf
        for budget, enough in ((linf, True), (linf - 1, False)):
            if budget:
                limits = Limits(linf=float(budget), margin=0.1)
                alone = compiled(tiny_model, photos[i], to[i], limits=limits, steps=40)
                assert bool(alone.reached) is enough, (linf, budget)


def test_no_budget_is_enough(tiny_model, photos):
    to = other_class(tiny_model, photos[0])
    search = jax.jit(partial(smallest_budget, optimizer=optax.sign_sgd(1.0)))
    found = search(tiny_model, photos[0], to, steps=3, largest=2, limits=Limits(margin=1e4))
    assert int(found.linf) == 3
    assert not found.rewritten.reached
    margin = margin_of(tiny_model, found.rewritten.pixels, to)
    assert margin > margin_of(tiny_model, photos[0], to)
    np.testing.assert_allclose(found.rewritten.margin, margin, rtol=1e-4, atol=1e-4)


def test_distances_by_scikit_image_and_by_hand():
    """The numbers are scikit-image 0.26's, with Gaussian weights and no sample covariance."""
    x, y = np.meshgrid(np.arange(40), np.arange(30))
    first = np.stack([(5 * x + 3 * y) % 256, (x * y) % 256, (7 * x) % 256], -1).astype(np.uint8)
    wave = ((x * 3 + y * 5) % 7 - 3)[..., None] * np.array([1, -2, 3])
    second = np.clip(first.astype(int) + wave, 0, 255).astype(np.uint8)
    found = distances(first, second)
    assert found.ssim == pytest.approx(0.9560918724458823, abs=1e-12)
    assert found.psnr == pytest.approx(35.577877500039975, abs=1e-9)
    assert ssim(first, np.roll(first, 2, axis=0)) == pytest.approx(0.7822108209942216, abs=1e-12)
    change = second.astype(int) - first
    assert found.linf == np.abs(change).max()
    assert found.l2 == pytest.approx(np.linalg.norm(change.ravel()))
    assert found.changed == np.mean([pixel.any() for pixel in change.reshape(-1, 3)])
    same = distances(first, first)
    assert same[:2] == (0, 0.0)
    assert same.psnr == INFINITE
    assert same.ssim == pytest.approx(1)
    with pytest.raises(JaxattrError, match="cannot be compared"):
        distances(first, first[1:])


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
def test_ten_steps_of_a_loop_in_torch(tmp_path):
    torch = pytest.importorskip("torch", reason="parity needs torch: install the extra `parity`")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    network = transformers.ViTForImageClassification(
        transformers.ViTConfig(
            image_size=24,
            patch_size=6,
            hidden_size=24,
            num_attention_heads=2,
            num_hidden_layers=3,
            intermediate_size=40,
            num_labels=7,
            initializer_range=0.2,
        )
    )
    network.eval().requires_grad_(False).save_pretrained(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    old, new, linf, rate = 2, 5, 4.0, 200.0

    original = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    change = torch.zeros_like(original, requires_grad=True)
    optimizer = torch.optim.SGD([change], lr=rate)

    def classify(change):
        seen = original + change + (change.round() - change).detach()
        return network(pixel_values=(seen / 255 - 0.5) / 0.5).logits[0]

    for _ in range(10):
        optimizer.zero_grad()
        logits = classify(change)
        (logits[old] - logits[new]).backward()
        optimizer.step()
        with torch.no_grad():
            change.clamp_(-linf, linf)
            change.copy_(torch.clamp(original + change, 0, 255) - original)

    model = jaxattr.load(tmp_path)
    sgd = optax.sgd(rate)
    limits = Limits(linf=linf, margin=INFINITE)
    problem = pose(pixels, new, losses.difference(old, new), limits)
    state = jax.jit(partial(advance, optimizer=sgd))(model, problem, start(problem, sgd), 10)
    theirs = change.detach()[0].permute(1, 2, 0).numpy()
    assert np.abs(theirs).max() > 2
    np.testing.assert_allclose(state.change, theirs, atol=1e-4 * np.abs(theirs).max())
    rounded = np.asarray(original[0].permute(1, 2, 0)) + np.rint(np.asarray(state.change))
    ours = logits_of(model, rounded.astype(np.uint8))
    np.testing.assert_allclose(ours, classify(change).detach().numpy(), atol=1e-4)
