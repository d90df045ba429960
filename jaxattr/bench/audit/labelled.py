"""Evidence in memory whose labels can be moved: what planted sets of an audit are made of.

Logits and features of an image do not depend on its label. So they are gathered once, into an
ordinary ledger, and every planted set is a view of it with other labels: finders read it as any
ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxattr.audit.ledger import Columns, LedgerView, Receipt
from jaxattr.audit.ledger.reading import MEANS, PLAIN
from jaxattr.errors import DatasetError

_COLUMNS = ("index", "label", *PLAIN)


@dataclass(frozen=True, eq=False)
class Labelled(LedgerView):
    """Columns of a ledger held in memory; maps are left out, for they belong to a label."""

    folder: Path
    receipt: Receipt
    columns: Columns
    training: LedgerView | None = None

    @property
    def label(self) -> Int[np.ndarray, " image"]:
        """The labels given, as model outputs."""
        return self.columns["label"]

    @property
    def classes(self) -> Int[np.ndarray, "class"]:
        """Model outputs that are present, ascending."""
        return np.unique(self.label)

    def parts(self, *columns: str, rows: int = 1) -> Iterator[Callable[[], Columns]]:
        """All images at once, whatever `rows` asks for."""
        del rows
        yield lambda: {name: self.columns[name] for name in columns}

    def rows(self, indices: Sequence[int], *columns: str) -> dict[int, dict[str, Any]]:
        """Of the columns that are held, with the labels as they were moved."""
        at = np.searchsorted(self.columns["index"], np.asarray(indices, int))
        return {
            index: {name: self.columns[name][place] for name in columns}
            for index, place in zip(indices, at.tolist(), strict=True)
        }

    def skipped(self) -> list[tuple[str, str]]:
        """None: unreadable images were left out."""
        return []

    def pick(self, rows: Int[np.ndarray, " part"]) -> Labelled:
        """Some of the images, by position."""
        return self._with({name: values[rows] for name, values in self.columns.items()})

    def move(self, label: Int[np.ndarray, " image"]) -> Labelled:
        """The same images with other labels, and the rivals that go with them."""
        changed = {"label": label.astype(np.int32), "rival": _rivals(self.columns["logits"], label)}
        return self._with({**self.columns, **changed})

    def answer(self, logits: np.ndarray) -> Labelled:
        """The same images seen by another head, in one view only."""
        changed = {"logits": logits.astype(np.float32), "rival": _rivals(logits, self.label)}
        one = self._with({**self.columns, **changed})
        return replace(one, receipt=replace(one.receipt, settings={}))

    def _with(self, columns: dict[str, np.ndarray]) -> Labelled:
        receipt = replace(self.receipt, count=len(columns["label"]))
        return Labelled(self.folder, receipt, columns)


def hold(ledger: LedgerView) -> Labelled:
    """Read the readable images of a ledger into memory: 4 bytes per logit and feature, and view.

    Raises:
        DatasetError: fewer than two classes can be read.
    """
    views = MEANS if ledger.receipt.settings.get("views") else ()
    columns = ledger.read(*_COLUMNS, *views)
    if len(np.unique(columns["label"])) < 2:
        raise DatasetError(
            f"{ledger.receipt.images}: holds readable images of fewer than two classes; labels "
            "are moved between classes, so give a folder with more."
        )
    columns["rival"] = _rivals(columns["logits"], columns["label"])
    return Labelled(ledger.folder, ledger.receipt, columns)


def _rivals(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    others = logits.copy()
    others[np.arange(len(label)), label] = -np.inf
    return others.argmax(axis=1).astype(np.int32)
