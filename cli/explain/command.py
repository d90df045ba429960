"""`jaxattr explain`: what in a few photos speaks for a class, and what against it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jaxattr.cli import scenes
from jaxattr.cli.common import names, options, output, targets
from jaxattr.cli.common.records import Explained, Run
from jaxattr.cli.explain import guides
from jaxattr.cli.explain import run as explaining
from jaxattr.cli.explain.show import answer, warnings, write

if TYPE_CHECKING:
    from jaxattr.experiments.guides import Source

FORMATS = ("png", "svg", "pdf", "json", "npz")
_CHUNK = 8


@click.command()
@click.argument(
    "images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE..."
)
@options.model_options
@options.target_options(
    loss_help="What is explained: the target's log-odds against all other classes, its logit, or "
    "with --against the two logits' difference, relative difference (Eq. 8), or ratio.  [default: "
    "log-odds; with --against: difference]"
)
@guides.guide_options
@click.option(
    "--method",
    type=names.METHODS,
    default="conservative",
    show_default=True,
    help="One of `jaxattr methods`, or package.module:function.",
)
@options.views_option
@options.folder_option(
    "jaxattr-explain", "-o", help="Folder for the files, named <image>-<class>.<format>."
)
@options.files_option(
    FORMATS, help="Pictures, or one file per image with raw maps, logits and labels. Repeatable."
)
@click.option("--together", is_flag=True, help="All classes in one picture, on one scale.")
@options.colors_option(
    "Of signed maps: orange and blue, safe for the colour-blind; or the paper's red and blue."
)
@click.option(
    "--alpha",
    type=options.Finite(0, 1),
    default=0.35,
    show_default=True,
    help="Opacity of the photo over the map.",
)
@options.patches_option
@options.max_pixels_option
@options.quiet_option
def explain(
    images: tuple[Path, ...],
    choice: options.Choice,
    target: tuple[str, ...],
    against: str | None,
    loss: str | None,
    guide: str | None,
    count: int | None,
    source: str | None,
    details: int | None,
    method: str,
    views: int,
    folder: Path,
    formats: tuple[str, ...],
    together: bool,
    colors: str,
    alpha: float,
    patches: bool,
    max_pixels: int | None,
    quiet: bool,
) -> None:
    """Show what in a photo speaks for a class, and what against it.

    IMAGE is a file, a folder whose images are taken, or `scenes`: drawn ones of two objects each.
    The five most probable classes are printed, and one picture is written per class.

    \b
    Examples:
      jaxattr explain scenes -t top2 --together
      jaxattr explain el1.png --model vit-base -t zebra -t "African elephant" --together
      jaxattr explain el1.png --model vit-base -t zebra --against rival
      jaxattr explain photos/ --model vit-base -t top3 --format svg --format npz
      jaxattr explain snail.jpg --model vit-base --guide zebra.jpg
      jaxattr explain snail.jpg --model vit-base --guide auto --guides 8 --guide-images val/
      jaxattr explain snail.jpg --model vit-base --details 3 --guide-images val/
    """
    guides.check(guide, count, source, details, against)
    pictures = not output.DATA.issuperset(formats)
    drawn = ("colors", "alpha", "patches", "together")
    options.idle_unless(pictures, *drawn, why="add a --format of pictures")
    single = guide is None and not details
    options.idle_unless(single, "together", why="leave out --guide and --details")
    options.idle_unless(pictures or not details, "source", why="add a --format of pictures")
    found = scenes.draw_named(output.find_images(images), folder / "scenes")
    output.make_folder(folder)
    options.prepare_jax(choice.dtype)
    from jaxattr import heads
    from jaxattr.data.labels import LabelTable

    loaded = options.limited(options.load_model(choice, quiet=quiet), max_pixels)
    table = LabelTable(loaded.labels, loaded.config.classes)
    link, guided = heads.link(loaded.config), guide is not None
    question = targets.question(target, against, loss, table, link, guided, details or 0)
    run = Run(
        model=loaded,
        table=table,
        question=question,
        method=names.methods([method], loaded)[0],
        formats=tuple(dict.fromkeys(formats)),
        folder=folder,
        drawing={"palette": colors, "alpha": alpha, "smooth": not patches},
        together=together,
        class_files=output.class_names(table),
        given=output.Names(),
        views=views,
    )
    guides.check_head(loaded, guide, source)
    bad: list[Exception] = []
    images_of = guides.open_source(loaded, table, source)
    chosen = None
    if guide is not None:
        chosen = guides.find(loaded, table, images_of, guide, count or 1)
    _show(run, _results(run, chosen, images_of, found, bad))
    explaining.finish(bad, len(found))


def _results(
    run: Run,
    chosen: guides.Guides | None,
    images_of: Source | None,
    found: list[Path],
    bad: list[Exception],
) -> Iterable[Explained]:
    """Each image's answer: beside guides, with typical images of all details, or by itself."""
    if chosen is not None:
        from jaxattr.cli.explain import guided

        return guided.explained(run, chosen, found, bad)
    results = explaining.explained(run, found, bad, _CHUNK)
    if not run.question.details:
        return results
    from jaxattr.cli.explain.details import with_typical

    return with_typical(run, images_of, results)


def _show(run: Run, results: Iterable[Explained]) -> None:
    """Print each image's answer as it comes, and write its files."""
    for number, one in enumerate(results):
        for line in warnings(run, one):
            options.warn(line)
        output.show(("\n" if number else "") + answer(run, one))
        for path in write(run, one):
            output.show(f"  {output.path(path)}")
