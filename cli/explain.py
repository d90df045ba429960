"""`jaxattr explain`: what in a few photos speaks for a class, and what against it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jaxattr.cli import options, output, targets
from jaxattr.cli.explained import Explained, Photo, Run, answer, visible, warnings, write
from jaxattr.cli.main import Failure

if TYPE_CHECKING:
    import numpy as np

    from jaxattr.types import Model, Preprocessing

# The names of `jaxattr.methods.METHODS`, which a test holds equal: `--help` must not import jax.
METHODS = ("absolute", "complete", "positive", "raw_attention", "rollout")
FORMATS = ("png", "svg", "pdf", "json", "npz")
_CHUNK = 8


@click.command()
@click.argument(
    "images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE..."
)
@options.model_options
@click.option(
    "-t",
    "--target",
    multiple=True,
    default=("top1",),
    show_default=True,
    help="Class to explain: label, wnid, index, or topN for the N most probable. Repeatable.",
)
@click.option("--against", help="Class to set the target against, or `rival`: the strongest other.")
@click.option(
    "--loss",
    type=click.Choice(targets.LOSSES),
    help="What is explained: the target's logit, or with --against the two logits' difference, "
    "relative difference (Eq. 8), or ratio.  [default: logit; with --against: difference]",
)
@click.option(
    "--method", type=click.Choice(METHODS), default="complete", show_default=True, help="Method."
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="jaxattr-explain",
    show_default=True,
    help="Folder for the files, named <image>-<class>.<format>.",
)
@click.option(
    "-f",
    "--format",
    "formats",
    multiple=True,
    default=("png",),
    show_default=True,
    type=click.Choice(FORMATS),
    help="Pictures, or one file per image with raw maps, logits and labels. Repeatable.",
)
@click.option("--together", is_flag=True, help="All classes in one picture, on one scale.")
@click.option(
    "--colors",
    type=click.Choice(["diverging", "paper"]),
    default="diverging",
    show_default=True,
    help="Orange and blue, safe for the colour-blind; or the paper's red and blue.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=0.35,
    show_default=True,
    help="Opacity of the photo over the map.",
)
@click.option("--patches", is_flag=True, help="Draw the patches as squares, not smoothed.")
@options.quiet_option
def explain(
    images: tuple[Path, ...],
    model: str,
    revision: str | None,
    dtype: str,
    image_size: int | tuple[int, int] | None,
    target: tuple[str, ...],
    against: str | None,
    loss: str | None,
    method: str,
    folder: Path,
    formats: tuple[str, ...],
    together: bool,
    colors: str,
    alpha: float,
    patches: bool,
    quiet: bool,
) -> None:
    """Show what in a photo speaks for a class, and what against it.

    IMAGE is a file, or a folder whose images are taken. The five most probable classes are
    printed for each, with probabilities and logits, and one picture is written per class.

    \b
    Examples:
      jaxattr explain photo.jpg --model vit-base
      jaxattr explain el1.png --model vit-base -t zebra -t "African elephant" --together
      jaxattr explain el1.png --model vit-base -t zebra --against rival
      jaxattr explain photos/ --model vit-base -t top3 --format svg --format npz
    """
    found = output.find_images(images)
    output.make_folder(folder)
    options.prepare_jax(dtype)
    from jaxattr.labels import LabelTable
    from jaxattr.models import load

    loaded = load(model, revision=revision, dtype=dtype, image_size=image_size)
    table = LabelTable(loaded.labels, loaded.config.classes)
    run = Run(
        model=loaded,
        table=table,
        question=targets.question(target, against, loss, table),
        method=method,
        formats=tuple(dict.fromkeys(formats)),
        folder=folder,
        drawing={"palette": colors, "alpha": alpha, "smooth": not patches},
        together=together,
    )
    options.note(options.describe_model(loaded), quiet=quiet)
    bad: list[Exception] = []
    for number, one in enumerate(_explained(run, found, bad)):
        for line in warnings(run, one):
            options.warn(line)
        click.echo(("\n" if number else "") + answer(run, one))
        for path in write(run, one):
            click.echo(f"  {path}")
    _report(bad, len(found))


def _explained(run: Run, paths: list[Path], bad: list[Exception]) -> Iterator[Explained]:
    """Decode, run, explain chunk by chunk; images that cannot be decoded are put into `bad`."""
    import jax
    import numpy as np

    from jaxattr.gradients import over_images
    from jaxattr.methods import METHODS

    build, method = targets.loss(run.question.loss), METHODS[run.method].function

    @jax.jit
    def forward(model: Model, images: Any) -> Any:
        return over_images(lambda image: model.forward(image)[0], images)

    @jax.jit
    def maps(model: Model, images: Any, first: Any, second: Any) -> Any:
        def one(image: Any, first: Any, second: Any) -> Any:
            return jax.vmap(lambda a, b: method(model, image, build(a, b)))(first, second)

        return over_images(one, images, first, second)

    size = -(-len(paths) // -(-len(paths) // _CHUNK))
    for photos in _chunks(run.model, paths, size, bad):
        # The last chunk is filled up, so that nothing is compiled twice.
        arrays = np.stack(
            [photo.array for photo in photos] + [photos[-1].array] * (size - len(photos))
        )
        logits = np.asarray(forward(run.model, arrays)).astype(np.float64)[: len(photos)]
        asked = [targets.ask(run.question, one) for one in logits]
        classes = np.zeros((2, size, run.question.width), np.int32)
        for index, pairs in enumerate(asked):
            for place, (first, second) in enumerate(pairs):
                classes[:, index, place] = first, second or 0
        results = np.asarray(maps(run.model, arrays, *classes))
        for photo, one, pairs, found in zip(photos, logits, asked, results, strict=False):
            yield Explained(photo, one, _softmax(one), pairs, found[: len(pairs)])


def _chunks(
    model: Model, paths: list[Path], size: int, bad: list[Exception]
) -> Iterator[list[Photo]]:
    from jaxattr.errors import ImageError
    from jaxattr.images import read_ahead

    pairs = zip(output.unique_names(paths), paths, strict=True)
    photos: list[Photo] = []
    for photo in read_ahead(pairs, partial(_read, model.preprocessing), ahead=2 * size):
        if isinstance(photo, ImageError):
            bad.append(photo)
            continue
        photos.append(photo)
        if len(photos) == size:
            yield photos
            photos = []
    if photos:
        yield photos


def _read(preprocessing: Preprocessing, item: tuple[str, Path]) -> Photo:
    from jaxattr import images
    from jaxattr.errors import ImageError

    name, path = item
    image = images.decode(path)
    try:
        array = images.normalize(images.fit(image, preprocessing), preprocessing)
    except ImageError as error:
        raise ImageError(f"{images.printable(path)}: {error}") from None
    return Photo(name, path, array, visible(image, preprocessing))


def _softmax(logits: np.ndarray) -> np.ndarray:
    import numpy as np

    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def _report(bad: list[Exception], count: int) -> None:
    """End with exit code 2 where images were skipped; all others are done by now."""
    if not bad:
        return
    if len(bad) > 1:
        for error in bad:
            options.warn(str(error))
    rest = f" {count - len(bad)} of {count} images are done." if count > 1 else ""
    names = ", ".join(str(error).partition(": ")[0] for error in bad)
    reason = str(bad[0]) if len(bad) == 1 else f"{len(bad)} images could not be read: {names}"
    raise Failure(f"{reason}.{rest}")
