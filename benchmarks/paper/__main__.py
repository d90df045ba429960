"""Make the paper's figures: `python -m benchmarks.paper all --model MODEL --images PHOTOS`."""

from __future__ import annotations

import json
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jaxattr.cli.common import options, output
from jaxattr.cli.main import Failure, describe

if TYPE_CHECKING:
    from benchmarks.paper.lab import Drawn, Lab

FIGURES = tuple(f"fig{number}" for number in range(3, 14))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, required=True, type=click.Choice([*FIGURES, "all"]))
@options.model_options
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the photos lie, at any depth; without it scenes are drawn.",
)
@click.option(
    "--labelled",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="One folder of images per class: typical images of Fig. 9, and those of Fig. 12.",
)
@click.option(
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("jaxattr-paper"),
    show_default=True,
    help="Folder of the pictures and their numbers.",
)
@click.option(
    "-m",
    "--methods",
    multiple=True,
    help="Methods of Fig. 10 and 13. Repeatable.  [default: all]",
)
@click.option("--steps", type=click.IntRange(min=1), default=80, show_default=True, help="Fig. 6.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=100, show_default=True,
              help="Images of Fig. 12.")  # fmt: skip
@click.option("--scenes", type=click.IntRange(min=1), default=8, show_default=True,
              help="Scenes of a kind, without --images.")  # fmt: skip
def main(names: tuple[str, ...], choice: options.Choice, folder: Path, **given: Any) -> None:
    """Make the paper's figures 3 to 13, and the numbers that their claims are held against.

    \b
    Examples:
      python -m benchmarks.paper all
      python -m benchmarks.paper fig5 fig6 --model vit-tiny --images photos/
      python -m benchmarks.paper all --model vit-tiny --images photos/ --labelled photos/imagenet/
    """
    try:
        output.make_folder(folder)
        options.prepare_jax(choice.dtype)
        lab = _lab(folder, choice, given)
        for name in FIGURES if "all" in names else dict.fromkeys(names):
            _make(lab, name)
    except (ValueError, OSError) as error:
        raise Failure(describe(error)) from None


def _make(lab: Lab, name: str) -> None:
    """One figure: its files, and the few numbers of its claim on stdout."""
    began = time.perf_counter()
    drawn = import_module(f"benchmarks.paper.{name}").draw(lab)
    paths = write(lab, name, drawn)
    click.echo(f"{name} ({time.perf_counter() - began:.0f} s): {', '.join(paths)}")
    for key, value in drawn.summary.items():
        click.echo(f"  {key}: {value}")


def write(lab: Lab, name: str, drawn: Drawn) -> list[str]:
    """Write the pictures, and beside them all numbers."""
    from jaxattr.plot import figures

    for part, figure in drawn.figures.items():
        output.write(lab.output / f"{name}{part}.png", figures.encode(figure, "png"))
    content = {
        "figure": name,
        "model": lab.footer,
        "images": "drawn scenes" if lab.images is None else "photos",
        "summary": drawn.summary,
        "rows": drawn.rows,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    output.write(lab.output / f"{name}.json", f"{text}\n".encode())
    parts = drawn.figures or {"": None}
    return [f"{name}{part}.png" for part in parts] + [f"{name}.json"]


def _lab(folder: Path, choice: options.Choice, given: dict[str, Any]) -> Lab:
    from benchmarks.paper.lab import Lab
    from jaxattr.data.labels import LabelTable
    from jaxattr.methods import METHODS

    if unknown := [one for one in given["methods"] if one not in METHODS]:
        raise click.UsageError(f"unknown method {unknown[0]}; choose from {', '.join(METHODS)}.")
    model = options.load_model(choice, quiet=True)
    if given["images"] is None and choice.model != options.DEFAULT_MODEL:
        raise click.UsageError("only the model `scenes` knows drawn scenes; add --images DIR.")
    return Lab(
        choice.model,
        model,
        LabelTable(model.labels, model.config.classes),
        given["images"],
        given["labelled"],
        folder,
        given["steps"],
        given["methods"] or tuple(METHODS),
        given["limit"],
        given["scenes"],
    )


if __name__ == "__main__":
    main()
