"""Pictures: a fragile class is confirmed by rewriting its images in whole grey levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.probes import rewriting
from jaxattr.audit.probes.store import Answered, Question, answers
from jaxattr.audit.statistics.fragility import compare_budgets
from jaxattr.data import images
from jaxattr.experiments.budget import smallest_budget
from jaxattr.experiments.rewrite import Limits

if TYPE_CHECKING:
    from jaxattr.audit.probes import Subject

NAME = "pictures"
VERSION = 1
CLASSES = 2
"""Classes confirmed, the most fragile first."""
IMAGES = 3
"""Images of each, and as many of other classes."""
STEPS = 12
LARGEST = 8
"""Grey levels at which a search gives up."""

OPTIMIZER = optax.sign_sgd(1.0)
"""A whole grey level a step, so that few steps reach any budget tried."""

_LIMITS = Limits(margin=0.0)


@jax.jit
def _smallest(model: Any, pixels: Any, to: Any) -> tuple[Any, Any]:
    found = smallest_budget(
        model, pixels, to, limits=_LIMITS, steps=STEPS, optimizer=OPTIMIZER, largest=LARGEST
    )
    return found.linf, found.rewritten.reached


def questions(analysis: Analysis) -> list[Question]:
    """The images of fragile classes and of the others whose budgets are nearest their median.

    They follow from the answers of `rewriting`: none before those are complete, and none where no
    class is fragile; at most `CLASSES * IMAGES * 2`.
    """
    asked = answers(analysis.ledger, rewriting.NAME)
    if not asked:
        return []
    budget = np.array([one.answer["budget"] for one in asked], np.float64)
    label = np.array([one.question["label"] for one in asked], np.int64)
    found = compare_budgets(budget, label)
    # Both sides are stood for by the images in their middle, so that the medians are compared.
    return [
        {**one.question, "to": one.answer["to"], "for": class_}
        for class_ in found.classes[found.fragile[:CLASSES]].tolist()
        for side in (label == class_, label != class_)
        for one in _middle(asked, budget, side)
    ]


def answer(subject: Subject, question: Question) -> dict[str, Any]:
    """The smallest largest change, in whole grey levels, that makes it the class `to`.

    `budget.smallest_budget` with `STEPS` steps, up to `LARGEST` grey levels: at most six searches,
    72 forward and backward passes. One more than `LARGEST` where none succeeded.
    """
    model = subject.model
    pixels = images.denormalize(subject.image(question["image"]), model.preprocessing)
    levels, reached = _smallest(model, jnp.asarray(pixels), question["to"])
    return {"levels": int(levels), "reached": bool(reached)}


def _middle(asked: list[Answered], budget: np.ndarray, side: np.ndarray) -> list[Answered]:
    """The images of one side whose budgets are nearest its median."""
    members = np.flatnonzero(side)
    logs = np.log(np.maximum(budget[members], 1e-9))
    far = np.abs(logs - np.median(logs))
    return [asked[at] for at in members[np.argsort(far, kind="stable")][:IMAGES]]
