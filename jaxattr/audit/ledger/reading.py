"""Logits and features of a ledger, chunk by chunk, for what is fitted to a whole folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from jaxattr.audit.ledger.ledger import Columns, LedgerView

CALIBRATED_ON = 10_000
"""Images that temperatures are fitted on, evenly spaced when there are more."""
_CHUNK = 512
_KEPT_NUMBERS = 2**24

Result = TypeVar("Result")
PLAIN, MEANS = ("logits", "feature"), ("mean_logits", "mean_feature")
Chunk = tuple[np.ndarray, np.ndarray, np.ndarray]
OfChunk = Callable[[np.ndarray, np.ndarray, np.ndarray], Result]


class Reader(NamedTuple):
    """Logits and features of a folder's images, by position among the readable ones."""

    ledger: LedgerView
    columns: tuple[str, str]
    """Of logits and features."""
    image: np.ndarray
    """Ledger index of every position, ascending."""
    classes: np.ndarray
    label: np.ndarray
    fold: np.ndarray
    kept: list[Chunk]
    """The sample, once it was read, if it is small."""

    def each(
        self, function: OfChunk[Result], every: int = 1
    ) -> Iterator[tuple[np.ndarray, Result]]:
        """Positions, and `function` of them and of logits and features; all images or every nth.

        Logits are those of the classes present.
        """
        of_logits, of_feature = self.columns

        def work(shard: Columns) -> list[tuple[np.ndarray, Result]]:
            at = np.searchsorted(self.image, shard["index"])
            rows = np.flatnonzero(at % every == 0)
            found = []
            for first in range(0, len(rows), _CHUNK):
                part = rows[first : first + _CHUNK]
                logits = shard[of_logits][part[:, None], self.classes]
                found.append((at[part], function(at[part], logits, shard[of_feature][part])))
            return found

        for found in self.ledger.each(work, "index", *self.columns, rows=_CHUNK):
            yield from found

    def sample(self) -> Iterable[Chunk]:
        """The images that temperatures are fitted on; read once if they take less than 64 MiB."""
        every = max(1, -(-len(self.label) // CALIBRATED_ON))
        chunks = (chunk for _, chunk in self.each(_whole, every))
        if len(self.label) // every * len(self.classes) > _KEPT_NUMBERS:
            return chunks
        if not self.kept:
            self.kept.extend(chunks)
        return self.kept

    def features(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Positions and features of all images."""
        name = self.columns[1]
        for shard in self.ledger.each(lambda shard: shard, "index", name, rows=_CHUNK):
            at = np.searchsorted(self.image, shard["index"])
            for first in range(0, len(at), _CHUNK):
                yield at[first : first + _CHUNK], shard[name][first : first + _CHUNK]


def _whole(at: np.ndarray, logits: np.ndarray, feature: np.ndarray) -> Chunk:
    return at, logits, feature
