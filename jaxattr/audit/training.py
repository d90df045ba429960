"""The folder that the model was trained on, beside the one that is audited.

Its ledger is the `--output` of an earlier audit by the same model. Nothing of the audited folder's
ledger depends on it; finders read both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxattr.audit.ledger import Columns, Ledger, Receipt, read_ledger
from jaxattr.errors import LedgerError
from jaxattr.images import printable

SAME = {
    "parameters": "another model's parameters: audit the training folder with the same --model",
    "labels": "other class names: give both folders the same words.txt, and the model its labels",
    "preprocessing": "another preprocessing: audit both folders with the same --image-size",
    "grid": "another grid of patches: audit both folders with the same --image-size",
    "feature_size": "features of another size: audit the training folder with the same --model",
}
"""What two ledgers must share, and what to do where they do not."""


def read_training(folder: Path, audited: Receipt) -> Ledger:
    """The training folder's ledger, fit to stand beside the audited one.

    Raises:
        LedgerError: there is none or it is not finished, another model or preprocessing made it,
            or it holds the audited images themselves.
    """
    ledger = read_ledger(folder)
    check_training(ledger, audited)
    return ledger


def check_training(training: Ledger, audited: Receipt) -> None:
    """Refuse a ledger whose numbers or classes do not compare, or that is the audited one.

    Raises:
        LedgerError: with what to do about it.
    """
    of = training.receipt
    for name, reason in SAME.items():
        if _plain(getattr(of, name)) != _plain(getattr(audited, name)):
            raise LedgerError(
                f"{printable(training.folder)} cannot be the training folder, for it has {reason}."
            )
    if of.index == audited.index:
        raise LedgerError(
            f"{printable(training.folder)} holds the audited images themselves (equal files and "
            f"labels); give --training the audit of the folder that the model was trained on."
        )


@dataclass(frozen=True)
class Joined(Ledger):
    """Two ledgers read as one: the audited images first, then those of the training folder.

    Indices of the training folder are counted on from `offset`.
    """

    audited: Ledger
    other: Ledger

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


def joined(ledger: Ledger) -> Ledger:
    """The audited ledger, and the training folder's after it where there is one."""
    if ledger.training is None:
        return ledger
    total = ledger.receipt.count + ledger.training.receipt.count
    receipt = replace(ledger.receipt, count=total, total=total)
    return Joined(ledger.folder, receipt, ledger, ledger.training)


def _plain(value: Any) -> Any:
    """As a ledger on disk has it: JSON knows no tuples."""
    return json.loads(json.dumps(value))
