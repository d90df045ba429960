"""What a method promises, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from jaxattr.vit import Image, Loss, Map, Model


class MethodFunction(Protocol):
    """The contract: one image in, one raw map out, signed where the mathematics has a sign."""

    def __call__(self, model: Model, image: Image, loss: Loss) -> Map: ...


class Method(NamedTuple):
    """A row of `METHODS`."""

    name: str
    function: Callable[..., Map]
    signed: bool
    target_dependent: bool
    differentiates: str
    """The tap whose gradient is taken, or `"nothing"`."""
    cost: str
    """In forwards (F) and backwards (B) per image, as `21F + 20b`; b goes back one block only, S
    solves one problem of network flow for each token."""
    source: str
    equals: str
    """Whose code its maps were compared with; starts with `nothing` where there is none."""

    @property
    def forwards(self) -> int:
        """In forward passes: a backward pass counts as 2, one of a block as 0, S as 100."""
        parts = [part.strip() for part in self.cost.split("+")]
        return sum(int(part[:-1]) * {"F": 1, "B": 2, "b": 0, "S": 100}[part[-1]] for part in parts)
