"""`jaxattr scenes`: a labelled folder of drawn scenes whose every part and defect is known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from jaxattr.cli.common import options, output
from jaxattr.cli.main import Failure, describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxattr.scenes import Decision, Defect, Truth

SCENES = Path("scenes")
_DRAWN = 4
# The embedded model has learned from smaller seeds.
HELD_OUT = 10**6 + 9

EPILOG = """\b
Defects (NAME is a class; SHARE is 0.12 or 12%):
  contamination:NAME=NAME:SHARE         of the first's images show the second
  symmetric:SHARE                       of all labels are exchanged
  symmetric:NAME=NAME:SHARE             the same between these classes
  noise:SHARE                           of all images show another class
  watermark:NAME[:SHARE[:OTHERS]]       a mark in a corner goes with a class
  background:NAME=KIND[:SHARE[:OTHERS]] a background goes with a class
  duplicates:SHARE[:ACROSS]             copies, ACROSS of them in other classes
  missing:NAME[:SHARE]                  without the part that tells it apart
  default, all, none                    kite<-bald eagle and noise; one of each

\b
Examples:
  jaxattr scenes scenes/
  jaxattr scenes clean/ --defects none
  jaxattr scenes marked/ --defects default --defects watermark:zebra:0.9
  jaxattr scenes big/ --images-per-class 500 --defects "contamination:cat=rabbit:5%"

OUT_DIR/images holds one folder per class, for `jaxattr audit --images OUT_DIR/images` and every
reader of such folders; OUT_DIR/masks one indexed PNG per image, where bit k says where its part k
is visible; OUT_DIR/truth.parquet one row per image. The same seed gives the same bytes, and with
`--defects none` the clean twin: the same images but for the planted ones.
"""


@click.command(epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path), metavar="OUT_DIR")
@click.option(
    "-n",
    "--images-per-class",
    "count",
    type=click.IntRange(1, 100_000),
    default=40,
    show_default=True,
    help="Images of each of the classes.",
)
@click.option(
    "--defects",
    "texts",
    multiple=True,
    default=("default",),
    show_default=True,
    help="What is planted, as below; commas or repeating it give several.",
)
@options.seed_option("Decides all that is drawn at random.")
@click.option(
    "--size",
    type=click.IntRange(16, 2048),
    default=96,
    show_default=True,
    help="Side in pixels, a multiple of the patch's 8.",
)
@click.option("--masks/--no-masks", default=True, show_default=True, help="Write the masks.")
@options.quiet_option
def scenes(
    folder: Path,
    count: int,
    texts: tuple[str, ...],
    seed: int,
    size: int,
    masks: bool,
    quiet: bool,
) -> None:
    """Draw a labelled image folder with planted defects and their truth."""
    from jaxattr.cli.common.progress import progress_bar
    from jaxattr.scenes import CLASSES, assign, parse, write_folder

    defects = parse(texts)
    with progress_bar(count * len(CLASSES), 0, quiet=quiet, doing="Drawing") as advance:
        try:
            rows = write_folder(
                folder,
                count,
                seed=seed,
                size=size,
                defects=defects,
                masks=masks,
                progress=advance,
            )
        except OSError as error:
            raise Failure(describe(error).replace("--output", "OUT_DIR")) from None
    planted = assign(defects, count, seed)
    output.show(_summary(folder, rows, defects, planted, masks))
    for defect, images in _counts(defects, planted).items():
        if not images:
            options.warn(f"{defect}: so small a share of so few images that none was planted.")


def is_drawn(images: str) -> bool:
    """Whether `--images` means drawn scenes: by default, or as a word that is no folder here."""
    source = click.get_current_context().get_parameter_source("images")
    default = source in (None, ParameterSource.DEFAULT)
    return images == str(SCENES) and (default or not SCENES.is_dir())


def drawn(
    folder: Path, count: int, *, seed: int, defects: Sequence[Defect] = (), masks: bool = False
) -> Path:
    """The images of scenes that are drawn into a folder, once; by now those of the same options."""
    from jaxattr.errors import DatasetError
    from jaxattr.scenes import facts_of, read_facts, write_folder

    wanted = facts_of(count, seed=seed, defects=defects)
    truth = folder / "truth.parquet"
    if not truth.is_file():
        write_folder(folder, count, seed=seed, defects=defects, masks=masks)
    found = read_facts(truth)
    if found != wanted or (masks and not (folder / "masks").is_dir()):
        raise DatasetError(
            f"{folder}: holds other scenes ({', '.join(found.values()) or 'of unknown origin'}; "
            f"wanted {', '.join(wanted.values())}{', with masks' if masks else ''}); choose "
            "another --output, or remove that folder."
        )
    return folder / "images"


def draw_named(images: list[Path], folder: Path) -> list[Path]:
    """The images, with `scenes` replaced by scenes of two objects, drawn into the folder.

    Only where no file of that name exists; the files are named by their classes.
    """
    if SCENES not in images or SCENES.exists():
        return images
    from io import BytesIO

    from PIL import Image

    from jaxattr.scenes import draw

    output.make_folder(folder)
    drawn = []
    for number in range(_DRAWN):
        scene, data = draw((HELD_OUT, number), 2), BytesIO()
        Image.fromarray(scene.image).save(data, "PNG")
        drawn.append(folder / f"{output.slug(' '.join(scene.classes))}.png")
        output.write(drawn[-1], data.getvalue())
    place = images.index(SCENES)
    return [*images[:place], *drawn, *images[place + 1 :]]


def _summary(
    folder: Path,
    rows: Sequence[Truth],
    defects: Sequence[Defect],
    planted: dict[str, list[Decision]],
    masks: bool,
) -> str:
    """What was written, and how many images have each defect."""
    classes, wrong = len(planted), sum(row.label != row.true_label for row in rows)
    size = f"{len(rows)} images of {classes} classes"
    lines = [
        f"{folder}: {size}, {sum(bool(row.defect) for row in rows)} with a defect, "
        f"{wrong} labelled wrongly"
    ]
    counts = _counts(defects, planted)
    width = len(str(max(counts.values(), default=0)))
    lines += [f"  {images:>{width}}  {defect}" for defect, images in counts.items()]
    if not defects:
        lines.append("  no defects: the clean twin of this seed")
    lines.append(f"Images: {folder / 'images'}")
    lines += [f"Masks:  {folder / 'masks'}"] if masks else []
    return "\n".join([*lines, f"Truth:  {folder / 'truth.parquet'}"])


def _counts(defects: Sequence[Defect], planted: dict[str, list[Decision]]) -> dict[Defect, int]:
    found = Counter(one for images in planted.values() for each in images for one in each.defects)
    return {defect: found[defect] for defect in defects}
