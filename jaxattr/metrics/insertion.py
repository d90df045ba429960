from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float, Int32

from jaxattr.heads import probabilities
from jaxattr.losses import pick
from jaxattr.metrics.context import Case, Context, at_once
from jaxattr.metrics.deletion import STEPS, area, parts
from jaxattr.metrics.metric import metric
from jaxattr.metrics.perturbation import perturb
from jaxattr.vit import Image, Model


def insertion(
    model: Model,
    image: Image,
    rank: Int32[Array, " unit"],
    class_: Int32[Array, ""],
    *,
    fill: str = "blur",
    steps: int = STEPS,
    chunk_size: int | None = None,
) -> Float[Array, ""]:
    """Area under the class's probability over the share of the image shown: higher is better.

    Starts with the blurred image and shows the highest scores first, until all is shown;
    trapezoids over 0 to 1.
    Costs `steps + 1` forward passes. Source: Petsiuk et al. 2018 (RISE), with patches for pixels;
    `insertion-v1`.

    Args:
        rank: the place of each patch or pixel from the highest score on, see `ranks`.
        fill: what the image starts with, see `fill_image`.
    """
    units = rank.shape[0]
    shown = parts(units, steps)
    # What is shown first is masked last.
    hidden = tuple(units - count for count in shown)
    logits = perturb(model, image, (units - 1 - rank)[None], hidden, fill, chunk_size=chunk_size)
    return area(pick(probabilities(model.config, logits[0]), class_), shown)


@metric(
    id="insertion-v1",
    heading="faithfulness",
    definition="area under the class's probability, highest scores shown first in a blurred image",
    better="higher",
    cost="13F",
    source="Petsiuk et al. 2018",
    blind="evidence that blurring leaves in place",
    cheap=True,
)
def score_insertion(context: Context) -> np.ndarray:
    """`insertion` of every image."""
    return context.each(_of_case)


def _of_case(model: Model, case: Case) -> Array:
    return insertion(model, case.image, case.places[0], case.class_, chunk_size=at_once())
