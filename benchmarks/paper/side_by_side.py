"""The maps of all methods for some questions, timed: Fig. 10 and 13."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.paper.lab import Lab
from jaxattr import losses
from jaxattr.methods import METHODS
from jaxattr.plot.grid import Column

LEAST = 2
"""Timed maps of a method, after the one that compiles."""


class Answers(NamedTuple):
    """One method's maps of all questions."""

    maps: np.ndarray
    """`[question, row, column]`."""
    seconds: float
    """Of one map, compiled: the fastest. On a CPU processor time, of all threads together, because
    other work on the machine does not count there."""


@partial(jax.jit, static_argnames="method")
def _explain(model: Any, array: Any, loss: Any, method: str) -> Any:
    return METHODS[method].function(model, array, loss)


def weights(lab: Lab, plus: int, minus: int | None = None) -> Any:
    """A logit, or a difference of two, as one kind of loss, so that each method compiles once."""
    chosen = np.zeros(lab.model.config.classes, np.float32)
    chosen[plus] = 1
    if minus is not None:
        chosen[minus] = -1
    return losses.weighted(jnp.asarray(chosen))


def explain(lab: Lab, questions: Sequence[tuple[Any, Any]], method: str) -> Answers:
    """The maps of several pairs of image and loss by one method."""
    run = partial(_explain, lab.model, method=method)
    found = [np.asarray(run(*questions[0]))]
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    seconds = []
    for array, loss in (*questions[1:], *questions[: max(0, LEAST + 1 - len(questions))]):
        began = clock()
        found.append(np.asarray(run(array, loss)))
        seconds.append(clock() - began)
    return Answers(np.stack(found[: len(questions)]).astype(np.float64), min(seconds))


def column(method: str, answers: Answers, maps: Sequence[Any]) -> Column:
    """A method's column of the picture, with its time."""
    of = " of CPU" if jax.default_backend() == "cpu" else ""
    words = f"{1000 * answers.seconds:.0f} ms{of} a map"
    return Column(method, maps, METHODS[method].signed, words)
