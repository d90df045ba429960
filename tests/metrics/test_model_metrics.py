"""Metrics that ask the model: against plain loops, a direct sparse solution and linear models."""

from __future__ import annotations

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from jaxattr import losses, metrics
from jaxattr.errors import JaxattrError
from jaxattr.metrics.infidelity import mismatch
from jaxattr.metrics.perturbation import fill_image, mask_sets, ranks
from jaxattr.metrics.road import impute
from jaxattr.metrics.saco import coefficient
from jaxattr.metrics.srg import equal_counts
from jaxattr.vit import Preprocessing, forward

CLASS = jnp.int32(2)
MAP = np.array([[3.0, -1.0, 0.5], [2.0, 4.0, -2.0]], np.float32)


@pytest.fixture(scope="module")
def places():
    return jnp.asarray(ranks(MAP.ravel(), np.arange(6)))


@pytest.fixture(scope="module")
def ask(tiny_model):
    """The probability of `CLASS` for an image whose listed patches become those of another."""
    compiled = jax.jit(lambda image: jax.nn.softmax(forward(tiny_model, image)[0])[CLASS])

    def run(image, patches, other):
        changed = np.array(image)
        for patch in patches:
            row, column = divmod(int(patch), 3)
            at = np.s_[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            changed[at] = np.asarray(other)[at]
        return float(compiled(jnp.asarray(changed)))

    return run


def test_deletion_and_insertion_are_loops(tiny_model, tiny_images, places, ask):
    image, order = tiny_images[0], np.argsort(-MAP.ravel())
    black = np.broadcast_to(-1.0, image.shape)  # -mean / std of the preprocessing
    deleted = [ask(image, order[:n], black) for n in range(7)]
    found = jax.jit(lambda m, i: metrics.deletion(m, i, places[0], CLASS, steps=6))
    assert found(tiny_model, image) == pytest.approx(np.trapezoid(deleted) / 6, abs=1e-5)
    blurred = fill_image(tiny_model, image, "blur")
    shown = [ask(image, order[n:], blurred) for n in (0, 2, 4, 6)]
    found = jax.jit(lambda m, i: metrics.insertion(m, i, places[0], CLASS, steps=3))
    assert found(tiny_model, image) == pytest.approx(np.trapezoid(shown) / 3, abs=1e-5)


def test_srg_is_two_loops_over_the_logit(tiny_model, tiny_images, places):
    """ImageNet's mean, here by hand: pixels are normalised with mean and deviation one half."""
    image = np.array(tiny_images[2])
    logit = jax.jit(lambda image: forward(tiny_model, image)[0][CLASS])
    areas = []
    for order in (np.argsort(MAP.ravel()), np.argsort(-MAP.ravel())):  # lowest first, highest first
        masked, curve = image.copy(), [float(logit(image))]
        for first in range(0, 6, 2):
            for patch in order[first : first + 2]:
                row, column = 4 * (patch // 3), 4 * (patch % 3)
                masked[row : row + 4, column : column + 4] = [-0.03, -0.088, -0.188]
            curve.append(float(logit(masked)))
        areas.append(np.trapezoid(curve) / 3)
    found = jax.jit(lambda m, i, p: metrics.srg(m, i, p, CLASS, steps=3))
    given = tiny_model, tiny_images[2]
    assert found(*given, places) == pytest.approx(areas[0] - areas[1], abs=1e-5)
    assert found(*given, places[::-1]) == pytest.approx(areas[1] - areas[0], abs=1e-5)
    at_once = metrics.srg(*given, places, CLASS, steps=3, chunk_size=4)
    assert at_once == pytest.approx(areas[0] - areas[1], abs=1e-5)


def test_steps_of_srg_are_equal_but_for_the_last():
    assert equal_counts(196, 100) == tuple(range(0, 197, 2))
    assert equal_counts(6, 100) == tuple(range(7))
    assert equal_counts(7, 3) == (0, 3, 6, 7)
    assert max(len(equal_counts(n, 100)) for n in range(1, 1000)) == 101


@pytest.mark.parametrize(
    ("mean", "std", "order", "rescale", "expected"),
    [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "rgb", 1 / 255, (0, 0, 0)),
        ((0.406, 0.456, 0.485), (0.225, 0.224, 0.229), "bgr", 1 / 255, (0, 0, 0)),
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "rgb", 1.0, (123.675, 116.28, 103.53)),
        ((0.0,), (1.0,), "rgb", 1.0, (117.0376,)),
    ],
)
def test_the_mean_of_imagenet_is_normalised(tiny_model, mean, std, order, rescale, expected):
    given = Preprocessing((8, 12), mean=mean, std=std, order=order, rescale=rescale)
    filled = fill_image(
        replace(tiny_model, preprocessing=given), jnp.zeros((8, 12, len(mean))), "imagenet"
    )
    np.testing.assert_allclose(filled[3, 4], expected, rtol=1e-5, atol=1e-6)
    assert (filled == filled[0, 0]).all()


def test_saco_is_the_published_loop(tiny_model, tiny_images, places, ask):
    image, order = tiny_images[1], np.argsort(-MAP.ravel())
    mean = np.broadcast_to(np.asarray(image).mean(axis=(0, 1)), image.shape)
    groups = [order[i : i + 2] for i in (0, 2, 4)]
    sums = [MAP.ravel()[one].sum() for one in groups]
    drops = [ask(image, [], mean) - ask(image, one, mean) for one in groups]
    top = total = 0.0
    for i, j in itertools.combinations(range(3), 2):
        weight = sums[i] - sums[j]
        top += weight if drops[i] >= drops[j] else -weight
        total += abs(weight)
    score = jax.jit(lambda m, i: metrics.saco(m, i, jnp.asarray(MAP), places[0], CLASS, groups=3))
    assert score(tiny_model, image) == pytest.approx(top / total, abs=1e-5)


def test_saco_of_exact_linear_contributions_is_1():
    contributions = jnp.array([5.0, 2.0, -1.0, -3.0])
    assert coefficient(contributions, 0.7 * contributions) == 1
    assert coefficient(contributions, -contributions) == -1
    # One of three pairs is wrong: that of 3 and 2.
    found = coefficient(jnp.array([3.0, 2.0, 0.0]), jnp.array([0.1, 0.2, 0.0]))
    assert found == pytest.approx((-1 + 3 + 2) / 6)
    assert np.isnan(coefficient(jnp.ones(3), jnp.arange(3.0)))


def test_imputation_solves_the_sparse_system(x64):
    rng = np.random.default_rng(1)
    image, masked = rng.normal(size=(7, 9, 2)), rng.random((7, 9)) < 0.6
    masked[:2, :3] = True
    found = impute(jnp.asarray(image), jnp.asarray(masked), jax.random.key(0), noise=0.0,
                   tolerance=1e-10)  # fmt: skip
    cells = [tuple(one) for one in np.argwhere(masked)]
    system, right = lil_matrix((len(cells),) * 2), np.zeros((len(cells), 2))
    for k, (row, column) in enumerate(cells):
        for down, across in itertools.product((-1, 0, 1), repeat=2):
            at = row + down, column + across
            if (down, across) == (0, 0) or not (0 <= at[0] < 7 and 0 <= at[1] < 9):
                continue
            weight = 1 / 12 if down and across else 1 / 6
            system[k, k] += weight
            if masked[at]:
                system[k, cells.index(at)] -= weight
            else:
                right[k] += weight * image[at]
    expected = np.asarray(spsolve(system.tocsr(), right))
    np.testing.assert_allclose(found[masked], expected, atol=1e-7)
    np.testing.assert_array_equal(found[~masked], image[~masked])


def test_imputation_of_a_plane_is_the_plane(x64):
    """Inside, a linear image is its own neighbours' mean."""
    plane = jnp.arange(8.0)[:, None, None] + 2 * jnp.arange(10.0)[None, :, None]
    hole = jnp.zeros((8, 10), bool).at[2:6, 3:8].set(True)
    found = impute(plane, hole, jax.random.key(0), noise=0.0, tolerance=1e-10)
    np.testing.assert_allclose(found, plane, atol=1e-7)
    shaken = impute(plane, hole, jax.random.key(0), noise=0.01, tolerance=1e-10)
    np.testing.assert_allclose(
        (shaken - plane)[hole], 0.01 * jax.random.normal(jax.random.key(0), plane.shape)[hole],
        atol=1e-7,
    )  # fmt: skip


def test_road_is_the_mean_difference(tiny_model, tiny_images, places, ask):
    image, key = tiny_images[2], jax.random.key(3)
    filling = jax.jit(lambda masked: impute(image, masked, key))
    differences = []
    for count in (2, 4):
        chances = []
        for order in np.asarray(places):
            masked = (order < count).reshape(2, 3).repeat(4, axis=0).repeat(4, axis=1)
            chances.append(ask(image, np.flatnonzero(order < count), filling(jnp.asarray(masked))))
        differences.append((chances[1] - chances[0]) / 2)
    score = jax.jit(lambda m, i: metrics.road(m, i, places, CLASS, key, fractions=(0.34, 0.67)))
    assert score(tiny_model, image) == pytest.approx(np.mean(differences), abs=1e-4)


def test_infidelity_of_a_linear_function(x64):
    """The gradient predicts a linear function exactly; another direction does not."""
    rng = np.random.default_rng(2)
    noise, weights = rng.normal(size=(500, 12)), rng.normal(size=12)
    change, other = noise @ weights, noise @ (weights + 1)

    def found(predicted, **options):
        return float(mismatch(jnp.asarray(predicted), jnp.asarray(change), **options))

    assert found(change, scaled=False) == pytest.approx(0, abs=1e-12)
    assert found(3 * change) == pytest.approx(0, abs=1e-12)
    assert found(other, scaled=False) == pytest.approx(((noise @ np.ones(12)) ** 2).mean())
    assert found(-change) == found(0 * change) == 1
    slope = np.linalg.lstsq(other[:, None], change)[0]
    rest = change - slope * other
    assert found(other) == pytest.approx((rest**2).sum() / (change**2).sum())


def test_infidelity_masks_patches(tiny_model, tiny_images):
    image, key, loss = tiny_images[3], jax.random.key(4), losses.target_logit(2)
    score = jax.jit(
        lambda m, i: metrics.infidelity(m, i, jnp.asarray(MAP), loss, key, draws=8, share=0.5)
    )
    masked = np.asarray(jax.random.bernoulli(key, 0.5, (8, 6)))
    sets = jnp.concatenate([jnp.zeros((1, 6), bool), jnp.asarray(masked)])
    logits = np.asarray(mask_sets(tiny_model, image, sets, "mean"))[:, 2].astype(np.float64)
    predicted, change = masked @ MAP.ravel(), logits[0] - logits[1:]
    scale = max(predicted @ change, 0) / (predicted @ predicted)
    expected = ((scale * predicted - change) ** 2).sum() / (change**2).sum()
    assert score(tiny_model, image) == pytest.approx(expected, rel=1e-3)


def test_sets_are_masked_in_the_image(tiny_model, tiny_images):
    with pytest.raises(JaxattrError, match="fill drop acts on tokens"):
        mask_sets(tiny_model, tiny_images[0], jnp.zeros((1, 6), bool), "drop")
