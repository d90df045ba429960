from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from jaxattr.heads import probabilities
from jaxattr.losses import pick
from jaxattr.metrics.context import Case, Context, at_once
from jaxattr.metrics.metric import metric
from jaxattr.metrics.perturbation import mask_sets
from jaxattr.vit import Image, Map, Model

GROUPS = 10


def saco(
    model: Model,
    image: Image,
    map_: Map,
    rank: Int32[Array, " patch"],
    class_: Int32[Array, ""],
    *,
    groups: int = GROUPS,
    fill: str = "mean",
    chunk_size: int | None = None,
) -> Float[Array, ""]:
    """Salience-guided faithfulness coefficient, -1 to 1: do larger sums mean larger drops?

    The patches are cut into groups of equal size by their rank. Each group alone is replaced by the
    image's mean colour; its drop is how much probability the class loses. See `coefficient`.
    Costs `groups + 1` forward passes. Source: Wu et al. 2024; `saco-v1`.

    Args:
        rank: the place of each patch from the highest score on, see `ranks`.
        groups: at most one for each patch.
    """
    groups = min(groups, rank.shape[0])
    group = rank * groups // rank.shape[0]
    sets = jnp.arange(-1, groups)[:, None] == group  # the first masks nothing
    logits = mask_sets(model, image, sets, fill, chunk_size=chunk_size)
    probability = pick(probabilities(model.config, logits), class_)
    salience = jax.ops.segment_sum(map_.reshape(-1).astype(probability.dtype), group, groups)
    return coefficient(salience, probability[0] - probability[1:])


def coefficient(salience: Float[Array, " group"], drop: Float[Array, " group"]) -> Float[Array, ""]:
    """`Σ ±(s_i - s_j) / Σ |s_i - s_j|` over pairs with `s_i > s_j`: + where `drop_i >= drop_j`.

    1 where the drops have the order of the sums, -1 where they have the reverse; NaN where all sums
    are equal.
    """
    more = jnp.maximum(salience[:, None] - salience, 0)
    right = drop[:, None] >= drop
    return (jnp.where(right, more, -more)).sum() / more.sum()


@metric(
    id="saco-v1",
    heading="faithfulness",
    definition="do ten groups of patches lose probability in the order of their sums, pairs "
    "weighted by the sums' difference",
    better="higher",
    cost="11F",
    source="Wu et al. 2024",
    blind="patches within a group; evidence that others stand in for",
    cheap=True,
)
def score_saco(context: Context) -> np.ndarray:
    """`saco` of every image."""
    return context.each(_of_case)


def _of_case(model: Model, case: Case) -> Array:
    rank, chunk = case.places[0], at_once()
    return saco(model, case.image, case.map, rank, case.class_, chunk_size=chunk)
