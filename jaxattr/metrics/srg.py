from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from jaxattr.losses import pick
from jaxattr.metrics.context import Case, Context, at_once
from jaxattr.metrics.metric import metric
from jaxattr.metrics.perturbation import perturb
from jaxattr.vit import Image, Model

STEPS = 100
"""At most so many; every step masks the same whole number of patches, the last one what is left."""
ON_ACCELERATOR = 32
"""Masked images of one map that an accelerator takes at once."""


def srg(
    model: Model,
    image: Image,
    places: Int32[Array, "2 unit"],
    class_: Int32[Array, ""],
    *,
    fill: str = "imagenet",
    steps: int = STEPS,
    chunk_size: int | None = None,
) -> Float[Array, ""]:
    """Symmetric relevance gain: the logit that lowest-first keeps over highest-first masking.

    `SRG = A_low - A_high`, where `A = Σ_k (y_k + y_(k+1)) / 2 / T` is the area under the class's
    logit `y` over the `T` steps from the whole image to nothing left. In logits, higher is better;
    a random order has 0 on average, whatever the fill, because both areas lose the same to the
    hole. Masked patches become ImageNet's mean colour, see `fill_image`.
    Costs `2 (T + 1)` forward passes, `chunk_size` of them at once. Source: Blücher et al. 2024,
    with the settings of Berend et al. 2026 (ResLRP, Table 1) as that paper describes them: patches,
    mean colour, at most 100 steps; that every step but the last is of equal size is our reading.
    `srg-v1`.

    Args:
        places: of each patch or pixel in the two orders, as `ranks` gives them.
        steps: the most there may be.
    """
    counts = equal_counts(places.shape[1], steps)
    logits = perturb(model, image, places, counts, fill, chunk_size=chunk_size)
    kept = pick(logits, class_)
    highest, lowest = (kept[:, 1:] + kept[:, :-1]).sum(axis=1) / (2 * (len(counts) - 1))
    return jnp.asarray(lowest - highest)


def equal_counts(units: int, steps: int) -> tuple[int, ...]:
    """From none to all units, in steps of one size but for the last: the smallest that fits."""
    return (*range(0, units, -(-units // steps)), units)


@metric(
    id="srg-v1",
    heading="faithfulness",
    definition="area under the class's logit, lowest scores masked first, less that with the "
    "highest first; ImageNet's mean colour, at most 100 steps",
    better="higher",
    cost="<=202F",
    source="Blücher et al. 2024, Berend et al. 2026",
    blind="evidence that others stand in for; logits of different models have different scales",
)
def score_srg(context: Context) -> np.ndarray:
    """`srg` of every image."""
    return context.each(_of_case)


def _of_case(model: Model, case: Case) -> Array:
    # Two hundred masked images: even an accelerator takes them in parts.
    chunk = at_once(ON_ACCELERATOR)
    return srg(model, case.image, case.places, case.class_, chunk_size=chunk)
