"""A watched rewriting against `rewrite` and `smallest_budget`, and what it says of its picture."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest
from PIL import Image
from scipy.special import softmax

import jaxattr
from jaxattr import losses
from jaxattr.data import images
from jaxattr.data.labels import LabelTable
from jaxattr.errors import ImageError
from jaxattr.experiments.budget import smallest_budget
from jaxattr.experiments.rewrite import Limits, rewrite
from jaxattr.experiments.session import Outcome, as_picture, look_again, prepare, session
from jaxattr.methods import METHODS
from jaxattr.vit import Preprocessing

OPTIMIZER = optax.sign_sgd(1.0)


@pytest.fixture(scope="module")
def model(tiny_model):
    return replace(tiny_model, preprocessing=Preprocessing((10, 15), crop=(8, 12)))


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))


@pytest.fixture(scope="module")
def task(model, photo):
    pixels = images.fit(photo, model.preprocessing)
    array = images.normalize(pixels, model.preprocessing)
    second = int(np.argsort(np.asarray(jax.jit(jaxattr.predict)(model, array)))[-2])
    return prepare(model, photo, second, limits=Limits(margin=0.1), steps=40)


def same(found, expected) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_the_task(task, model, photo) -> None:
    pixels = images.fit(photo, model.preprocessing)
    np.testing.assert_array_equal(task.pixels, pixels)
    array = images.normalize(pixels, model.preprocessing)
    logits = np.asarray(jax.jit(jaxattr.predict)(model, array))
    assert task.old == np.argmax(logits) != task.new
    assert float(task.loss(jax.numpy.asarray(logits))) == pytest.approx(
        logits[task.old] - logits[task.new], 1e-5
    )
    assert task.limits.mask is None


def test_the_last_picture_is_that_of_rewrite(task) -> None:
    seen = list(session(task, OPTIMIZER))
    assert [one.ended for one in seen] == [False] * (len(seen) - 1) + [True]
    assert seen[0].step == 0 < seen[-1].step
    expected = rewrite(
        task.model,
        task.pixels,
        task.new,
        loss=task.loss,
        limits=task.limits,
        steps=task.steps,
        optimizer=OPTIMIZER,
    )
    same(seen[-1].best, expected)


def test_a_search_is_the_smallest_budget(task) -> None:
    seen = list(session(task._replace(search=True, largest=16), OPTIMIZER))
    tried = [(one.budget or 0, bool(one.found.reached)) for one in seen if one.ended]
    asked = {"loss": task.loss, "limits": task.limits, "steps": task.steps}
    expected = smallest_budget(
        task.model, task.pixels, task.new, optimizer=OPTIMIZER, largest=16, **asked
    )
    found = Outcome(task, seen[-1].best, tuple(tried), np.zeros(5), np.zeros(5))
    assert found.smallest_budget == expected.linf
    same(seen[-1].best, expected.rewritten)


def test_masks_of_the_photo_or_of_the_models_size(model, photo) -> None:
    left, top = np.zeros((20, 30), bool), np.zeros((8, 12), bool)
    left[:, :15], top[:4] = True, True
    task = prepare(model, photo, 1, loss="lead", inside=left, outside=top)
    # The crop takes columns 1.5 to 13.5 of 15, so that column 6 is the middle.
    expected = np.zeros((8, 12), bool)
    expected[4:, :6] = True
    beside = [column for column in range(12) if column != 6]
    assert task.limits.mask is not None
    np.testing.assert_array_equal(task.limits.mask[:, beside], expected[:, beside])
    with pytest.raises(ImageError, match="inside: the mask is 5 x 4 pixels, the photo 30 x 20"):
        prepare(model, photo, 1, inside=np.ones((4, 5), bool))
    with pytest.raises(ImageError, match="leave no pixel"):
        prepare(model, photo, 1, inside=left, outside=left)


def test_the_outcome_is_of_the_decoded_file(task, model, photo, tmp_path) -> None:
    best = list(session(task, OPTIMIZER))[-1].best
    pixels = np.asarray(best.pixels)
    path = tmp_path / "picture.png"
    as_picture(photo, pixels, model.preprocessing).save(path)
    with Image.open(path) as picture:
        assert picture.size == (15, 10)
    after = look_again(model, path, pixels)
    before = np.asarray(
        jax.jit(jaxattr.predict)(model, images.normalize(task.pixels, model.preprocessing))
    ).astype(np.float64)
    found = Outcome(task, best, (), before, after)
    logits = jax.jit(jaxattr.predict)(model, images.preprocess(path, model.preprocessing))
    np.testing.assert_allclose(after, logits, rtol=1e-5)
    assert found.reached == (after.argmax() == task.new) == bool(best.reached)
    assert found.margin == pytest.approx(float(best.margin), abs=1e-4)
    np.testing.assert_allclose(found.probabilities[1], softmax(after))
    assert found.distances.linf == np.abs(pixels.astype(int) - task.pixels).max()
    complete = jax.jit(METHODS["complete"].function)
    loss = losses.difference(task.old, task.new)
    arrays = [images.normalize(one, model.preprocessing) for one in (task.pixels, pixels)]
    for one, array in zip(found.maps, arrays, strict=True):
        np.testing.assert_allclose(one, complete(model, array, loss), rtol=1e-4, atol=1e-5)
    figure = found.plot(LabelTable(model.labels))
    texts = [text.get_text() for text in (*figure.texts, *figure.axes[0].texts)]
    assert any(model.labels[task.old] in text for text in texts)
    with pytest.raises(ImageError, match="would see other pixels"):
        look_again(model, path, task.pixels)
