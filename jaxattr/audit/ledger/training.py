"""The folder that the model was trained on, beside the one that is audited.

Its ledger is the `--output` of an earlier audit. By the same model, copies can be looked for: their
features compare. By one that has not learned from these labels, wrong ones stand out that the model
itself has come to agree with. Nothing of the audited folder's ledger depends on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxattr.audit.ledger.ledger import Columns, Ledger, LedgerView, Receipt, read_ledger
from jaxattr.errors import LedgerError, printable

LABELS = "other class names: give both folders the same words.txt, and the model its labels"
SAME = ("parameters", "preprocessing", "grid", "feature_size")
"""What ledgers share whose features compare: else copies of training images are not looked for."""


def read_training(folder: Path, audited: Receipt) -> Ledger:
    """The training folder's ledger, fit to stand beside the audited one.

    Raises:
        LedgerError: there is none or it is not finished, it has other classes, or it holds the
            audited images themselves.
    """
    ledger = read_ledger(folder)
    check_training(ledger, audited)
    return ledger


def check_training(training: LedgerView, audited: Receipt) -> None:
    """Refuse a ledger whose classes do not compare, or that is the audited one.

    Raises:
        LedgerError: with what to do about it.
    """
    of = training.receipt
    if _plain(of.labels) != _plain(audited.labels):
        raise LedgerError(
            f"{printable(training.folder)} cannot be the training folder, for it has {LABELS}."
        )
    if of.index == audited.index:
        raise LedgerError(
            f"{printable(training.folder)} holds the audited images themselves (equal files and "
            f"labels); give --training the audit of the folder that the model was trained on."
        )


def same_model(training: Receipt, audited: Receipt) -> bool:
    """Whether one model made both, from images prepared alike, so that features compare."""
    return all(_plain(getattr(training, name)) == _plain(getattr(audited, name)) for name in SAME)


@dataclass(frozen=True)
class Joined(LedgerView):
    """Two ledgers read as one: the audited images first, then those of the training folder.

    Indices of the training folder are counted on from `offset`.
    """

    folder: Path
    receipt: Receipt
    audited: LedgerView
    other: LedgerView
    training: LedgerView | None = None

    @property
    def offset(self) -> int:
        """Index of the training folder's first image."""
        return self.audited.receipt.count

    def parts(self, *columns: str, rows: int = 1) -> Iterator[Callable[[], Columns]]:
        """The readers of both, one after the other."""
        yield from self.audited.parts(*columns, rows=rows)
        for read in self.other.parts(*columns, rows=rows):
            yield partial(self._counted_on, read)

    def _counted_on(self, read: Callable[[], Columns]) -> Columns:
        columns = read()
        if "index" in columns:
            columns["index"] = columns["index"] + np.int32(self.offset)
        return columns

    def rows(self, indices: Sequence[int], *columns: str) -> dict[int, dict[str, Any]]:
        """The named columns of some images of both."""
        first = [index for index in indices if index < self.offset]
        second = [index - self.offset for index in indices if index >= self.offset]
        found = self.audited.rows(first, *columns)
        more = self.other.rows(second, *columns)
        return found | {index + self.offset: row for index, row in more.items()}

    def skipped(self) -> list[tuple[str, str]]:
        """Of both."""
        return [*self.audited.skipped(), *self.other.skipped()]


def joined(ledger: LedgerView) -> LedgerView:
    """The audited ledger, and the training folder's after it where one of the same model is."""
    if ledger.training is None or not same_model(ledger.training.receipt, ledger.receipt):
        return ledger
    total = ledger.receipt.count + ledger.training.receipt.count
    receipt = replace(ledger.receipt, count=total, total=total)
    return Joined(ledger.folder, receipt, ledger, ledger.training)


def _plain(value: Any) -> Any:
    """As a ledger on disk has it: JSON knows no tuples."""
    return json.loads(json.dumps(value))
