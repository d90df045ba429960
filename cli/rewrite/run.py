"""What `jaxattr rewrite` watches: the session of the library, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from jaxattr.cli.common.interrupt import interruptible

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from jaxattr.experiments.rewrite import Rewritten
    from jaxattr.experiments.session import Seen, Task
    from jaxattr.vit import Model


class Photo(NamedTuple):
    """The photo and its masks, decoded, in their own sizes."""

    path: Path
    image: Image.Image
    inside: np.ndarray | None
    """Where pixels may change, `[height, width]` of the photo."""
    outside: np.ndarray | None


class Progress:
    """The best picture so far, kept where an interrupt cannot lose it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.best: Rewritten | None = None
        self.interrupted = False
        self.tried: list[tuple[int, bool]] = []
        """Budgets of a search, and whether each was enough."""

    def take(self, seen: Seen) -> None:
        """Keep the best picture, and say how far it is."""
        self.best = seen.best
        if seen.budget is not None and seen.ended:
            reached = bool(seen.found.reached)
            self.tried.append((seen.budget, reached))
            said = "enough" if reached else f"too small, {float(seen.found.margin):+.2f} logits"
            self.say(f"L-infinity {seen.budget}: {said} after {int(seen.found.steps)} steps")
        elif seen.budget is None and seen.step and not seen.ended:
            self.say(f"step {seen.step}: {float(seen.found.margin):+.2f} logits")


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
    """What is to be done, by the command's options."""
    from jaxattr.experiments import session
    from jaxattr.experiments.rewrite import Limits

    infinite = float("inf")
    limits = Limits(
        linf=float(numbers["linf"] or infinite),
        l2=float(numbers["l2"] or infinite),
        total_variation=numbers["total_variation"],
        margin=numbers["margin"],
    )
    given: dict[str, Any] = {
        "loss": loss,
        "limits": limits,
        "inside": photo.inside,
        "outside": photo.outside,
        "steps": numbers["steps"],
        "search": numbers["budget_search"],
        "largest": numbers["largest"],
    }
    return interruptible(lambda: session.prepare(model, photo.image, new, **given))


def run(task: Task, optimizer: str, rate: float, progress: Progress) -> None:
    """Rewrite once, or search for the smallest budget; the best picture is in `progress`."""
    import optax

    from jaxattr.experiments.session import session

    chosen = {"sign": optax.sign_sgd, "adam": optax.adam, "sgd": optax.sgd}[optimizer](rate)
    chunks = session(task, chosen)
    # So that Ctrl-C finds the best of them, each is waited for by itself.
    while (seen := interruptible(partial(next, chunks, None))) is not None:
        progress.take(seen)


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
