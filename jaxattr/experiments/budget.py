"""The smallest budget at which a rewriting succeeds: a measure of how fragile a decision is."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Int32

from jaxattr.experiments.rewrite import (
    OPTIMIZER,
    STEPS,
    Limits,
    Pixels,
    Rewritten,
    advance,
    pose,
    result,
    start,
)
from jaxattr.vit import Loss, Model

LARGEST = 64
"""Grey levels at which a search gives up."""


class Budget(NamedTuple):
    """The smallest L-infinity budget at which a rewriting succeeded."""

    linf: Int32[Array, ""]
    """In grey levels; one more than the largest that was allowed where none succeeded."""
    rewritten: Rewritten
    """At that budget; where none succeeded, the one that came closest."""


def smallest_budget(
    model: Model,
    pixels: Pixels,
    to: Any,
    *,
    loss: Loss | None = None,
    limits: Limits = Limits(),  # noqa: B008
    steps: Any = STEPS,
    optimizer: optax.GradientTransformation = OPTIMIZER,
    largest: Any = LARGEST,
) -> Budget:
    """The smallest L-infinity budget, in whole grey levels, at which `rewrite` succeeds.

    Doubles the budget until it succeeds, then bisects: each image of a `vmap` its own. The budget
    found is an upper bound of the true one (it has a picture that proves it); one less failed
    within `steps`. `limits.linf` is ignored, and `margin` must be finite for a success to count.
    """
    problem = pose(pixels, to, loss, limits)
    begun = start(problem, optimizer)
    bracket = first_bracket(largest)

    def going_on(carry: tuple[Bracket, Rewritten]) -> Array:
        return carry[0].open

    def attempt(carry: tuple[Bracket, Rewritten]) -> tuple[Bracket, Rewritten]:
        bracket, best = carry
        linf = bracket.proposal.astype(jnp.float32)
        posed = problem._replace(limits=problem.limits._replace(linf=linf))
        found = result(posed, advance(model, posed, begun, steps, optimizer))
        return bracket.narrowed(found.reached), better(best, found)

    carry = lax.while_loop(going_on, attempt, (bracket, result(problem, begun)))
    return Budget(carry[0].succeeded, carry[1])


class Bracket(NamedTuple):
    """Between which budgets the smallest one lies; whole grey levels."""

    failed: Int32[Array, ""]
    succeeded: Int32[Array, ""]
    """`largest + 1` while none did."""
    largest: Int32[Array, ""]

    @property
    def open(self) -> Array:
        """Whether there is a budget left to try."""
        return self.succeeded - self.failed > 1

    @property
    def proposal(self) -> Array:
        """The next budget to try: twice the last failure, or half-way to the last success."""
        doubled = jnp.clip(2 * self.failed, 1, self.largest)
        return jnp.where(
            self.succeeded > self.largest, doubled, (self.failed + self.succeeded) // 2
        )

    def narrowed(self, reached: Any) -> Bracket:
        """After the proposal has been tried."""
        tried = self.proposal
        return Bracket(
            jnp.where(reached, self.failed, tried),
            jnp.where(reached, tried, self.succeeded),
            self.largest,
        )


def first_bracket(largest: Any) -> Bracket:
    """Nothing tried yet: no change fails, as the image does not have the class."""
    limit = jnp.asarray(largest, jnp.int32)
    return Bracket(jnp.zeros_like(limit), limit + 1, limit)


def better(first: Rewritten, second: Rewritten) -> Rewritten:
    """The second where it succeeded, or where neither did and it came closer."""
    chosen = second.reached | (~first.reached & (second.margin > first.margin))
    return jax.tree.map(lambda old, new: jnp.where(chosen, new, old), first, second)
