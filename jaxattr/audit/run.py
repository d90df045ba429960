"""The audit from a model and a labelled folder to findings and a report: `jaxattr.audit`.

The order of the stages, and nothing else: what each does is in its own room. Nothing here prints:
who wants to know how far an audit is passes a `Progress`.
"""

from __future__ import annotations

import html
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

from jaxattr.audit.classifier import classifier_of_folder
from jaxattr.audit.evidence.freshness import Kept, refresh
from jaxattr.audit.evidence.gather import gather, make_receipt
from jaxattr.audit.findings import FINDERS, Finder, find
from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import Ledger, LedgerView, Receipt, open_ledger
from jaxattr.audit.ledger.training import read_training
from jaxattr.audit.probes import Subject, ask, open_questions
from jaxattr.audit.report import render
from jaxattr.audit.report.export import findings_csv, findings_json
from jaxattr.audit.report.summary import Summary, summarize
from jaxattr.data.dataset import Dataset, index
from jaxattr.data.label_file import read_words
from jaxattr.data.labels import with_words
from jaxattr.data.writing import replacing
from jaxattr.errors import ImageError, JaxattrError, JaxattrWarning
from jaxattr.vit import Model

TASK = "jaxattr audit"
SHOWN_SKIPPED = 5
SHOWN_FINDINGS = 10
_PathLike = str | os.PathLike[str]
_COLUMNS = ("severity", "kind", "finding")


def _nothing(message: str) -> None:
    del message


def _warn(message: str) -> None:
    warnings.warn(message, JaxattrWarning, stacklevel=4)


@contextmanager
def _no_bar(doing: str, unit: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
    del doing, unit, total, done
    yield lambda count: None


class Progress(NamedTuple):
    """Whom an audit tells what it does; by default nobody but of what must be known."""

    note: Callable[[str], None] = _nothing
    """Told what is done, a line each."""
    warn: Callable[[str], None] = _warn
    """Told what the user must know, a line each; by default as a `JaxattrWarning`."""
    bar: Callable[[str, str, int, int], AbstractContextManager[Callable[[int], None]]] = _no_bar
    """`bar(doing, unit, total, done)`, entered when a long stage begins; what it gives is called
    with the number of units that each step has finished."""


@dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """What an audit found; the same, for other programs, lies beside the report."""

    findings: tuple[Finding, ...]
    """Worst first."""
    summary: Summary
    """Of every class and its rivals."""
    report: Path
    """One HTML file, to be opened in a browser."""
    analysis: Analysis
    """What is inferred from the ledger: posteriors, pairs, places."""

    @property
    def ledger(self) -> LedgerView:
        """What was seen of every image."""
        return self.analysis.ledger

    def __repr__(self) -> str:
        count = len(self.findings)
        noun = "finding" if count == 1 else "findings"
        return f"Audit({audited(self.analysis)}; {count} {noun}; report {str(self.report)!r})"

    def _repr_html_(self) -> str:
        """A short table for notebooks."""
        worst = self.findings[:SHOWN_FINDINGS]
        rows = [
            "".join(f"<td>{html.escape(cell)}</td>" for cell in (one.severity, one.kind, one.title))
            for one in worst
        ]
        head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
        table = "".join(f"<tr>{row}</tr>" for row in (head, *rows)) if rows else ""
        more = len(self.findings) - len(worst)
        rest = f"<p>... and {more} more in the report</p>" if more else ""
        where = html.escape(str(self.report))
        return (
            f"<p>{html.escape(audited(self.analysis))}; {len(self.findings)} findings</p>"
            f'<table>{table}</table>{rest}<p>Report: <a href="{where}">{where}</a></p>'
        )


def audit(
    model: Model,
    images: _PathLike,
    *,
    output: _PathLike,
    labels: _PathLike | None = None,
    training: _PathLike | None = None,
    limit: int | None = None,
    classes: Sequence[str | SupportsIndex] = (),
    exclude: Sequence[str] = (),
    seed: int = 0,
    batch_size: int | None = None,
    workers: int | None = None,
    probes: bool = True,
    strict: bool = False,
    finders: Sequence[Finder] = (),
    progress: Progress = Progress(),  # noqa: B008  (immutable)
) -> Audit:
    """Explain every image of a labelled folder, and report what is wrong with it.

        result = jaxattr.audit(model, "photos/", output="reports/photos")
        for finding in result.findings: ...

    Resumes: what `output` holds of an earlier call with the same model and options is not computed
    again, and of a folder that has changed since, only what has changed. Equal folders give equal
    bytes, whatever the batch size, the device, and the moments at which earlier calls were
    stopped.

    Args:
        images: one folder per class, named by index, wnid, label or synonym; or a folder with a
            `metadata.csv` or `metadata.jsonl` of `file_name` and `label`.
        output: folder of the ledger, `findings.json`, `findings.csv` and `report.html`.
        labels: a CSV of file and label, in place of those of the folder.
        training: the `output` of an audit of the model's training images: by the same model to find
            copies, too; by one not trained on them to see more of the wrong labels that it learned.
        limit: so many images only, spread over the classes.
        classes: audit these classes only.
        exclude: leave out folders or labels of these names; `*` and `?` stand for any.
        seed: which images `limit` takes.
        batch_size: images on the device at once.
        workers: decoding threads.
        probes: test suspicions on the model: paste, cover, crop, rewrite.
        strict: raise at an unreadable image instead of skipping it.
        finders: your own, functions of the `Analysis`; what they return is reported with the rest.
        progress: whom to tell how far it is.

    Raises:
        JaxattrError: the model does not give each image one class.
        DatasetError: the folder has no images, or labels that the model does not know.
        LedgerError: `output` holds another run, or `training` does not fit.
        ImageError: no image can be read; with `strict`, one of them.
    """
    if batch_size is not None and batch_size < 1:
        raise JaxattrError(f"a batch of {batch_size} images asked for; give at least 1, or None.")
    asked: dict[str, Any] = {"labels_file": None if labels is None else os.fspath(labels)}
    asked |= {"classes": _several(classes), "exclude": _several(exclude)}
    root = images_of(Path(images))
    model, dataset, receipt = _prepared(model, root, limit, seed, asked, progress)
    other = None if training is None else read_training(Path(training), receipt)
    if other is not None:
        progress.note(f"Training: {other.receipt.count} images of {other.receipt.images}")
    begun = begin(Path(output), receipt, dataset, workers=workers, warn=progress.warn)
    ledger = replace(begun.ledger, training=other)
    if begun.done:
        progress.note(f"Resuming the ledger in {output}: {begun.done} images are done.")
    with progress.bar("Explaining", "images", receipt.count, begun.done) as advance:
        options = {"batch_size": batch_size, "workers": workers, "strict": strict}
        gather(model, dataset, ledger, kept=begun.kept, progress=advance, **options)
    _tell_of_skipped(ledger, progress.warn)
    analysis = Analysis(ledger)
    if probes:
        count = len(open_questions(analysis))
        with progress.bar("Testing suspicions", "questions", count, 0) as advance:
            ask(Subject(model, analysis, dataset.root), progress=advance)
    progress.note("Looking for findings ...")
    return conclude(analysis, finders)


def _prepared(
    model: Model,
    root: Path,
    limit: int | None,
    seed: int,
    asked: dict[str, Any],
    progress: Progress,
) -> tuple[Model, Dataset, Receipt]:
    """The model with the folder's names, the images to audit, and what identifies the run."""
    model, said = classifier_of_folder(model, TASK, root, asked["labels_file"])
    for sentence in said:
        progress.note(sentence)
    model = replace(model, labels=with_words(model.labels, read_words(root)))
    labels: Any = model.labels or [str(i) for i in range(model.config.classes)]
    dataset = index(root, labels, **asked)
    total = len(dataset.files)
    if limit is not None and limit < total:
        dataset = index(root, labels, limit=limit, seed=seed, **asked)
    progress.note(f"Images: {len(dataset.files)} of {total} in {root} ({dataset.origin})")
    for sentence in dataset.sentences:
        progress.warn(sentence)
    settings = {"method": "conservative", "dtype": model.config.dtype}
    settings |= _settings(limit, seed, asked)
    return model, dataset, make_receipt(model, dataset, total=total, **settings)


def conclude(analysis: Analysis, finders: Sequence[Finder] = ()) -> Audit:
    """The findings of a whole ledger, and the files that say them: neither asks the model."""
    findings = find(analysis, [*FINDERS.values(), *finders])
    summary = summarize(analysis.ledger)
    return Audit(tuple(findings), summary, write(analysis, summary, findings), analysis)


def write(analysis: Analysis, summary: Summary, findings: Sequence[Finding]) -> Path:
    """Write the findings and the report beside the ledger; return the report's path."""
    found = list(findings)
    texts = {
        "findings.json": findings_json(found, analysis),
        "findings.csv": findings_csv(found, analysis),
        "report.html": render(analysis, summary, found),
    }
    folder = analysis.ledger.folder
    for name, text in texts.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return folder / "report.html"


class Begun(NamedTuple):
    """A ledger to be filled, and what of an earlier run stays."""

    ledger: Ledger
    kept: Kept
    done: int
    """Images that need not be looked at again."""


def begin(
    folder: Path,
    receipt: Receipt,
    dataset: Dataset,
    *,
    workers: int | None = None,
    warn: Callable[[str], None] = _warn,
) -> Begun:
    """Open the ledger of a run, or take up that of an earlier call; `warn` hears what changed.

    Raises:
        LedgerError: the folder holds another run's ledger.
    """
    ledger = open_ledger(folder, receipt)
    kept = refresh(ledger, dataset, workers=workers)
    if kept.sentence:
        warn(f"{kept.sentence}.")
    size = receipt.shard_size
    left = sum(min(size, receipt.count - number * size) for number in ledger.missing())
    return Begun(ledger, kept, receipt.count - left + len(kept.places))


def images_of(folder: Path) -> Path:
    """The images in a folder that `jaxattr scenes` wrote; any other folder as it is."""
    inner = folder / "images"
    return inner if (folder / "truth.parquet").is_file() and inner.is_dir() else folder


def audited(analysis: Analysis) -> str:
    """How many images of how many classes were looked at, and how many labels the model shares."""
    columns, part = analysis.ledger.read("label", "prediction"), analysis.extent
    right = int((columns["label"] == columns["prediction"]).sum())
    images, of = len(columns["label"]), counted(len(part.classes), "class", "es")
    every = len(part.classes) + len(part.left_out)
    seen = f"{counted(images, 'image')}, {of}"
    if part.limited:
        seen = f"{counted(images, 'image')} (PARTIAL: {part.images} of {part.of_images}), {of}"
        seen += f" of {every}" if part.left_out else ""
    elif part.partial:
        seen += f" (PARTIAL: of {part.of_images} images and {every} classes)"
    agrees = f"{counted(right, 'label')} ({right / max(images, 1):.1%})"
    return f"{seen}; the model agrees with {agrees}"


def counted(number: int, what: str, end: str = "s") -> str:
    """A number of things, in words."""
    return f"{number} {what}{'' if number == 1 else end}"


def _several(names: Sequence[Any]) -> tuple[Any, ...]:
    """A lone name is one name, not its letters."""
    return (names,) if isinstance(names, str) else tuple(names)


def _settings(limit: int | None, seed: int, asked: dict[str, Any]) -> dict[str, Any]:
    """Which images were asked for, as far as it was said: a part of what identifies the run."""
    every = {**asked, "limit": limit, "seed": seed if limit else None}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in every.items()
        if value
    }


def _tell_of_skipped(ledger: Ledger, warn: Callable[[str], None]) -> None:
    skipped = ledger.skipped()
    if len(skipped) == ledger.receipt.count:
        raise ImageError(
            f"none of the {len(skipped)} images can be read, the first because: {skipped[0][1]}"
        )
    for _, reason in skipped[:SHOWN_SKIPPED]:
        warn(f"skipped {reason}")
    if len(skipped) > SHOWN_SKIPPED:
        warn(f"skipped {len(skipped) - SHOWN_SKIPPED} more; findings.json lists them all.")
