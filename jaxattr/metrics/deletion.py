from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from jaxattr.heads import probabilities
from jaxattr.losses import pick
from jaxattr.metrics.context import Case, Context, at_once
from jaxattr.metrics.metric import HOLES, metric
from jaxattr.metrics.perturbation import perturb
from jaxattr.vit import Image, Model

STEPS = 12
"""Equal parts of the image that are masked, or shown, one after the other."""


def deletion(
    model: Model,
    image: Image,
    rank: Int32[Array, " unit"],
    class_: Int32[Array, ""],
    *,
    fill: str = "black",
    steps: int = STEPS,
    chunk_size: int | None = None,
) -> Float[Array, ""]:
    """Area under the class's probability over the share of the image deleted: lower is better.

    The highest scores go first, from nothing to all; trapezoids over 0 to 1. A low area says that
    the class is lost early, because of what was taken or because of the hole.
    Costs `steps + 1` forward passes. Source: Petsiuk et al. 2018 (RISE), with patches for pixels
    and black for grey; `deletion-v1`.

    Args:
        rank: the place of each patch or pixel from the highest score on, see `ranks`.
        fill: what is deleted becomes, see `fill_image`.
    """
    counts = parts(rank.shape[0], steps)
    logits = perturb(model, image, rank[None], counts, fill, chunk_size=chunk_size)[0]
    return area(pick(probabilities(model.config, logits), class_), counts)


def parts(units: int, steps: int) -> tuple[int, ...]:
    """From none to all units in equal steps, rounded."""
    return tuple(round(units * step / steps) for step in range(steps + 1))


def area(values: Float[Array, " step"], counts: tuple[int, ...]) -> Float[Array, ""]:
    """Under a curve over counts that rise, by trapezoids, divided by their range."""
    widths = np.diff(np.asarray(counts, np.float64)) / (counts[-1] - counts[0])
    weights = (np.append(widths, 0) + np.append(0, widths)) / 2
    return values @ jnp.asarray(weights, values.dtype)


@metric(
    id="deletion-v1",
    heading="faithfulness",
    definition="the same to the end, highest first, 0 to 100 %",
    better="lower",
    cost="13F",
    source="Petsiuk et al. 2018",
    blind=HOLES,
    cheap=True,
)
def score_deletion(context: Context) -> np.ndarray:
    """`deletion` of every image."""
    return context.each(_of_case)


def _of_case(model: Model, case: Case) -> Array:
    return deletion(model, case.image, case.places[0], case.class_, chunk_size=at_once())
