"""`jaxattr audit`: explain every image of a labelled folder, and report what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jaxattr.cli.audit.overview import overview
from jaxattr.cli.common import answers, names
from jaxattr.cli.common.options import (
    Choice,
    exclude_option,
    idle_unless,
    limited,
    load_model,
    max_pixels_option,
    model_options,
    prepare_jax,
    quiet_option,
    seed_option,
    workers_option,
)
from jaxattr.cli.common.output import path, show
from jaxattr.cli.common.progress import on_stderr
from jaxattr.cli.scenes import drawn, is_drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxattr.audit.findings.finding import Finding

SCENES_PER_CLASS = 40
LARGEST_BATCH = 4096

EPILOG = """\b
Examples:
  jaxattr audit                                   drawn scenes with planted errors
  jaxattr audit --model vit-base --images photos/
  jaxattr audit --images photos/ --labels labels.csv --output reports/photos
  jaxattr audit --images photos/ --classes kite --classes "bald eagle"
  jaxattr audit --images photos/ --limit 500 --fail-on high
  jaxattr audit --images train/ --output reports/train
  jaxattr audit --images val/ --training reports/train    leaks, errors learned

IMAGES holds one folder per class (named by index, wnid, label or synonym), or a metadata.csv or
metadata.jsonl with file_name and label. Files are images by their suffix, or by their content;
those that are not looked at are counted. Killed at any moment, the same command resumes where it
stopped; files that were changed, added or removed since are looked at again. Findings go to stdout
and to findings.json and findings.csv beside report.html.
"""


class BatchSize(click.ParamType):
    """A number of images, or `auto`."""

    name = "n|auto"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | None:
        if value in (None, "auto"):
            return None
        text = str(value)
        if text.isdecimal() and len(text) < 9 and 0 < int(text) <= LARGEST_BATCH:
            return int(text)
        return self.fail(
            f"{value!r} is not a batch size; give a number of images, at most {LARGEST_BATCH}, or "
            "auto."
        )


@click.command(epilog=EPILOG)
@model_options
@click.option(
    "--images",
    default="scenes",
    show_default=True,
    help="The labelled folder; `scenes` draws one with some wrong labels planted.",
)
@click.option("--labels", "labels_file", type=click.Path(), help="A CSV of file and label.")
@click.option("--classes", multiple=True, help="Audit this class only (repeatable).")
@exclude_option
@click.option(
    "--limit", type=click.IntRange(min=1), help="Number of images, spread over the classes."
)
@seed_option("Which images --limit takes, and which scenes are drawn.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("jaxattr-audit"),
    show_default=True,
    help="Folder of the ledger, the findings and the report.",
)
@click.option(
    "--training",
    type=click.Path(path_type=Path),
    help="The --output of an audit of the model's training images: by the same model to find "
    "copies, too; by one not trained on them to see more of the wrong labels that it learned.",
)
@click.option(
    "--batch-size",
    type=BatchSize(),
    default="auto",
    show_default=True,
    help="Images on the device at once.",
)
@workers_option
@click.option(
    "--probes/--no-probes",
    default=True,
    show_default=True,
    help="Test suspicions by asking the model again: paste, cover, crop, rewrite.",
)
@click.option(
    "--finder",
    "own",
    multiple=True,
    metavar="PACKAGE.MODULE:FUNCTION",
    help="A finder of your own, a function of the audit's Analysis (repeatable).",
)
@click.option("--strict", is_flag=True, help="Stop at an unreadable image instead of skipping it.")
@click.option(
    "--fail-on",
    type=click.Choice(["never", "low", "medium", "high"]),
    default="never",
    show_default=True,
    help="Exit with 1 when a finding is at least that severe.",
)
@max_pixels_option
@quiet_option
@click.pass_context
def audit(
    ctx: click.Context,
    choice: Choice,
    images: str,
    labels_file: str | None,
    classes: tuple[str, ...],
    exclude: tuple[str, ...],
    limit: int | None,
    seed: int,
    output: Path,
    training: Path | None,
    batch_size: int | None,
    workers: int | None,
    probes: bool,
    own: tuple[str, ...],
    strict: bool,
    fail_on: str,
    max_pixels: int | None,
    quiet: bool,
) -> None:
    """Audit a labelled image folder and write a per-class report."""
    idle_unless(limit or is_drawn(images), "seed", why="add --limit")
    prepare_jax(choice.dtype)
    from jaxattr.audit.run import TASK
    from jaxattr.audit.run import audit as run

    finders = names.finders(own)
    loaded = limited(load_model(choice, quiet=quiet), max_pixels)
    answers.classifier(loaded, TASK)  # before scenes are drawn
    found = run(
        loaded,
        _root(images, output / "scenes", seed),
        output=output,
        labels=labels_file,
        training=training,
        limit=limit,
        classes=classes,
        exclude=exclude,
        seed=seed,
        batch_size=batch_size,
        workers=workers,
        probes=probes,
        strict=strict,
        finders=finders,
        progress=on_stderr(quiet=quiet),
    )
    show(overview(found.analysis, found.findings))
    show(f"\nReport: {path(found.report)}")
    if _fails(found.findings, fail_on):
        ctx.exit(1)


def _root(images: str, folder: Path, seed: int) -> Path:
    """The folder of `--images`, or the embedded scenes, drawn into `folder` with some defects."""
    from jaxattr.scenes.defects import DEFAULT

    if not is_drawn(images):
        return Path(images)
    return drawn(folder, SCENES_PER_CLASS, seed=seed, defects=DEFAULT, masks=True)


def _fails(findings: Sequence[Finding], fail_on: str) -> bool:
    from jaxattr.audit.findings.finding import SEVERITIES

    if fail_on == "never":
        return False
    threshold = SEVERITIES.index(fail_on)  # pyright: ignore[reportArgumentType]
    return any(SEVERITIES.index(one.severity) >= threshold for one in findings)
