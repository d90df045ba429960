"""`jaxattr audit`: explain every image of a labelled folder, and report what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jaxattr.cli.audit.overview import overview
from jaxattr.cli.common import answers
from jaxattr.cli.common.options import (
    Choice,
    exclude_option,
    idle_unless,
    limited,
    load_model,
    max_pixels_option,
    model_options,
    note,
    prepare_jax,
    quiet_option,
    say_folder,
    seed_option,
    warn,
    workers_option,
)
from jaxattr.cli.common.output import path, show
from jaxattr.cli.scenes import drawn, is_drawn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxattr.audit.evidence.freshness import Kept
    from jaxattr.audit.findings.finding import Finding
    from jaxattr.audit.ledger import Ledger, Receipt
    from jaxattr.audit.report.summary import Summary
    from jaxattr.data.dataset import Dataset
    from jaxattr.vit import Model

SHOWN_SKIPPED = 5
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
@click.option("--limit", type=click.IntRange(min=1), help="That many images, spread over classes.")
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
    help="Test suspicions on the model: paste, cover, crop, rewrite.",
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
    strict: bool,
    fail_on: str,
    max_pixels: int | None,
    quiet: bool,
) -> None:
    """Audit a labelled image folder and write a per-class report."""
    idle_unless(limit or is_drawn(images), "seed", why="add --limit")
    prepare_jax(choice.dtype)
    from dataclasses import replace

    from jaxattr.audit.evidence.gather import gather, make_receipt
    from jaxattr.audit.findings import find
    from jaxattr.audit.ledger import open_ledger
    from jaxattr.audit.report.summary import summarize

    loaded = limited(load_model(choice, quiet=quiet), max_pixels)
    classifier = answers.classifier(loaded, "jaxattr audit")
    root = _root(images, output / "scenes", seed)
    loaded = answers.named(loaded, classifier, root, labels_file, quiet=quiet)
    loaded = _named(loaded, root)
    asked = {"labels_file": labels_file, "classes": classes, "exclude": exclude}
    dataset, total = _index(loaded, root, limit, seed, asked)
    note(f"Images: {len(dataset.files)} of {total} in {root} ({dataset.origin})", quiet=quiet)
    say_folder(dataset)
    asked = _asked(limit, seed, asked)
    receipt = make_receipt(
        loaded, dataset, total=total, method="conservative", dtype=choice.dtype, **asked
    )
    other = _training(training, receipt, quiet=quiet)
    ledger = replace(open_ledger(output, receipt), training=other)
    kept = looked_again(ledger, dataset, workers)
    done = receipt.count - images_left(ledger) + len(kept.places)
    if done:
        note(f"Going on with the ledger in {output}: {done} images are done.", quiet=quiet)
    with progress_bar(receipt.count, done, quiet=quiet) as advance:
        options = {"batch_size": batch_size, "workers": workers, "strict": strict, "kept": kept}
        gather(loaded, dataset, ledger, progress=advance, **options)
    _say_skipped(ledger)
    if probes:
        ask_model(loaded, ledger, dataset.root, quiet=quiet)
    note("Looking for findings ...", quiet=quiet)
    findings, summary = find(ledger), summarize(ledger)
    report = write_results(ledger, summary, findings)
    show(overview(ledger, findings))
    show(f"\nReport: {path(report)}")
    if _fails(findings, fail_on):
        ctx.exit(1)


def looked_again(ledger: Ledger, dataset: Dataset, workers: int | None) -> Kept:
    """What stays of a ledger whose folder may have changed; says so where it has."""
    from jaxattr.audit.evidence.freshness import refresh

    kept = refresh(ledger, dataset, workers=workers)
    if kept.sentence:
        warn(f"{kept.sentence}.")
    return kept


def _training(folder: Path | None, receipt: Receipt, *, quiet: bool) -> Ledger | None:
    """The training folder's ledger, refused before any work is done for the other."""
    from jaxattr.audit.ledger.training import read_training

    if folder is None:
        return None
    ledger = read_training(folder, receipt)
    note(f"Training: {ledger.receipt.count} images of {ledger.receipt.images}", quiet=quiet)
    return ledger


def ask_model(model: Model, ledger: Ledger, root: Path, *, quiet: bool) -> None:
    """Put the questions that the ledger raises to the model, with a bar."""
    from jaxattr.audit.probes import Subject, ask, open_questions

    count = len(open_questions(ledger))
    with progress_bar(
        count, 0, quiet=quiet, doing="Testing suspicions", unit="questions"
    ) as advance:
        ask(Subject(model, ledger, root), progress=advance)


def write_results(ledger: Ledger, summary: Summary, findings: list[Finding]) -> Path:
    """Write the findings and the report beside the ledger; return the report's path."""
    from jaxattr.audit.report import render
    from jaxattr.audit.report.export import findings_csv, findings_json
    from jaxattr.data.writing import replacing

    texts = {
        "findings.json": findings_json(findings, ledger),
        "findings.csv": findings_csv(findings, ledger),
        "report.html": render(ledger, summary, findings),
    }
    for name, text in texts.items():
        with replacing(ledger.folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return ledger.folder / "report.html"


def progress_bar(
    total: int, done: int, *, quiet: bool, doing: str = "Explaining", unit: str = "images"
) -> Any:
    """A bar on stderr with the rate and the time left; calling it advances it by as many units.

    The rate is that of the last half minute; its first step, which compiles, does not count.
    """
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    @contextmanager
    def bar() -> Iterator[Any]:
        console = Console(stderr=True)
        rate = TextColumn("{task.fields[rate]}")
        columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), rate, TimeLeft())
        if quiet or not console.is_terminal:  # a disabled bar of older releases prints a line break
            yield lambda count: None
            return
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=total, completed=done, rate="")

            def advance(count: int) -> None:
                speed = progress.tasks[0].speed
                rate = f"{speed:.1f} {unit}/s" if speed else ""
                progress.update(task, advance=count, rate=rate)

            yield advance

    return bar()


def _named(model: Model, root: Path) -> Model:
    """The model with readable labels, where it has wnids and the folder's words.txt names them."""
    from dataclasses import replace

    from jaxattr.data.label_file import read_words
    from jaxattr.data.labels import with_words

    return replace(model, labels=with_words(model.labels, read_words(root)))


def _index(
    model: Model, root: Path, limit: int | None, seed: int, asked: dict[str, Any]
) -> tuple[Dataset, int]:
    """The images to audit, and how many there would be without a limit."""
    from jaxattr.data.dataset import index

    labels: Any = model.labels or [str(i) for i in range(model.config.classes)]
    everything = index(root, labels, **asked)
    total = len(everything.files)
    if limit is None or limit >= total:
        return everything, total
    return index(root, labels, limit=limit, seed=seed, **asked), total


def _asked(limit: int | None, seed: int, asked: dict[str, Any]) -> dict[str, Any]:
    """Which images were asked for, as far as it was said: a part of what identifies the run."""
    every = {**asked, "limit": limit, "seed": seed if limit else None}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in every.items()
        if value
    }


def _root(images: str, folder: Path, seed: int) -> Path:
    """The folder of `--images`, or the embedded scenes, drawn into `folder` with some defects."""
    from jaxattr.scenes.defects import DEFAULT

    if not is_drawn(images):
        return _inside(Path(images))
    return drawn(folder, SCENES_PER_CLASS, seed=seed, defects=DEFAULT, masks=True)


def _inside(folder: Path) -> Path:
    """The images in a folder that `jaxattr scenes` wrote; any other folder as it is."""
    inner = folder / "images"
    return inner if (folder / "truth.parquet").is_file() and inner.is_dir() else folder


def images_left(ledger: Ledger) -> int:
    """How many images are not in the ledger yet."""
    size, count = ledger.receipt.shard_size, ledger.receipt.count
    return sum(min(size, count - number * size) for number in ledger.missing())


def _say_skipped(ledger: Ledger) -> None:
    from jaxattr.errors import ImageError

    skipped = ledger.skipped()
    if len(skipped) == ledger.receipt.count:
        raise ImageError(
            f"none of the {len(skipped)} images can be read, the first because: {skipped[0][1]}"
        )
    for _, reason in skipped[:SHOWN_SKIPPED]:
        warn(f"skipped {reason}")
    if len(skipped) > SHOWN_SKIPPED:
        warn(f"skipped {len(skipped) - SHOWN_SKIPPED} more; findings.json lists them all.")


def _fails(findings: list[Finding], fail_on: str) -> bool:
    from jaxattr.audit.findings.finding import SEVERITIES

    if fail_on == "never":
        return False
    threshold = SEVERITIES.index(fail_on)  # pyright: ignore[reportArgumentType]
    return any(SEVERITIES.index(one.severity) >= threshold for one in findings)
