"""What a method promises, what is said of it, and how this is written beside its function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

from jaxattr import registry
from jaxattr.gradients.relevance import Start
from jaxattr.vit import Image, Loss, Map, Model

Function = TypeVar("Function", bound=Callable[..., Map])


class MethodFunction(Protocol):
    """The contract: one image in, one raw map out, signed where the mathematics has a sign."""

    def __call__(self, model: Model, image: Image, loss: Loss) -> Map: ...


@dataclass(frozen=True)
class Cost:
    """What one map of one image costs. As text: `21F + 20b`."""

    forward: int = 0
    """Forward passes (F)."""
    backward: int = 0
    """Backward passes (B)."""
    block: int = 0
    """Backward passes of one block only (b)."""
    flow: int = 0
    """Problems of network flow for each token (S)."""

    def __str__(self) -> str:
        counts = zip((self.forward, self.backward, self.block, self.flow), "FBbS", strict=True)
        return " + ".join(f"{count}{letter}" for count, letter in counts if count) or "unknown"

    @property
    def forwards(self) -> int:
        """In forward passes: a backward pass counts as 2, one of a block as 0, S as 100."""
        return self.forward + 2 * self.backward + 100 * self.flow


@dataclass(frozen=True)
class Method:
    """A method with what is said of it: a row of `METHODS`, or made of a function of one's own."""

    name: str
    function: Callable[..., Map]
    signed: bool = True
    target_dependent: bool = True
    differentiates: str = "unknown"
    """The tap whose gradient is taken, or `"nothing"`."""
    cost: Cost = Cost()
    source: str = "own"
    equals: str = "nothing: not compared"
    """Whose code its maps were compared with; starts with `nothing` where there is none."""
    complete: Literal["change", "output", "one"] | None = None
    """What a map is meant to sum to: the loss's change from the mean colour, the loss, or 1."""
    start: Start | None = None
    """Of relevance: what it starts from at the logits, see `relevance.gain`."""
    shows: str | None = None
    """What a map without a sign shows of the class `{}`, where more is known than that it matters.
    """

    @property
    def forwards(self) -> int:
        """Its cost in forward passes."""
        return self.cost.forwards

    @property
    def meaning(self) -> str:
        """What the positive side of a map shows of the class `{}`."""
        if self.signed:
            return "for {}"
        if not self.target_dependent:
            return "where attention goes, whatever the class"
        return self.shows or "matters for {}"


def method(
    *,
    name: str | None = None,
    signed: bool = True,
    target_dependent: bool = True,
    differentiates: str = "unknown",
    cost: Cost = Cost(),
    source: str = "own",
    equals: str = "nothing: not compared",
    complete: Literal["change", "output", "one"] | None = None,
    start: Start | None = None,
    shows: str | None = None,
) -> Callable[[Function], Function]:
    """Say beside a function what is known of it; the function stays the plain one it is.

    `method_of` gives the record back. All is optional: of a function without it, the defaults hold.

    Args:
        name: by default the function's own.
        signed: whether negative values speak against the loss.
        target_dependent: whether a map depends on the loss.
        differentiates: the tap whose gradient is taken, or `"nothing"`.
        cost: of one map.
        source: who published it, and when.
        equals: whose code its maps were compared with.
        complete: what a map is meant to sum to, see `Method`.
        start: what relevance starts from.
        shows: what a map without a sign shows.
    """

    def decorate(function: Function) -> Function:
        record = Method(
            name=name or function.__name__,
            function=function,
            signed=signed,
            target_dependent=target_dependent,
            differentiates=differentiates,
            cost=cost,
            source=source,
            equals=equals,
            complete=complete,
            start=start,
            shows=shows,
        )
        return registry.attach(function, record)

    return decorate


def method_of(function: Callable[..., Any]) -> Method:
    """What is said of a function, or the defaults; of a `functools.partial`, under its options.

    Options may change the cost, and what a map sums to: nothing is promised of these.
    """
    if isinstance(function, functools.partial):
        whole = method_of(function.func)
        options = ", ".join(f"{key}={value!r}" for key, value in function.keywords.items())
        return replace(
            whole,
            name=f"{whole.name}({options})",
            function=function,
            cost=Cost(),
            equals="nothing: not compared",
            complete=None,
        )
    record = registry.attached(function, Method)
    if record is not None:  # a wrapper that copies attributes is another function
        return record if record.function is function else replace(record, function=function)
    return Method(getattr(function, "__name__", type(function).__name__), function)
