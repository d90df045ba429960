"""The work of `jaxattr rewrite`: from a photo and masks to the best picture, chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from jaxattr.cli.common.interrupt import interruptible

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from jaxattr.experiments.rewrite import Limits, Rewritten, State
    from jaxattr.vit import Loss, Model

_CHUNK = 5
_SECONDS = 1.0


class Photo(NamedTuple):
    """The photo and its masks, decoded, in their own sizes."""

    path: Path
    image: Image.Image
    inside: np.ndarray | None
    """Where pixels may change, `[height, width]` of the photo."""
    outside: np.ndarray | None


class Task(NamedTuple):
    """What is to be done."""

    model: Model
    pixels: np.ndarray
    """The model's input grid, 8-bit."""
    old: int
    new: int
    loss: Loss
    limits: Limits
    steps: int
    search: bool
    largest: int


class Progress:
    """The best picture so far, kept where an interrupt cannot lose it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.best: Rewritten | None = None
        self.interrupted = False
        self.tried: list[tuple[int, bool]] = []
        """Budgets of a search, and whether each was enough."""


def read(image: Path, inside: Path | None, outside: Path | None, max_pixels: int) -> Photo:
    """Decode the photo and its masks."""
    from jaxattr.data import images

    photo = images.decode(image, max_pixels=max_pixels)
    masks = (
        _mask(path, option, max_pixels)
        for path, option in ((inside, "--inside"), (outside, "--outside"))
    )
    return Photo(image, photo, *masks)


def prepare(model: Model, photo: Photo, new: int, loss: str, numbers: dict[str, Any]) -> Task:
    """Pixels, masks and limits at the model's input size, and the class the photo has now."""
    import numpy as np

    from jaxattr import losses
    from jaxattr.data import images
    from jaxattr.experiments.rewrite import Limits, lead_of_others

    pixels = images.fit(photo.image, model.preprocessing)
    old = int(logits(model, images.normalize(pixels, model.preprocessing)).argmax())
    mask = _allowed(model, photo, pixels.shape[:2])
    infinite = float("inf")
    limits = Limits(
        linf=float(numbers["linf"] or infinite),
        l2=float(numbers["l2"] or infinite),
        total_variation=numbers["total_variation"],
        margin=numbers["margin"],
        mask=None if mask.all() else np.ascontiguousarray(mask),
    )
    descended = losses.difference(old, new) if loss == "difference" else lead_of_others(new)
    return Task(
        model,
        pixels,
        old,
        new,
        descended,
        limits,
        numbers["steps"],
        numbers["budget_search"],
        numbers["largest"],
    )


def logits(model: Model, array: np.ndarray) -> np.ndarray:
    """The logits of one normalised image."""
    import jax
    import numpy as np

    from jaxattr.vit import predict

    return np.asarray(interruptible(lambda: jax.jit(predict)(model, array)))


def run(task: Task, optimizer: str, rate: float, progress: Progress) -> None:
    """Rewrite once, or search for the smallest budget; the best picture is in `progress`."""
    import jax
    import optax

    from jaxattr.experiments.budget import better, first_bracket
    from jaxattr.experiments.rewrite import advance

    chosen = {"sign": optax.sign_sgd, "adam": optax.adam, "sgd": optax.sgd}[optimizer](rate)
    compiled = jax.jit(partial(advance, optimizer=chosen))

    def attempt(limits: Limits, keep: Callable[[Rewritten], None]) -> Rewritten:
        return _attempt(task, limits, compiled, chosen, progress, keep)

    if not task.search:
        attempt(task.limits, lambda found: setattr(progress, "best", found))
        return
    bracket, before = first_bracket(task.largest), None

    def keep(found: Rewritten) -> None:
        progress.best = found if before is None else better(before, found)

    while bracket.open:
        linf = int(bracket.proposal)
        found = attempt(task.limits._replace(linf=float(linf)), keep)
        reached = bool(found.reached)
        progress.tried.append((linf, reached))
        said = "enough" if reached else f"too small, {float(found.margin):+.2f} logits"
        progress.say(f"L-infinity {linf}: {said} after {int(found.steps)} steps")
        bracket, before = bracket.narrowed(reached), progress.best


def _attempt(
    task: Task,
    limits: Limits,
    compiled: Callable[..., State],
    optimizer: Any,
    progress: Progress,
    keep: Callable[[Rewritten], None],
) -> Rewritten:
    """One rewriting in chunks of about a second, so that Ctrl-C finds the best of them."""
    from jaxattr.experiments.rewrite import pose, result, start

    problem = pose(task.pixels, task.new, task.loss, limits)
    state, until, chunk = start(problem, optimizer), 0, _CHUNK
    while True:
        began = time.monotonic()
        state = interruptible(partial(_done, compiled, task.model, problem, state, until))
        found = result(problem, state)
        keep(found)
        if found.reached or until >= task.steps:
            return found
        took = time.monotonic() - began
        if until:
            if not task.search:
                progress.say(f"step {until}: {float(found.margin):+.2f} logits")
            chunk = min(4 * chunk, 256) if took < _SECONDS / 2 else max(1, chunk // 2)
        until = min(until + chunk, task.steps)


def _done(function: Callable[..., State], *arguments: Any) -> State:
    import jax

    return jax.block_until_ready(function(*arguments))


def _mask(path: Path | None, option: str, max_pixels: int) -> np.ndarray | None:
    from jaxattr.data import images

    if path is None:
        return None
    mask = images.read_mask(path, max_pixels=max_pixels)
    if mask.all() or not mask.any():
        raise click.BadParameter(
            f"{path} marks {'every' if mask.all() else 'no'} pixel; those that are not 0 (black) "
            "are the region.",
            param_hint=option,
        )
    return mask


def _allowed(model: Model, photo: Photo, grid: tuple[int, int]) -> np.ndarray:
    """Where pixels may change on the model's grid: the masks, and inside the photo."""
    import numpy as np

    from jaxattr.data.images import fit_mask

    own = photo.image.size[::-1]
    # Where the crop is larger than the photo, the model sees black that is in no file.
    allowed = fit_mask(np.ones(own, bool), model.preprocessing)
    for mask, wanted, option in (
        (photo.inside, True, "--inside"),
        (photo.outside, False, "--outside"),
    ):
        if mask is None:
            continue
        if mask.shape == own:
            mask = fit_mask(mask, model.preprocessing)
        elif mask.shape != grid:
            raise click.BadParameter(
                f"the mask is {mask.shape[1]} x {mask.shape[0]} pixels, the photo "
                f"{own[1]} x {own[0]} and the model's input {grid[1]} x {grid[0]}; draw it over "
                "one of them.",
                param_hint=option,
            )
        allowed = allowed & (mask == wanted)
    if not allowed.any():
        raise click.UsageError("the masks leave no pixel of the model's input to change.")
    return allowed
