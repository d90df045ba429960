"""`jaxattr compare`: every method's map of the same photos, side by side (paper, Fig. 13)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from jaxattr.cli import scenes
from jaxattr.cli.common import conservation as conserved
from jaxattr.cli.common import names, options, output, targets
from jaxattr.cli.common.records import model_name
from jaxattr.cli.compare import run as comparing
from jaxattr.cli.explain.command import FORMATS
from jaxattr.cli.explain.run import finish
from jaxattr.cli.main import Interrupted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxattr.cli.compare.run import Answer, Case
    from jaxattr.data.labels import LabelTable
    from jaxattr.methods import Method
    from jaxattr.vit import Model


class Compared(NamedTuple):
    """All that was asked, and what came."""

    model: Model
    table: LabelTable
    loss: str
    given: list[Case]
    answers: list[Answer]
    missing: list[Method]
    """Methods that an interrupt left out."""
    forward: float
    """Seconds of one forward pass."""
    views: int
    """Of each image, over which each map is averaged."""


@click.command()
@click.argument(
    "images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE..."
)
@options.model_options
@click.option(
    "-m",
    "--methods",
    multiple=True,
    type=names.METHODS_OR_GROUPS,
    default=("cheap",),
    show_default=True,
    help="One of `jaxattr methods`, `cheap` for all that cost at most 10 forward passes, `all`, or "
    "package.module:function. Repeatable; drawn in this order.",
)
@options.views_option
@options.target_options(
    loss_help="As for explain.  [default: log-odds; with --against: difference]"
)
@options.folder_option(
    "jaxattr-compare", "-o", help="Folder for the files, named compare.<format>."
)
@options.files_option(FORMATS, help="A picture, or all raw maps with their times. Repeatable.")
@options.colors_option("Of signed maps: orange and blue, or the paper's red and blue.")
@options.patches_option
@options.max_pixels_option
@options.quiet_option
def compare(
    images: tuple[Path, ...],
    choice: options.Choice,
    methods: tuple[str, ...],
    views: int,
    target: tuple[str, ...],
    against: str | None,
    loss: str | None,
    folder: Path,
    formats: tuple[str, ...],
    colors: str,
    patches: bool,
    max_pixels: int | None,
    quiet: bool,
) -> None:
    """Show every method's map of the same photos side by side.

    The paper's Fig. 13: one row per photo and class, one column per method. Methods have no common
    scale, so each map is divided by its own largest absolute value: compare places, not strengths.
    Methods without a sign are drawn in one hue, from their smallest value in white to their
    largest. Printed is what a map costs and how many maps are the same everywhere and say nothing.
    A time is that of one map at a time, compiled and warm: the first execution is discarded, the
    median of the others shown, also as a multiple of one forward pass timed in the same way. Ctrl-C
    ends it with the methods that are finished.

    \b
    Examples:
      jaxattr compare scenes -t top2
      jaxattr compare el1.png catdog.png --model vit-base --methods all
      jaxattr compare el1.png --model vit-base -t zebra --against rival -m complete -m attn_lrp
      jaxattr compare photos/ --model vit-base -m cheap -m tis --format npz --format png
    """
    pictures = not output.DATA.issuperset(formats)
    options.idle_unless(pictures, "colors", "patches", why="add a --format of pictures")
    found = scenes.draw_named(output.find_images(images), folder / "scenes")
    output.make_folder(folder)
    options.prepare_jax(choice.dtype)
    from jaxattr import heads
    from jaxattr.data.labels import LabelTable

    loaded = options.limited(options.load_model(choice, quiet=quiet), max_pixels)
    table = LabelTable(loaded.labels, loaded.config.classes)
    chosen = names.methods(methods, loaded)
    question = targets.question(target, against, loss, table, heads.link(loaded.config))
    bad: list[Exception] = []
    given = comparing.cases(loaded, question, found, bad)
    if given:
        done = _compare(loaded, table, question.loss, given, chosen, views, quiet)
        output.show(_table(done))
        for line in (*_constant(done), *_unconserved(done)):
            options.warn(line)
        drawing: dict[str, Any] = {"palette": colors, "smooth": not patches}
        for path in _write(done, folder, formats, drawing):
            output.show(f"  {output.path(path)}")
        if done.missing:
            count = f"{len(done.answers)} of {len(done.answers) + len(done.missing)}"
            left = ", ".join(one.name for one in done.missing)
            raise Interrupted(f"interrupted; {count} methods are written, without {left}.")
    elif not bad:
        options.warn("every class asked for is the one it is set against; nothing is drawn.")
    finish(bad, len(found))


def _compare(
    model: Model,
    table: LabelTable,
    loss: str,
    given: list[Case],
    chosen: tuple[Method, ...],
    views: int,
    quiet: bool,
) -> Compared:
    """Every method's maps, or those made before Ctrl-C; without any of them it goes on upwards."""

    def report(name: str, number: int) -> None:
        options.note(f"[{number + 1}/{len(chosen)}] {name}", quiet=quiet)

    forward, answers = comparing.forward_seconds(model, given[0]), []
    try:
        for answer in comparing.compare(model, given, chosen, views, loss, report):
            answers.append(answer)
    except KeyboardInterrupt:
        if not answers:
            raise
    return Compared(
        model, table, loss, given, answers, list(chosen[len(answers) :]), forward, views
    )


def _constant(done: Compared) -> Iterator[str]:
    """One line for each map that is the same everywhere."""
    for answer in done.answers:
        for index in answer.constant():
            title = done.given[index].title(done.table)
            said = f"the map of {title} is the same everywhere; it says nothing."
            yield f"{answer.method.name}: {said}"


def _unconserved(done: Compared) -> Iterator[str]:
    """One line for each method that hands on far more relevance than it starts from."""
    asked, logits = [case.asked for case in done.given], [case.logits for case in done.given]
    for answer in done.answers:
        line = conserved.warning(answer.method, done.loss, asked, logits, list(answer.maps))
        if line:
            yield line


def _write(
    done: Compared, folder: Path, formats: tuple[str, ...], drawing: dict[str, Any]
) -> Iterator[Path]:
    """Write the files and yield their paths."""
    for format in dict.fromkeys(formats):
        if format == "json":
            data = output.as_json(_content(done))
        elif format == "npz":
            data = output.as_npz(_content(done))
        else:
            from jaxattr.plot import figures

            data = figures.encode(_figure(done, drawing), format)
        path = folder / f"compare.{format}"
        output.write(path, data)
        yield path


def _table(done: Compared) -> str:
    def facts(method: Method) -> tuple[str, str, str]:
        cost = str(method.cost) if done.views == 1 else f"{done.views} x ({method.cost})"
        return method.name, "yes" if method.signed else "no", cost

    rows = [
        (
            *facts(answer.method),
            f"{1000 * answer.seconds:.1f}",
            f"{answer.seconds / done.forward:.1f}",
            f"{answer.compiling:.1f}",
            str(len(answer.constant()) or "-"),
        )
        for answer in done.answers
    ]
    rows += [(*facts(method), "-", "-", "-", "-") for method in done.missing]
    header = ("method", "signed", "cost", "ms a map", "x forward", "compiling, s", "constant")
    return output.table(header, rows, left=3)


def _figure(done: Compared, drawing: dict[str, Any]) -> Figure:
    from jaxattr.plot.grid import Column, grid

    columns = [
        Column(
            answer.method.name,
            list(answer.maps),
            answer.method.signed,
            f"{1000 * answer.seconds:.0f} ms a map",
        )
        for answer in done.answers
    ]
    footer = f"{model_name(done.model)}  ·  loss {done.loss}"
    if done.views > 1:
        footer += f"  ·  mean of {done.views} views"
    if done.missing:
        footer = f"interrupted, without {', '.join(one.name for one in done.missing)}  ·  {footer}"
    return grid(comparing.rows(done.given, done.table), columns, footer=footer, **drawing)


def _content(done: Compared) -> dict[str, Any]:
    """All maps `[method, case, row, column]`; no other class is -1."""
    import numpy as np

    given, answers = done.given, done.answers
    against = [-1 if case.asked.against is None else case.asked.against for case in given]
    return {
        "model": done.model.name,
        "origin": output.origin(done.model),
        "loss": done.loss,
        "views": done.views,
        "methods": [answer.method.name for answer in answers],
        "missing": [one.name for one in done.missing],
        "images": [str(case.photo.path) for case in given],
        "classes": [done.table.short(case.asked.target) for case in given],
        "class_indices": np.array([case.asked.target for case in given], np.int32),
        "against_indices": np.array(against, np.int32),
        "maps": np.stack([np.asarray(answer.maps, np.float64) for answer in answers]),
        "seconds": [answer.seconds for answer in answers],
        "timed_executions": [answer.executions for answer in answers],
        "compiling_seconds": [answer.compiling for answer in answers],
    }
