"""A ledger and what is inferred from it: what finders, probes and the report are given."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from jaxattr.audit.inference import places
from jaxattr.audit.inference.excess import Excess, excess
from jaxattr.audit.inference.extent import Extent, extent
from jaxattr.audit.inference.learned import Learned, learned
from jaxattr.audit.inference.pairs import Tests, compare_pairs
from jaxattr.audit.inference.posterior import Posterior, fit_posterior
from jaxattr.audit.inference.sharpening import sharpen
from jaxattr.audit.ledger import LedgerView
from jaxattr.data.labels import LabelTable

Result = TypeVar("Result")


class Analysis:
    """A finished ledger, and everything inferred from it, computed when it is first asked for.

    Make one for a ledger and hand it to whatever asks: each inference is then made once. Nothing
    is written into the ledger, and what was computed goes with this object.
    """

    def __init__(self, ledger: LedgerView) -> None:
        self.ledger = ledger
        self._remembered: dict[Callable[..., Any], Any] = {}

    @cached_property
    def names(self) -> LabelTable:
        """The names of the model's outputs."""
        return LabelTable(self.ledger.receipt.labels)

    @cached_property
    def training(self) -> Analysis | None:
        """Of the folder that the model was trained on, where its ledger was given."""
        return None if self.ledger.training is None else Analysis(self.ledger.training)

    @cached_property
    def posterior(self) -> Posterior:
        """The calibrated posterior of every image."""
        return fit_posterior(self.ledger)

    @cached_property
    def sharpened(self) -> Posterior:
        """The posterior, raised to the power that fits the labels best, given the pairs' rates."""
        return sharpen(self.posterior)

    @cached_property
    def extent(self) -> Extent:
        """What of its folder was audited."""
        return extent(self.ledger, self.posterior)

    @cached_property
    def pairs(self) -> Tests:
        """The test of every ordered pair of classes."""
        return compare_pairs(self.posterior)

    @cached_property
    def excess(self) -> Excess:
        """What the model gives to one class on another's images beyond the labels."""
        return excess(self.ledger, self.posterior)

    @cached_property
    def learned(self) -> tuple[Learned, ...]:
        """The pairs that the training folder holds, tested in this one; none without it."""
        there = self.training
        if there is None:
            return ()
        return learned(self.posterior, self.excess, there.posterior, there.pairs.accepted)

    @cached_property
    def places(self) -> places.Scan:
        """Where in the image each class has more evidence than the others."""
        return places.scan(self.ledger, self.posterior)

    def remember(self, function: Callable[[Analysis], Result]) -> Result:
        """`function` of this analysis, computed once: for what only one finder needs."""
        if function not in self._remembered:
            self._remembered[function] = function(self)
        return self._remembered[function]
