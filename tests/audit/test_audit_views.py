"""Other views of an image, their means in the evidence, and when a posterior uses them."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from test_findings import gaussians, write

from jaxattr.audit.evidence.compute import glance_batch
from jaxattr.audit.evidence.views import NAMES, views
from jaxattr.audit.inference.posterior import Recipe, fit_posterior
from jaxattr.bench.audit.labelled import hold
from jaxattr.vit import predict


def test_views_are_numpys_mirror_and_pillows_enlarged_middle():
    image = np.random.default_rng(0).normal(size=(48, 32, 3)).astype(np.float32)
    mirrored, enlarged = np.asarray(views(jnp.asarray(image)))
    np.testing.assert_array_equal(mirrored, image[:, ::-1])
    for channel in range(3):
        plane = Image.fromarray(image[3:-3, 2:-2, channel])
        expected = np.asarray(plane.resize((32, 48), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(enlarged[..., channel], expected, atol=1e-5)


def test_means_are_those_of_a_loop_over_the_views(tiny_model, tiny_images):
    labels = jnp.zeros(len(tiny_images), jnp.int32)
    seen = glance_batch(tiny_model, tiny_images, labels)
    see = jax.jit(predict)
    for at, image in enumerate(tiny_images):
        plain, *others = (see(tiny_model, one) for one in (image, *views(image)))
        assert len(others) == len(NAMES)
        np.testing.assert_allclose(seen.logits[at], plain, atol=1e-5)
        mean = np.mean([plain, *others], axis=0)
        np.testing.assert_allclose(seen.mean_logits[at], mean, atol=1e-5)
        assert np.abs(mean - plain).max() > 0.01
        # The head is linear, so the mean feature gives the mean logits.
        head = tiny_model.parameters["head"]
        np.testing.assert_allclose(
            seen.mean_feature[at] @ head["kernel"] + head["bias"], mean, atol=1e-4
        )


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Eight classes of 40 with noisy logits and features, and the noise of each."""
    truth, logits, feature = gaussians(8, 40, seed=5)
    rng = np.random.default_rng(6)
    blur = rng.normal(size=logits.shape) * 1.5, rng.normal(size=feature.shape) * 0.7
    blurred = logits + blur[0], feature + blur[1]
    plain = hold(
        write(tmp_path_factory.mktemp("seen"), truth, *(one.astype(np.float32) for one in blurred))
    )
    return plain, logits, feature


def with_means(plain, logits, feature):
    columns = {**plain.columns, "mean_logits": logits, "mean_feature": feature}
    receipt = replace(plain.receipt, settings={"views": list(NAMES)})
    return replace(plain, columns=columns, receipt=receipt)


def test_means_are_used_where_the_labels_fit_them_better(seen):
    plain, logits, feature = seen
    of = fit_posterior(with_means(plain, logits, feature))
    assert of.views
    clean = plain.answer(logits)
    clean = replace(clean, columns={**clean.columns, "feature": feature})
    # The same as if there were no other view than the clean one, but for the gate's calibration.
    expected = fit_posterior(clean)
    np.testing.assert_allclose(of.label_probability, expected.label_probability, atol=1e-6)
    np.testing.assert_array_equal(of.rival, expected.rival)
    assert of.model == fit_posterior(plain).model != expected.model


def test_means_that_confuse_classes_are_left_out(seen):
    """As mirror images are, where a class is the mirror image of another."""
    plain, logits, feature = seen
    swapped = np.arange(8) ^ 1
    worse = (plain.columns["logits"] + logits[:, swapped]) / 2
    of, expected = fit_posterior(with_means(plain, worse, feature)), fit_posterior(plain)
    assert not of.views
    np.testing.assert_array_equal(of.label_probability, expected.label_probability)
    forced = fit_posterior(with_means(plain, logits, feature), Recipe(views=False))
    np.testing.assert_array_equal(forced.label_probability, expected.label_probability)


def test_another_head_has_one_view(seen):
    plain, logits, feature = seen
    both = with_means(plain, logits, feature)
    assert both.move(plain.label[::-1]).receipt.settings["views"]
    assert not fit_posterior(both.answer(logits)).views
