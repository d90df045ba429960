"""`--guide`, `--guides`, `--guide-images`, `--details`: the words, and the images they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from jaxattr.cli.common import options

if TYPE_CHECKING:
    import numpy as np

    from jaxattr.data.dataset import Dataset
    from jaxattr.data.labels import LabelTable
    from jaxattr.experiments.guides import Bank
    from jaxattr.vit import Model

DRAWN = "scenes"
_LIMIT = 128  # images of a folder that the model looks at to find guides
_BATCH = 16
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


class Source(NamedTuple):
    """Where images of known classes come from: a labelled folder, or the drawn scenes."""

    model: Model
    table: LabelTable
    folder: Dataset | None


def open_source(model: Model, table: LabelTable, word: str | None) -> Source | None:
    """Find the images, without reading any; `None` where none were named and none can be drawn."""
    from jaxattr.bench.explanations.maps import check
    from jaxattr.experiments.guides import knows_scenes

    if word is None:
        square = model.config.image_size[0] == model.config.image_size[1]
        return Source(model, table, None) if knows_scenes(model) and square else None
    if word == DRAWN and not Path(word).is_dir():
        check(model)
        return Source(model, table, None)
    from jaxattr.data import dataset

    folder = dataset.index(word, table)
    options.say_folder(folder)
    return Source(model, table, folder)


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

    path = Path(word)
    if path.is_file() or (path.suffix.lower() in images.SUFFIXES or "/" in word or path.is_dir()):
        bank = _bank_of([path], model)
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


def gather(source: Source, class_: int | None, limit: int, each: int) -> Bank:
    """Images of one class or of all, with the model's answers: `limit` files, or `each` drawn."""
    import numpy as np

    from jaxattr.errors import DatasetError
    from jaxattr.experiments import guides

    model, table, folder = source
    if folder is None:
        names = [source.table.short(class_)] if class_ is not None else list(model.labels)
        pixels, drawn = guides.drawn(model.config.image_size[0], each, names)
        targets = np.array([table.resolve(name) for name in drawn], np.int32)
        return guides.Bank(pixels, targets, answers(model, pixels), ("drawn",) * len(drawn))
    places = np.arange(len(folder.files))
    if class_ is not None:
        places = places[folder.targets == class_]
    if not len(places):
        wanted = "" if class_ is None else f" of {table.short(class_)}"
        raise DatasetError(f"{folder.root}: holds no image{wanted}; choose another --guide")
    # One of each class, then a second of each: all classes take part however many images there are.
    turn = np.array([np.sum(folder.targets[:i] == folder.targets[i]) for i in places])
    chosen = places[np.argsort(turn, kind="stable")][:limit]
    return _bank_of([folder.root / folder.files[i] for i in chosen], model, folder.targets[chosen])


def answers(model: Model, pixels: np.ndarray) -> np.ndarray:
    """The logits of many images, computed in batches of one compiled shape."""
    import jax
    import numpy as np

    from jaxattr.data import images
    from jaxattr.explanation import classify

    forward = jax.jit(classify)
    size = min(_BATCH, len(pixels))
    logits = []
    for start in range(0, len(pixels), size):
        chosen = np.minimum(np.arange(start, start + size), len(pixels) - 1)
        arrays = np.stack([images.normalize(one, model.preprocessing) for one in pixels[chosen]])
        logits.append(np.asarray(forward(model, arrays)))
    return np.concatenate(logits)[: len(pixels)].astype(np.float64)


def _bank_of(paths: Sequence[Path], model: Model, targets: np.ndarray | None = None) -> Bank:
    """Read files; without `targets` each is what the model takes it for."""
    import numpy as np

    from jaxattr.data import images
    from jaxattr.errors import ImageError
    from jaxattr.experiments.guides import Bank

    found, places = [], []
    for place, one in enumerate(images.read_ahead(paths, lambda path: _fitted(path, model))):
        if not isinstance(one, ImageError):
            found.append(one)
            places.append(place)
        elif targets is None:
            raise one
        else:
            options.warn(f"{one}; it cannot guide.")
    if not found:
        raise ImageError(f"none of {len(paths)} images of --guide-images can be read; check them")
    pixels = np.stack(found)
    logits = answers(model, pixels)
    own = logits.argmax(axis=1) if targets is None else targets[places]
    return Bank(pixels, own.astype(np.int32), logits, tuple(paths[i].name for i in places))


def _fitted(path: Path, model: Model) -> np.ndarray:
    from jaxattr.data import images
    from jaxattr.errors import ImageError

    image = images.decode(path, max_pixels=model.preprocessing.max_pixels)
    try:
        return images.fit(image, model.preprocessing)
    except ImageError as error:
        raise ImageError(f"{images.printable(path)}: {error}") from None
