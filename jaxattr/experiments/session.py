"""A rewriting from a photo to a picture: watched step by step, and judged by the file it leaves.

`rewrite` and `smallest_budget` are pure and end when they end. Here the same steps come in chunks
of about a second, so that whoever watches can stop at any of them and keep the best picture.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Bool, Float, Float64, UInt8
from PIL import Image

from jaxattr import losses
from jaxattr.data import images
from jaxattr.data.labels import LabelTable
from jaxattr.errors import ImageError
from jaxattr.experiments.budget import LARGEST, better, first_bracket
from jaxattr.experiments.distances import Distances, distances
from jaxattr.experiments.rewrite import (
    OPTIMIZER,
    STEPS,
    Limits,
    Rewritten,
    State,
    advance,
    lead_of_others,
    pose,
    result,
    start,
)
from jaxattr.explanation import said
from jaxattr.heads import probabilities
from jaxattr.methods import METHODS
from jaxattr.vit import Loss, Model, Preprocessing, predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Mask = Bool[np.ndarray, "_ _"]
Descended = Literal["difference", "lead"]
_CHUNK = 5
_SECONDS = 1.0
_MAP = "complete"


class Task(NamedTuple):
    """What is to be done."""

    model: Model
    pixels: np.ndarray
    """The model's input grid, 8-bit."""
    old: int
    """The class that the photo has."""
    new: int
    """The class that it shall get."""
    loss: Loss
    limits: Limits
    steps: int
    search: bool
    """Whether the smallest L-infinity budget is looked for, up to `largest`."""
    largest: int


class Seen(NamedTuple):
    """Where a session stands after a chunk of steps."""

    best: Rewritten
    """So far, of all budgets."""
    found: Rewritten
    """So far, of the budget that is being tried."""
    step: int
    budget: int | None
    """The L-infinity budget that is being tried, of a search."""
    ended: bool
    """Whether this was the budget's last chunk."""


def prepare(
    model: Model,
    image: Image.Image,
    new: int,
    *,
    loss: Descended = "difference",
    limits: Limits = Limits(),  # noqa: B008  (immutable)
    inside: Mask | None = None,
    outside: Mask | None = None,
    steps: int = STEPS,
    search: bool = False,
    largest: int = LARGEST,
) -> Task:
    """The pixels, the mask and the loss at the model's input size, and the class of the photo now.

    Args:
        image: as `images.decode` gives it.
        loss: what is descended: the old class's logit minus the new one's (the paper), or the lead
            of the strongest other class.
        inside: change only where this is true; of the photo's size or the model's input size.
        outside: change only where this is false.

    Raises:
        ImageError: a mask of another size, or masks that leave no pixel.
    """
    pixels = images.fit(image, model.preprocessing)
    old = int(logits_of(model, images.normalize(pixels, model.preprocessing)).argmax())
    own, grid = (image.height, image.width), (pixels.shape[0], pixels.shape[1])
    mask = changeable(own, grid, model.preprocessing, inside, outside)
    limits = limits._replace(mask=None if mask.all() else np.ascontiguousarray(mask))
    descended = losses.difference(old, new) if loss == "difference" else lead_of_others(new)
    return Task(model, pixels, old, new, descended, limits, steps, search, largest)


def changeable(
    own: tuple[int, int],
    grid: tuple[int, int],
    preprocessing: Preprocessing,
    inside: Mask | None = None,
    outside: Mask | None = None,
) -> Mask:
    """Where pixels may change on the model's grid: the masks, and inside the photo of size `own`.

    Raises:
        ImageError: as `prepare`.
    """
    # Where the crop is larger than the photo, the model sees black that is in no file.
    allowed = images.fit_mask(np.ones(own, bool), preprocessing)
    for mask, wanted, side in ((inside, True, "inside"), (outside, False, "outside")):
        if mask is None:
            continue
        if mask.shape == own:
            mask = images.fit_mask(mask, preprocessing)
        elif mask.shape != grid:
            raise ImageError(
                f"{side}: the mask is {mask.shape[1]} x {mask.shape[0]} pixels, the photo "
                f"{own[1]} x {own[0]} and the model's input {grid[1]} x {grid[0]}; draw it over "
                "one of them."
            )
        allowed = allowed & (mask == wanted)
    if not allowed.any():
        raise ImageError("the masks leave no pixel of the model's input to change.")
    return allowed


def session(task: Task, optimizer: optax.GradientTransformation = OPTIMIZER) -> Iterator[Seen]:
    """Rewrite once, or search for the smallest budget; yields after each chunk of steps.

    The last `best` is that of `rewrite`, or of `smallest_budget`.
    """
    compiled = jax.jit(partial(advance, optimizer=optimizer))
    if not task.search:
        yield from _attempt(task, task.limits, compiled, optimizer)
        return
    bracket, before = first_bracket(task.largest), None
    while bracket.open:
        budget = int(bracket.proposal)
        limits = task.limits._replace(linf=float(budget))
        best, reached = before, False
        for seen in _attempt(task, limits, compiled, optimizer):
            best = seen.found if before is None else better(before, seen.found)
            reached = bool(seen.found.reached)
            yield seen._replace(best=best, budget=budget)
        bracket, before = bracket.narrowed(reached), best


def _attempt(
    task: Task,
    limits: Limits,
    compiled: Callable[..., State],
    optimizer: optax.GradientTransformation,
) -> Iterator[Seen]:
    problem = pose(task.pixels, task.new, task.loss, limits)
    state, until, chunk = start(problem, optimizer), 0, _CHUNK
    while True:
        began = time.monotonic()
        state = jax.block_until_ready(compiled(task.model, problem, state, until))
        found = result(problem, state)
        took = time.monotonic() - began
        ended = bool(found.reached) or until >= task.steps
        yield Seen(found, found, until, None, ended)
        if ended:
            return
        if until:
            chunk = min(4 * chunk, 256) if took < _SECONDS / 2 else max(1, chunk // 2)
        until = min(until + chunk, task.steps)


def as_picture(
    image: Image.Image,
    pixels: UInt8[np.ndarray, "height width channel"],
    preprocessing: Preprocessing,
) -> Image.Image:
    """The rewritten pixels as a picture that the model's preprocessing leaves as it is.

    Where the model crops, they lie in the middle of the resized photo, so that the same resize
    changes nothing and the same crop finds them.
    """
    rounding = preprocessing.crop_rounding
    whole = images.fit(image, replace(preprocessing, crop=None))
    (tall, wide), (height, width) = whole.shape[:2], pixels.shape[:2]
    top, left = (
        images.crop_offset(tall, height, rounding),
        images.crop_offset(wide, width, rounding),
    )
    canvas = Image.fromarray(images.as_rgb(whole))
    canvas.paste(Image.fromarray(images.as_rgb(pixels)), (left, top))
    return canvas


def look_again(
    model: Model, path: str | os.PathLike[str], pixels: UInt8[np.ndarray, "height width channel"]
) -> Float64[np.ndarray, " class"]:
    """The model's answer to the file of `as_picture`, decoded again.

    Raises:
        ImageError: the model would see other pixels than were written.
    """
    again = images.preprocess(path, model.preprocessing)
    if (again != images.normalize(pixels, model.preprocessing)).any():
        raise ImageError(
            f"{path}: the model would see other pixels than were written, because its "
            "preprocessing resizes them; use a model whose crop is not larger than its resize."
        )
    return logits_of(model, again)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a session came to, judged by the file that was written."""

    task: Task
    best: Rewritten
    budgets: tuple[tuple[int, bool], ...]
    """Those that a search tried, and whether each was enough."""
    before: Float64[np.ndarray, " class"]
    """The logits of the photo."""
    after: Float64[np.ndarray, " class"]
    """The logits of the picture, decoded again."""

    @property
    def pixels(self) -> UInt8[np.ndarray, "height width channel"]:
        """Of the picture, on the model's grid."""
        return np.asarray(self.best.pixels)

    @cached_property
    def distances(self) -> Distances:
        """How far picture and photo are apart."""
        return distances(self.task.pixels, self.pixels)

    @property
    def margin(self) -> float:
        """The new class's logit minus the largest other one."""
        return float(self.after[self.task.new] - np.delete(self.after, self.task.new).max())

    @property
    def reached(self) -> bool:
        """Whether the picture has the class, with the margin up to rounding."""
        return self.margin > 0 and self.margin >= float(self.task.limits.margin) - 1e-3

    @property
    def smallest_budget(self) -> int | None:
        """The smallest L-infinity budget that was enough, if any was."""
        return min((budget for budget, reached in self.budgets if reached), default=None)

    @cached_property
    def probabilities(self) -> tuple[np.ndarray, np.ndarray]:
        """Of photo and picture, by the head's own function."""
        config = self.task.model.config
        return probabilities(config, self.before), probabilities(config, self.after)

    @cached_property
    def maps(self) -> Float[np.ndarray, "when row column"]:
        """The complete map of `l_old - l_new`, of photo and picture."""
        model, loss = self.task.model, losses.difference(self.task.old, self.task.new)
        arrays = [
            images.normalize(one, model.preprocessing) for one in (self.task.pixels, self.pixels)
        ]
        return np.stack([np.asarray(_complete(model, one, loss)) for one in arrays])

    def sentence(self) -> str:
        """The distances, in words."""
        d = self.distances
        return (
            f"L-infinity {d.linf}, L2 {d.l2:.1f} grey levels, PSNR {d.psnr:.1f} dB, SSIM "
            f"{d.ssim:.4f}, {d.changed:.1%} of the pixels changed, step {int(self.best.best_step)}"
        )

    def plot(self, table: LabelTable) -> Figure:
        """Both pictures, their maps, and what changed."""
        from jaxattr.plot import strips

        task, (before, after) = self.task, self.probabilities
        old, new, best = task.old, task.new, int(self.after.argmax())
        return strips.before_after(
            images.as_rgb(task.pixels),
            images.as_rgb(self.pixels),
            self.maps,
            titles=(table.short(old), table.short(best)),
            details=(said(before, self.before, old), said(after, self.after, best)),
            classes=(table.short(old), table.short(new)),
            distance=self.sentence(),
            footer=f"{Path(task.model.name).name}  ·  maps: {_MAP}, difference of the two logits",
        )


def logits_of(model: Model, array: np.ndarray) -> Float64[np.ndarray, " class"]:
    """The logits of one normalised image."""
    return np.asarray(_predict(model, array)).astype(np.float64)


_predict = jax.jit(predict)
_complete = jax.jit(METHODS[_MAP].function)
