"""How long a computation takes once it is warm: the one clock behind every printed time of a map.

The first execution of a compiled function does not measure the later ones: it starts threads,
touches its memory for the first time and may wait for transfers, and took 5 to 13 times as long
on two cores of a CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import jax
import numpy as np

REPEATS = 9
"""Timed executions at most, where the calls are fewer."""
BUDGET = 2.0
"""Seconds after which nothing is repeated for the sake of its time; one repetition always is."""
LONG = 20.0
"""Seconds of a first execution beside which its warm-up is nothing: it is not repeated."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Timed(Generic[Result]):
    """What calls returned, and how long one of them takes."""

    results: list[Result]
    """Of each call, in their order."""
    seconds: float
    """Median of the warm executions."""
    executions: int
    """How many these are; 0 says that the one cold execution was so long that it stands alone."""


def timed(
    calls: Sequence[Callable[[], Result]],
    *,
    repeats: int = REPEATS,
    budget: float = BUDGET,
    long: float = LONG,
    clock: Callable[[], float] = time.perf_counter,
) -> Timed[Result]:
    """Make every call once, and again until the median time of one of them is known.

    The calls do the same work on different data. Each is waited for (`jax.block_until_ready`). The
    first execution is discarded, all others count. Where there are fewer than `repeats`, calls are
    repeated in turn until there are that many or `budget` seconds have passed. A single call of
    more than `long` seconds is not repeated.

    Raises:
        ValueError: no call.
    """
    if not calls:
        raise ValueError("no call to time; give at least one.")

    def run(call: Callable[[], Result]) -> Result:
        began = clock()
        result = jax.block_until_ready(call())
        seconds.append(clock() - began)
        return result

    began, seconds = clock(), []
    results = [run(call) for call in calls]
    turn = 0
    while len(seconds) <= repeats and not (len(seconds) == 1 and seconds[0] > long):
        if len(seconds) > 1 and clock() - began >= budget:
            break
        run(calls[turn % len(calls)])
        turn += 1
    warm = seconds[1:]
    return Timed(results, float(np.median(warm or seconds)), len(warm))
