"""`jaxattr rewrite`: change pixels until the model sees another class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jaxattr.cli.common import answers, options, output
from jaxattr.cli.main import Interrupted

if TYPE_CHECKING:
    from jaxattr.data.labels import LabelTable
    from jaxattr.experiments.session import Task

FORMATS = ("png", "svg", "pdf", "json")


class NotReached(click.ClickException):
    """The class, or its margin, was not reached within the budget."""

    exit_code = 1


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@options.model_options
@click.option("--to", required=True, help="The target class: label, wnid or index.")
@click.option(
    "--linf",
    type=click.IntRange(1, 255),
    help="The most that a channel of a pixel may change, in grey levels of 255.",
)
@click.option(
    "--l2",
    type=options.Finite(min=0, min_open=True),
    help="The most that the root of the sum of squared changes may be, in the same unit.",
)
@click.option(
    "--total-variation",
    type=options.Finite(min=0),
    default=0.0,
    show_default=True,
    help="Weight of the change's total variation, per pixel: larger is smoother.",
)
@click.option("--inside", type=click.Path(path_type=Path), help="Change only where this is white.")
@click.option("--outside", type=click.Path(path_type=Path), help="Change only where it is black.")
@click.option(
    "--loss",
    type=click.Choice(["difference", "lead"]),
    default="difference",
    show_default=True,
    help="What is minimised: the old class's logit minus the new one's (the paper), or the lead "
    "of the strongest other class.",
)
@click.option(
    "--margin",
    type=options.Finite(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Stop when the new class leads by so many logits.",
)
@click.option("--steps", type=click.IntRange(1, 100_000), default=200, show_default=True)
@click.option(
    "--optimizer",
    type=click.Choice(["sign", "adam", "sgd"]),
    default="sign",
    show_default=True,
    help="Steps along the gradient's sign, Adam, or plain gradient steps.",
)
@click.option(
    "--learning-rate",
    type=options.Finite(min=0, min_open=True),
    default=0.25,
    show_default=True,
    help="Grey levels a step, for sign and adam; sgd needs some hundreds.",
)
@click.option("--budget-search", is_flag=True, help="Find the smallest --linf that is enough.")
@click.option(
    "--largest",
    type=click.IntRange(1, 255),
    default=64,
    show_default=True,
    help="Where --budget-search gives up.",
)
@options.folder_option(
    "jaxattr-rewrite",
    "-o",
    help="Folder for <image>-as-<class>.png, the picture, and for -comparison files.",
)
@options.files_option(
    FORMATS,
    help="The comparison: a figure with both pictures and maps, or all numbers. Repeatable.",
)
@options.max_pixels_option
@options.quiet_option
def rewrite(
    image: Path,
    choice: options.Choice,
    to: str,
    inside: Path | None,
    outside: Path | None,
    optimizer: str,
    learning_rate: float,
    loss: str,
    folder: Path,
    formats: tuple[str, ...],
    max_pixels: int | None,
    quiet: bool,
    **numbers: Any,
) -> None:
    """Change a photo's pixels slightly, until the model sees another class.

    A targeted adversarial attack, to measure how fragile a decision is (the paper's Fig. 11). The
    pixels are those of the model's input, after resize and crop; the picture is written at that
    size as an 8-bit PNG, decoded again, and must still have the new class. Exit code 1: the budget
    was too small; the picture that came closest is written all the same.

    \b
    Examples:
      jaxattr rewrite tusker.jpg --model vit-base --to "bull mastiff"
      jaxattr rewrite tusker.jpg --model vit-base --to zebra --linf 2 --steps 500
      jaxattr rewrite tusker.jpg --model vit-base --to zebra --budget-search
      jaxattr rewrite tusker.jpg --model vit-base --to zebra --outside tusker-mask.png
    """
    search = numbers["budget_search"]
    options.idle_unless(search, "largest", why="add --budget-search")
    options.idle_unless(not search, "linf", why="leave out --budget-search, which looks for it")
    output.make_folder(folder)
    options.prepare_jax(choice.dtype)
    from jaxattr.cli.rewrite import run as rewriting
    from jaxattr.cli.rewrite import show as rewritten
    from jaxattr.data.labels import LabelTable

    loaded = options.limited(options.load_model(choice, quiet=quiet), max_pixels)
    photo = rewriting.read(image, inside, outside, loaded.preprocessing.max_pixels)
    table = LabelTable(loaded.labels, loaded.config.classes)
    loaded, new = answers.one_label(loaded, table, to, quiet=quiet)
    table = LabelTable(loaded.labels, loaded.config.classes)
    task = rewriting.prepare(loaded, photo, new, loss, numbers)
    if task.old == task.new:
        raise click.UsageError(
            f"--to: {image} is {table.short(new)} for this model already; choose another class."
        )
    progress = rewriting.Progress(lambda line: options.note(line, quiet=quiet))
    try:
        rewriting.run(task, optimizer, learning_rate, progress)
    except KeyboardInterrupt:
        if progress.best is None:
            raise
        progress.interrupted = True
    name = f"{output.slug(image.stem)}-as-{output.class_names(table)[new]}"
    written = rewritten.Written(table, task, progress, photo)
    paths = [output.path(path) for path in written.write(folder, name, formats)]
    output.show(f"{output.path(image)}\n{written.report()}")
    output.show("\n".join(f"  {path}" for path in paths))
    _end(written, table, task, progress, paths[0])


def _end(written: Any, table: LabelTable, task: Task, progress: Any, path: str) -> None:
    """Exit code 2 after Ctrl-C, 1 where the margin was not reached; one line for each."""
    came = written.how_close()
    if progress.interrupted:
        raise Interrupted(f"interrupted; the best picture so far is written to {path}: {came}.")
    if written.outcome.reached:
        return
    less = "--largest" if task.search else "--linf or --l2"
    if task.limits.linf == task.limits.l2 == float("inf") and not task.search:
        less = "--learning-rate"
    raise NotReached(
        f"not reached within {task.steps} steps: {came}; the picture that came closest is written "
        f"to {path}. Allow more --steps, a larger {less}, or a smaller --margin."
    )
