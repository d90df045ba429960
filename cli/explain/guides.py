"""`--guide`, `--guides`, `--guide-images`, `--details`: the words, and the images they mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from jaxattr.cli.common import options

if TYPE_CHECKING:
    from jaxattr.data.labels import LabelTable
    from jaxattr.errors import ImageError
    from jaxattr.experiments.guides import Bank, Source
    from jaxattr.vit import Model

_LIMIT = 128  # images of a folder that the model looks at to find guides
_MOST_DETAILS = 16  # of whose pairs one picture is drawn


def guide_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--guide`, `--guides`, `--guide-images` and `--details`."""
    for option in reversed(
        (
            click.option(
                "--guide",
                metavar="IMAGE|auto|CLASS",
                help="Set the target against a second image, which takes the right half: a file, "
                "an image of CLASS, or `auto` for one of a class that is far from the target's.",
            ),
            click.option(
                "--guides",
                "count",
                type=click.IntRange(1, _LIMIT),
                help="How many guides: the map is their mean, and a second map is their spread.  "
                "[default: 1]",
            ),
            click.option(
                "--guide-images",
                "source",
                metavar="DIR|scenes",
                help="Where guides, and the typical images of --details, come from: a folder with "
                "one folder per class, or drawn scenes, the default for the model that knows them.",
            ),
            click.option(
                "--details",
                type=click.IntRange(2, _MOST_DETAILS),
                metavar="K",
                help="All ordered pairs of K classes against each other, in one picture: those of "
                "--target, then the most probable.",
            ),
        )
    ):
        command = option(command)
    return command


def check(
    guide: str | None, count: int | None, source: str | None, details: int | None, against: Any
) -> None:
    """Raise a usage error for options that contradict each other."""
    if guide is not None and details:
        raise click.UsageError(
            "--guide looks outside the object, --details inside; give one of them."
        )
    if against is not None and (guide is not None or details):
        other = "the guide's class" if guide is not None else "each of the others"
        raise click.UsageError(f"a target is set against {other} here; leave out --against.")
    if guide is None and count is not None:
        raise click.UsageError("--guides counts the images of --guide; add --guide auto.")
    if guide is not None and source is not None and Path(guide).is_file():
        raise click.UsageError(
            f"--guide {guide} is an image, so nothing is taken from --guide-images; leave one out."
        )
    if guide is None and not details and source is not None:
        raise click.UsageError("--guide-images is for --guide and --details; add one of them.")


def check_head(model: Model, guide: str | None, source: str | None) -> None:
    """Raise a usage error for guides of a model whose images have not one class each."""
    from jaxattr import heads

    if heads.link(model.config) == "softmax" or (guide is None and source is None):
        return
    option = "--guide" if guide is not None else "--guide-images"
    raise click.UsageError(
        f"{option} chooses images by the one class that the model gives each, and this model's "
        f"outputs are not classes that exclude each other ({model.config.problem}, "
        f"{model.config.classes} outputs); leave it out."
    )


def open_source(model: Model, table: LabelTable, word: str | None) -> Source | None:
    """Find the images, and say on stderr what is odd in their folder."""
    from jaxattr.experiments import guides

    source = guides.open_source(model, table, word)
    if source is not None and source.folder is not None:
        options.say_folder(source.folder)
    return source


def gather(source: Source, class_: int | None, limit: int, each: int) -> Bank:
    """Images of one class or of all; says on stderr which of them cannot be read."""
    from jaxattr.experiments import guides

    return guides.gather(source, class_, limit, each, unreadable=_say)


def _say(error: ImageError) -> None:
    options.warn(f"{error}; it cannot guide.")


class Guides(NamedTuple):
    """The images that may guide."""

    bank: Bank
    word: str
    class_: int | None
    """The class of all of them; `None` where each image's guides are chosen by their classes."""
    number: int


def find(model: Model, table: LabelTable, source: Source | None, word: str, count: int) -> Guides:
    """What `--guide` asks for; raises a one-line error where there is no such image or class."""
    from jaxattr.data import images
    from jaxattr.experiments.guides import bank_of

    path = Path(word)
    if path.is_file() or (path.suffix.lower() in images.SUFFIXES or "/" in word or path.is_dir()):
        bank = bank_of([path], model)
        if count > 1:
            raise click.UsageError(
                f"--guide {word} is one image; leave out --guides, or take --guide auto or a class."
            )
        return Guides(bank, word, int(bank.logits[0].argmax()), 1)
    class_ = None if word.lower() == "auto" else table.resolve(word)
    if source is None:
        raise click.UsageError(
            f"--guide {word} needs images to choose from; add --guide-images DIR, a folder with "
            "one folder of images per class."
        )
    return Guides(gather(source, class_, _LIMIT, count + 4), word, class_, count)
