"""Measure the embedded models on scenes that they never saw."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import UInt8
from scipy import special

from jaxattr import scenes
from jaxattr.vit import Model

HELD_OUT = 10**6
"""Seed of the scenes that are measured on; training seeds are smaller."""


def predict(model: Model, images: UInt8[np.ndarray, "image height width 3"]) -> np.ndarray:
    """Logits of 8-bit images of the model's own size, `[image, class]`."""
    return np.asarray(_logits(model, images.astype(np.float32) / np.float32(127.5) - 1))


@jax.jit
def _logits(model: Model, images: jax.Array) -> jax.Array:
    return jax.lax.map(lambda image: model.forward(image)[0], images)


def accuracy(model: Model, count: int, seed: int = HELD_OUT) -> dict[str, float]:
    """Top-1 on `count` one-object scenes; both objects in the top two on half as many with two."""
    one = scenes.batch((seed, 1), count, shares=(0, 1, 0))
    two = scenes.batch((seed, 2), count // 2, shares=(0, 0, 1))
    right = predict(model, one.images).argmax(1) == one.targets.argmax(1)
    best = np.argsort(predict(model, two.images), axis=1)[:, -2:]
    both = np.take_along_axis(two.targets, best, axis=1).sum(1) > 0.99
    return {"one_object": float(right.mean()), "two_objects": float(both.mean())}


def entropy_of_empty(model: Model, count: int, seed: int = HELD_OUT) -> float:
    """Mean entropy of the prediction on empty scenes over that of the uniform one, 0 to 1."""
    logits = predict(model, scenes.batch((seed, 3), count, shares=(1, 0, 0)).images)
    log = special.log_softmax(logits.astype(np.float64), axis=1)
    return float(-(np.exp(log) * log).sum(1).mean() / np.log(len(scenes.CLASSES)))
