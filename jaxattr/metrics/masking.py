"""The class's probability while patches are masked, from the highest score and from the lowest."""

from __future__ import annotations

import numpy as np
from jax import Array

from jaxattr.heads import probabilities
from jaxattr.losses import pick
from jaxattr.metrics.context import Case, Context, at_once
from jaxattr.metrics.metric import HOLES, metric
from jaxattr.metrics.perturbation import counts, perturb
from jaxattr.vit import Model

TENTHS = tuple(step / 10 for step in range(10))
"""Shares of the patches that are masked."""


@metric(
    id="positive-v1",
    heading="faithfulness",
    definition="area under the class's probability, highest scores masked black first, 0 to 90 %",
    better="lower",
    cost="9F",
    source="Chefer et al. 2021",
    blind=HOLES,
)
def positive(context: Context) -> np.ndarray:
    """Highest scores first: the faster the class is lost, the better."""
    return context.each(_highest_first)


@metric(
    id="negative-v1",
    heading="faithfulness",
    definition="the same, lowest scores first",
    better="higher",
    cost="9F",
    source="Chefer et al. 2021",
    blind="which of the kept patches mattered",
)
def negative(context: Context) -> np.ndarray:
    """Lowest scores first: the longer the class is kept, the better."""
    return context.each(_lowest_first)


def _highest_first(model: Model, case: Case) -> Array:
    return _area(model, case, case.places[:1])


def _lowest_first(model: Model, case: Case) -> Array:
    return _area(model, case, case.places[1:])


def _area(model: Model, case: Case, order: Array) -> Array:
    """Under the probability over the masked share, by trapezoids over tenths."""
    taken = counts(order.shape[1], TENTHS)
    logits = perturb(model, case.image, order, taken, "black", chunk_size=at_once())[0]
    chance = pick(probabilities(model.config, logits), case.class_)
    return (chance[1:] + chance[:-1]).sum() / 20
