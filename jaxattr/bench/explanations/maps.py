"""The maps that the benchmark scores: all methods in one compiled function, and its baselines."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float, Int32

from jaxattr import losses
from jaxattr.audit.evidence.compute import strongest_rival
from jaxattr.bench.explanations.trials import Trials
from jaxattr.bench.store import Parts
from jaxattr.data import images
from jaxattr.gradients import over_images
from jaxattr.methods.method import Method
from jaxattr.scenes.models import check_model
from jaxattr.vit import Image, Model, predict

LOSSES = "logit", "difference", "log-odds"
CHUNK = 16
_MAPS = "maps/"


class Explained(NamedTuple):
    """Maps of all trials, `[trial, loss, row, column]` by method, and the model's logits."""

    maps: Mapping[str, Float[np.ndarray, "trial loss row column"]]
    logits: Float[np.ndarray, "trial class"]
    """In the order of `scenes.CLASSES`."""


def explain(
    model: Model, trials: Trials, methods: tuple[Method, ...], parts: Parts | None = None
) -> Explained:
    """Explain every trial with every method for each loss, in chunks of one compiled shape."""
    _, outputs = check_model(model)
    arrays = np.stack([images.normalize(one, model.preprocessing) for one in trials.images])
    label = outputs[trials.label]
    rival = np.where(trials.rival < 0, -1, outputs[trials.rival]).astype(np.int32)
    found = explain_images(model, arrays, label, rival, methods, parts)
    return found._replace(logits=found.logits[:, outputs])


def explain_images(
    model: Model,
    arrays: Float[np.ndarray, "trial height width channel"],
    label: Int32[np.ndarray, " trial"],
    rival: Int32[np.ndarray, " trial"],
    methods: tuple[Method, ...],
    parts: Parts | None = None,
) -> Explained:
    """The same for normalised images and the model's own classes; a rival below 0: the strongest.

    Logits are those of all the model's classes. Chunks that `parts` holds are read from there.
    """
    count = len(label)
    chunks = []
    for number, start in enumerate(range(0, count, CHUNK)):
        # The last chunk is filled up, so that nothing is compiled twice.
        chosen = np.minimum(np.arange(start, start + CHUNK), count - 1)

        def compute(chosen: np.ndarray = chosen) -> dict[str, np.ndarray]:
            given = (arrays[chosen].astype(model.config.dtype), label[chosen], rival[chosen])
            logits, maps = _explain(model, *given, methods)
            every = {_MAPS + name: np.asarray(one) for name, one in maps.items()}
            return {"logits": np.asarray(logits), **every}

        chunks.append(compute() if parts is None else parts.get(number, compute))
    joined = {name: np.concatenate([one[name] for one in chunks])[:count] for name in chunks[0]}
    logits = joined.pop("logits")
    return Explained({name.removeprefix(_MAPS): one for name, one in joined.items()}, logits)


def classify(
    model: Model, arrays: Float[np.ndarray, "image height width channel"]
) -> Float[np.ndarray, "image class"]:
    """Logits of normalised images, in chunks of one compiled shape."""
    found = []
    for start in range(0, len(arrays), CHUNK):
        chosen = np.minimum(np.arange(start, start + CHUNK), len(arrays) - 1)
        found.append(np.asarray(_classify(model, arrays[chosen].astype(model.config.dtype))))
    return np.concatenate(found)[: len(arrays)]


def random_maps(trials: Trials, seed: int) -> Float[np.ndarray, "trial loss row column"]:
    """Standard normal noise: a map that knows nothing, with a sign."""
    rng = np.random.default_rng((seed, len(trials.label)))
    shape = len(trials.label), len(LOSSES), *trials.target.shape[1:]
    return rng.standard_normal(shape, np.float32)


def centred_blob(trials: Trials) -> Float[np.ndarray, "trial loss row column"]:
    """A Gaussian in the middle, a quarter of the side wide: a photographer's guess, no sign."""
    rows, columns = trials.target.shape[1:]
    y, x = ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5 for n in (rows, columns))
    blob = np.exp(-(y[:, None] ** 2 + x[None] ** 2) / (2 * 0.25**2)).astype(np.float32)
    return np.broadcast_to(blob, (len(trials.label), len(LOSSES), rows, columns))


@jax.jit
def _classify(
    model: Model, pictures: Float[Array, "image height width channel"]
) -> Float[Array, "image class"]:
    return over_images(lambda one: predict(model, one), pictures, chunk_size=CHUNK)


@partial(jax.jit, static_argnames="methods")
def _explain(
    model: Model,
    pictures: Float[Array, "trial height width channel"],
    label: Int32[Array, " trial"],
    rival: Int32[Array, " trial"],
    methods: tuple[Method, ...],
) -> tuple[Float[Array, "trial class"], dict[str, Float[Array, "trial loss row column"]]]:
    """Methods share what XLA finds equal: one forward pass, and one backward pass per loss."""

    def one(image: Image, label: Array, rival: Array):
        logits = model.forward(image)[0]
        other = jnp.where(rival < 0, strongest_rival(logits, label), rival)

        def maps(which: Array):
            loss = Partial(_loss, label, other, which)
            return {method.name: method.function(model, image, loss) for method in methods}

        return logits, jax.vmap(maps)(jnp.arange(len(LOSSES)))

    return over_images(one, pictures, label, rival)


def _loss(label: Array, other: Array, which: Array, logits: Array) -> Array:
    difference = logits[label] - logits[other]
    return jnp.stack([logits[label], difference, losses.log_odds(label)(logits)])[which]
