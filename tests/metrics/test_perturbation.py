"""Orders of masking, fills, token drop and areas, against slow code and other libraries."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, ndimage

from jaxattr import scenes
from jaxattr.checkpoints import load
from jaxattr.data import images
from jaxattr.errors import JaxattrError
from jaxattr.metrics import perturbation as perturbing
from jaxattr.vit import Model, Preprocessing, Rules, forward, initialize
from jaxattr.vit.nonlinear import softmax

predict = jax.jit(lambda model, image: forward(model, image)[0])
perturb = jax.jit(perturbing.perturb, static_argnums=(3, 4), static_argnames=("chunk_size",))
PREPROCESSING = Preprocessing(None, mean=(0.2, 0.5, 0.6), std=(0.3, 0.5, 0.2))


@pytest.fixture(scope="module")
def model(tiny_model):
    return replace(tiny_model, preprocessing=PREPROCESSING)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)


@pytest.fixture(scope="module")
def image(pixels):
    return jnp.asarray(images.normalize(pixels, PREPROCESSING))


def orders(units, seed=0):
    """Ranks of random scores, and the scores."""
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal(units).astype(np.float32)
    return perturbing.ranks(scores, rng.permutation(units)), scores


def slow_orders(scores):
    """The units from the highest and from the lowest score, without ties."""
    highest = sorted(range(len(scores)), key=lambda unit: -scores[unit])
    return highest, highest[::-1]


def test_counts_are_rounded_down_but_not_by_floating_point():
    tenths = [step / 10 for step in range(10)]
    assert perturbing.counts(224 * 224, tenths) == tuple(int(224 * 224 * x) for x in tenths)
    assert perturbing.counts(100, (0, 0.29, 0.57, 1)) == (0, 29, 57, 100)
    assert perturbing.counts(6, tenths) == (0, 0, 1, 1, 2, 3, 3, 4, 4, 5)


@pytest.mark.parametrize("fractions", [(), (0,), (0.1, 0.2), (0, 0.5, 0.5), (0, 0.5, 0.2)])
def test_fractions_must_rise_from_zero(fractions):
    with pytest.raises(JaxattrError, match=r"wanted two or more that rise from 0"):
        perturbing.counts(10, fractions)


def test_no_more_can_be_masked_than_there_is():
    with pytest.raises(JaxattrError, match="12 units to mask, but the image has 10"):
        perturbing.counts(10, (0, 1.2))


def test_ranks_are_places_in_both_orders():
    places, scores = orders(50)
    highest, lowest = slow_orders(scores)
    assert [highest.index(unit) for unit in range(50)] == places[0].tolist()
    assert [lowest.index(unit) for unit in range(50)] == places[1].tolist()
    batch = perturbing.ranks(np.stack([scores, -scores]), np.arange(50))
    np.testing.assert_array_equal(batch[0], batch[1, ::-1])


def test_equal_scores_are_taken_by_lot_and_not_from_the_top_left():
    ties = np.random.default_rng(1).permutation(100)
    constant = perturbing.ranks(np.zeros(100, np.float32), ties)
    np.testing.assert_array_equal(ties[constant[0].argsort()], ties[constant[1].argsort()])
    np.testing.assert_array_equal(constant[0].argsort(), ties)
    some = np.zeros(100, np.float32)
    some[[3, 70]] = 1, -1
    places = perturbing.ranks(some, ties)
    assert (places[0, 3], places[0, 70], places[1, 3], places[1, 70]) == (0, 99, 99, 0)
    middle = [unit for unit in ties if unit not in (3, 70)]
    assert places[0].argsort()[1:-1].tolist() == places[1].argsort()[1:-1].tolist() == middle
    zeros = np.array([0.0, -0.0], np.float32)
    assert perturbing.ranks(zeros, np.array([1, 0])).tolist() == [[1, 0], [1, 0]]


def test_a_map_with_nan_has_no_order():
    with pytest.raises(JaxattrError, match="NaN or infinity"):
        perturbing.ranks(np.array([0.0, np.nan]), np.arange(2))


@pytest.mark.parametrize("x", [(0, 0.1, 0.2, 0.3), (0, 0.05, 0.5, 1)])
def test_area_is_the_trapezoid_rule_of_other_libraries(x):
    y = np.random.default_rng(2).random((3, 5, 4))
    np.testing.assert_allclose(perturbing.auc(y, x), integrate.trapezoid(y, x), rtol=1e-12)
    np.testing.assert_allclose(perturbing.auc(y, x), np.trapezoid(y, x), rtol=1e-12)
    tenths = [step / 10 for step in range(10)]
    np.testing.assert_allclose(perturbing.auc(np.ones(10), tenths), 0.9)


@pytest.mark.parametrize("unit", ["patch", "pixel"])
@pytest.mark.parametrize("fill", ["black", "mean", "blur"])
def test_fills_of_pixels_against_a_loop(model, image, pixels, unit, fill):
    height, width = model.config.image_size
    units = 6 if unit == "patch" else height * width
    steps = perturbing.counts(units, (0, 0.34, 0.5, 1))
    places, scores = orders(units)
    found = perturb(model, image, places, steps, fill)
    filled = {
        "black": images.normalize(np.zeros_like(pixels), PREPROCESSING),  # before normalisation
        "mean": np.broadcast_to(np.asarray(image).mean(axis=(0, 1)), image.shape),
        "blur": _blurred(np.asarray(image)),
    }[fill]
    for o, order in enumerate(slow_orders(scores)):
        for s, count in enumerate(steps):
            masked = np.array(image)
            for one in order[:count]:
                if unit == "pixel":
                    masked[one // width, one % width] = filled[one // width, one % width]
                else:
                    top, left = 4 * (one // 3), 4 * (one % 3)
                    at = slice(top, top + 4), slice(left, left + 4)
                    masked[at] = filled[at]
            np.testing.assert_allclose(
                found[o, s], predict(model, jnp.asarray(masked)), rtol=2e-4, atol=2e-4
            )
    if fill == "blur":
        chunked = perturb(model, image, places, steps, fill, chunk_size=3)
        np.testing.assert_allclose(chunked, found, rtol=1e-4, atol=1e-4)


def _blurred(image):
    """A Gaussian whose weights are scaled up where they leave the image."""
    sigma = perturbing.BLUR * 8
    options = {"sigma": (sigma, sigma), "mode": "constant", "truncate": 40}
    reach = ndimage.gaussian_filter(np.ones(image.shape[:2]), **options)
    channels = [ndimage.gaussian_filter(one.astype(np.float64), **options) for one in image.T]
    return np.stack([(one.T if one.shape != reach.shape else one) / reach for one in channels], -1)


def test_zero_is_a_patch_whose_embedding_is_zero(model, image):
    """Such pixels exist here: 48 of them, 12 equations."""
    kernel = np.asarray(model.parameters["patch_kernel"], np.float64).reshape(48, 12)
    nothing = np.linalg.lstsq(kernel.T, -np.asarray(model.parameters["patch_bias"]), rcond=None)[0]
    places, scores = orders(6)
    found = perturb(model, image, places, (0, 2, 6), "zero")
    for o, order in enumerate(slow_orders(scores)):
        for s, count in enumerate((0, 2, 6)):
            masked = np.array(image)
            for one in order[:count]:
                top, left = 4 * (one // 3), 4 * (one % 3)
                masked[top : top + 4, left : left + 4] = nothing.reshape(4, 4, 3)
            np.testing.assert_allclose(found[o, s], predict(model, masked), rtol=1e-3, atol=1e-3)


def variants(config):
    return [
        config,
        replace(config, distilled=True),
        replace(config, class_token=False, pooling="mean"),
        replace(config, pooling="mean_then_norm"),
    ]


@pytest.mark.parametrize("number", range(4))
def test_dropping_tokens_is_the_network_on_the_kept_ones(tiny_config, image, number):
    """A model for a smaller image made of the kept patches, with the positions of these."""
    config = variants(tiny_config)[number]
    model = jax.tree.map(lambda leaf: 8 * leaf, initialize(config, jax.random.key(number)))
    prefix = config.prefix_tokens
    places, scores = orders(6, seed=number)
    steps = (0, 3)
    found = perturb(model, image, places, steps, "drop")
    np.testing.assert_allclose(found[0, 0], predict(model, image), rtol=1e-4, atol=1e-5)
    for o, order in enumerate(slow_orders(scores)):
        for s, count in enumerate(steps):
            kept = sorted(order[count:])
            patches = [image[4 * (i // 3) :][:4, 4 * (i % 3) :][:, :4] for i in kept]
            small = jnp.concatenate(patches, axis=1)
            rows = [*range(prefix), *(one + prefix for one in kept)]
            parameters = {
                **model.parameters,
                "positions": model.parameters["positions"][np.array(rows)],
            }
            size = 4, 4 * len(kept)
            other = Model(parameters, replace(config, image_size=size))
            np.testing.assert_allclose(found[o, s], predict(other, small), rtol=2e-4, atol=2e-5)


def test_dropping_tokens_is_hiding_them_from_all_attention(model, image):
    places, _ = orders(6)
    found = perturb(model, image, places, (2, 6), "drop")

    @jax.jit
    def hidden(seen):
        rules = Rules(softmax=lambda x: softmax(jnp.where(seen, x, -1e9)))
        return forward(model, image, rules=rules)[0]

    for s, count in enumerate((2, 6)):
        seen = np.concatenate([[True], places[0] >= count])
        np.testing.assert_allclose(found[0, s], hidden(seen), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fill", ["mean", "zero", "drop"])
def test_a_constant_model_has_flat_curves(model, image, fill):
    head = {"kernel": jnp.zeros((12, 5)), "bias": jnp.log(jnp.array([0.1, 0.2, 0.3, 0.35, 0.05]))}
    flat = replace(model, parameters={**model.parameters, "head": head})
    fractions = [0, 0.2, 0.4, 0.8]
    places, _ = orders(6)
    logits = perturb(flat, image, places, perturbing.counts(6, fractions), fill)
    chances = np.asarray(jax.nn.softmax(logits), np.float64)
    areas = perturbing.auc(np.moveaxis(chances, 1, -1), fractions)
    np.testing.assert_allclose(areas, [[0.08, 0.16, 0.24, 0.28, 0.04]] * 2, rtol=1e-5)


def test_the_object_first_ends_recognition_sooner_than_chance():
    """Where the truth is known: scenes of one object, whose mask is the best map there is."""
    from jaxattr.metrics import pool

    model = load("scenes")
    labels = [name.lower() for name in model.labels]
    steps = perturbing.counts(144, (0, 0.3))
    areas = []
    for number, name in enumerate(scenes.CLASSES[:5]):
        scene = scenes.draw((77, number), [name], size=model.config.image_size[0])
        image = jnp.asarray(images.normalize(scene.image, model.preprocessing))
        ties = np.random.default_rng(number).permutation(144)
        truth = pool(scene.objects[0], model.config.grid).ravel()
        chances = []
        for scores in (truth, np.zeros(144)):
            logits = perturb(model, image, perturbing.ranks(scores, ties), steps, "drop")
            chances.append(jax.nn.softmax(logits)[..., labels.index(name)])
        areas.append(perturbing.auc(np.stack(chances), (0, 0.3)))
    truth_positive, truth_negative = np.mean(areas, axis=0)[0]
    chance = np.mean(areas, axis=0)[1].mean()
    assert truth_positive < 0.85 * chance
    assert truth_negative > chance


@pytest.mark.parametrize(
    ("units", "steps", "fill", "message"),
    [
        (6, (0, 7), "black", "7 units to mask, but the image has 6"),
        (6, (0, 7), "drop", "7 units to mask, but the image has 6"),
        (6, (0,), "grey", "fill 'grey' is unknown; choose from black, mean"),
        (96, (0,), "drop", "fill drop acts on whole tokens; rank the 6 patches"),
        (96, (0,), "zero", "fill zero acts on whole tokens"),
        (5, (0,), "black", "5 ranks for an image of 6 patches and 96 pixels"),
    ],
)
def test_bad_arguments(model, image, units, steps, fill, message):
    with pytest.raises(JaxattrError, match=message) as caught:
        perturbing.perturb(model, image, jnp.zeros((2, units), jnp.int32), steps, fill)
    assert "\n" not in str(caught.value)
