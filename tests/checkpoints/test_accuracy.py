"""Top-1 figures of the real models on the real photos, as published with the data."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import FULL, outside

import jaxattr
from jaxattr.data.dataset import index
from jaxattr.data.images import preprocess, read_ahead
from jaxattr.gradients import over_images

pytestmark = pytest.mark.outside
CHUNK = 50


def correct(model, root, preprocessing, every: int = 1) -> tuple[int, int]:
    """How many images the model classifies as their folder says, and how many were tried."""
    dataset = index(root, model.labels)
    files = [root / file for file in dataset.files[::every]]
    images = read_ahead(files, partial(preprocess, preprocessing=preprocessing))
    predict = jax.jit(
        lambda m, x: over_images(lambda i: jaxattr.predict(m, i), x).argmax(axis=-1),
        compiler_options=FULL,
    )
    found = []
    for start in range(0, len(files), CHUNK):
        batch = np.stack([np.asarray(next(images)) for _ in files[start : start + CHUNK]])
        found.append(predict(model, jnp.asarray(batch)))
    return int((np.concatenate(found) == dataset.targets[::every]).sum()), len(files)


def test_imagenet_photos() -> None:
    """79.9 % with transformers' own processor."""
    model = jaxattr.load(outside("models", "vit-tiny-in1k"))
    right, count = correct(model, outside("images", "imagenet-photos"), model.preprocessing)
    assert count == 1000
    assert abs(right - 799) <= 3


def test_tiny_imagenet() -> None:
    """73.7 % of 1,500 with the checkpoint's own preprocessing, argmax over 200.

    A third of them is drawn here: three standard deviations of such a draw are 24 photos.
    """
    model = jaxattr.load(outside("models", "vit-tiny-tinyimagenet200"), layer_norm_epsilon=1e-12)
    folder = outside("images", "tiny-imagenet", "val")
    right, count = correct(model, folder, model.preprocessing, every=3)
    assert count == 500
    assert abs(right - 0.737 * count) <= 24
