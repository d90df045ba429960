"""What is said of a metric, and how this is written beside its function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np

from jaxattr import registry
from jaxattr.metrics.context import Context

Score = Callable[[Context], np.ndarray]
Function = TypeVar("Function", bound=Callable[..., Any])

HEADINGS = (
    "faithfulness",
    "robustness",
    "localisation",
    "complexity",
    "randomisation",
    "axiomatic",
)
"""Those of Quantus (Hedström et al. 2023); one's own metrics may stand under another."""
HOLES = "a loss because of the hole, which no training image has, from one of evidence"
OUTSIDE = "evidence that is rightly outside the object; a model that looks elsewhere"


@dataclass(frozen=True)
class Metric:
    """A metric with what is said of it: a row of `METRICS`, or made of a function of one's own."""

    id: str
    """Versioned, as `deletion-v1`: a changed definition gets a new one."""
    score: Score
    """One score for each image of a `Context`; NaN where it is not defined."""
    heading: str = "own"
    definition: str = ""
    better: Literal["higher", "lower"] = "higher"
    cost: str = "unknown"
    """For one map of one image: forward passes (F), further maps of the method (M); L layers."""
    masks: bool = False
    """Whether it needs masks of the objects."""
    explains: bool = False
    """Whether it needs further maps of the method."""
    source: str = "own"
    blind: str = ""
    """What it cannot tell."""
    cheap: bool = False
    """Whether it is taken where nothing is asked for, as those that need masks are."""

    @property
    def name(self) -> str:
        """The id without its version."""
        return self.id.rsplit("-v", 1)[0]


def metric(
    *,
    id: str,
    heading: str = "own",
    definition: str = "",
    better: Literal["higher", "lower"] = "higher",
    cost: str = "unknown",
    masks: bool = False,
    explains: bool = False,
    source: str = "own",
    blind: str = "",
    cheap: bool = False,
) -> Callable[[Function], Function]:
    """Say beside a function of a `Context` what is known of it; it stays the plain one it is.

    See `Metric` for the arguments.
    """

    def decorate(function: Function) -> Function:
        record = Metric(
            id=id,
            score=function,
            heading=heading,
            definition=definition,
            better=better,
            cost=cost,
            masks=masks,
            explains=explains,
            source=source,
            blind=blind,
            cheap=cheap,
        )
        return registry.attach(function, record)

    return decorate


def metric_of(function: Callable[..., Any]) -> Metric:
    """What is said of a function, or the defaults: its own name, and higher is better."""
    record = registry.attached(function, Metric)
    if record is not None:
        return record if record.score is function else replace(record, score=function)
    return Metric(getattr(function, "__name__", type(function).__name__), function)
