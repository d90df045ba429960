from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int32

from jaxattr.gradients import over_images
from jaxattr.metrics.context import Context
from jaxattr.metrics.metric import metric
from jaxattr.vit import Model, predict


def completeness(
    maps: Float[np.ndarray, "*batch row column"], wanted: Float[np.ndarray, "*batch"]
) -> Float[np.ndarray, "*batch"]:
    """How far a map's sum is from what it is meant to sum to: `|Σ S - Δ| / |Δ|`; NaN for `Δ = 0`.

    0 is complete. `Δ` is `f(x) - f(baseline)`, or `f(x)`, or the 1 that `lrp` starts from, see
    `Method.complete`; methods that claim nothing are not asked. A complete map may still put its
    evidence anywhere. Costs two forward passes. Source: Sundararajan et al. 2017;
    `completeness-v2`, which asks `lrp` for 1 where the first version asked it for the loss.
    """
    off = np.abs(maps.sum(axis=(-2, -1), dtype=np.float64) - wanted)
    size = np.abs(wanted).astype(np.float64)
    return np.divide(off, size, out=np.full(np.shape(off), np.nan), where=size > 0)


@metric(
    id="completeness-v2",
    heading="axiomatic",
    definition="distance of the map's sum from the loss's change, over that change, for methods "
    "that promise it",
    better="lower",
    cost="2F",
    source="Sundararajan et al. 2017",
    blind="where the evidence lies",
)
def score_completeness(context: Context) -> np.ndarray:
    """`completeness` of every image, against what the method says that its maps sum to."""
    claim = context.method.complete if context.method else None
    if claim is None:
        return np.full(len(context.names), np.nan)
    wanted = _logits(context, context.images)
    if claim == "change":
        wanted = wanted - _logits(context, np.zeros_like(context.images))
    elif claim == "one":
        wanted = np.ones_like(wanted)
    return completeness(context.maps, wanted)


def _logits(context: Context, images: np.ndarray) -> np.ndarray:
    given = jnp.asarray(images), jnp.asarray(context.classes)
    return np.asarray(_logit(context.explained, *given), np.float64)


@jax.jit
def _logit(
    model: Model,
    images: Float[Array, "image height width channel"],
    labels: Int32[Array, " image"],
) -> Float[Array, " image"]:
    return over_images(lambda image, label: predict(model, image)[label], images, labels)
