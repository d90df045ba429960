"""Whether a ledger still says what its folder holds, and what of it stays where it does not.

When a file is read, its size and times are noted beside the ledger (`seen/`). A later run believes
a row whose file has the same size and times, and hashes any other: with the SHA-256 of the row it
stays, too. A shard with another row is set aside (`earlier/`) and written again, from the rows that
stay and from what is looked at again, so that the ledger has the same bytes as one that was made of
the changed folder at once. What is set aside is removed when the ledger is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from jaxattr.audit.ledger import Ledger, earlier_folder, read_shard, seen_folder, set_aside
from jaxattr.data.dataset import Dataset
from jaxattr.data.threads import map_ahead
from jaxattr.data.writing import replacing
from jaxattr.errors import LedgerError

Marks = tuple[int, int, int]
"""Size, and the times in nanoseconds at which content and entry of a file last changed."""
ABSENT: Marks = (-1, 0, 0)
_COLUMNS = ("file", "label", "error", "sha256")


class Place(NamedTuple):
    """Where a row that stays lies."""

    path: Path
    row: int
    marks: Marks


class Kept(NamedTuple):
    """What stays of a ledger whose folder has changed."""

    places: dict[int, Place]
    """Of images in shards that are to be written again."""
    changed: int
    """Files with other content."""
    relabelled: int
    gone: int

    @property
    def sentence(self) -> str:
        """What has changed; nothing where nothing has."""
        said = [
            f"{count:,} file{'' if count == 1 else 's'} {what}"
            for count, what in (
                (self.changed, "with other content"),
                (self.relabelled, "under another label"),
                (self.gone, "gone"),
            )
            if count
        ]
        if not said and not self.places:
            return ""
        return (
            f"the folder has changed since the ledger was made ({', '.join(said) or 'new files'}); "
            f"only what changed is looked at again"
        )


class _Row(NamedTuple):
    file: str
    label: int
    error: str
    sha256: str | None


def marks(path: str | os.PathLike[str]) -> Marks:
    """The marks of a file now."""
    try:
        now = os.stat(path)
    except (OSError, ValueError):
        return ABSENT
    return now.st_size, now.st_mtime_ns, now.st_ctime_ns


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def content_hash(dataset: Dataset) -> str:
    """SHA-256 over file names, contents and labels; reads all files."""
    digest = hashlib.sha256()
    contents = map_ahead(lambda file: file_sha256(dataset.root / file), dataset.files, ahead=64)
    for file, content, label in zip(dataset.files, contents, dataset.targets, strict=True):
        digest.update(f"{file}\0{content}\0{int(label)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def refresh(ledger: Ledger, dataset: Dataset, *, workers: int | None = None) -> Kept:
    """Set aside the shards that no longer say what the folder holds; say what stays of them.

    Raises:
        LedgerError: a shard cannot be read, or is of another run.
    """
    at = {file: index for index, file in enumerate(dataset.files)}
    stale = []
    for number in range(ledger.receipt.shards):
        if ledger.shard(number).exists() and not _holds(ledger, number, dataset, workers):
            stale.append(number)
    if stale:
        set_aside(ledger.folder, [ledger.shard(number).name for number in stale])
    return _kept(ledger, dataset, at, workers)


def note_seen(ledger: Ledger, number: int, seen: dict[str, Marks]) -> None:
    """Note the marks of a shard's files, as they were before they were read."""
    _write_seen(seen_folder(ledger.folder) / ledger.shard(number).name, seen)


def take_back(ledger: Ledger, number: int, places: Sequence[Place | None]) -> bool:
    """Put a shard that was set aside back, if it is just the one wanted; else do nothing."""
    first = places[0]
    if first is None or [(first.path, row) for row in range(len(places))] != [
        one and (one.path, one.row) for one in places
    ]:
        return False
    start = number * ledger.receipt.shard_size
    indices = read_shard(first.path, ["index"])["index"].to_pylist()
    if indices != list(range(start, start + len(places))):
        return False
    ledger.shard(number).parent.mkdir(parents=True, exist_ok=True)
    os.replace(first.path, ledger.shard(number))
    return True


def rows_at(places: dict[int, Place]) -> dict[int, dict[str, Any]]:
    """Rows that stay, by their new indices, as `Ledger.write` takes them."""
    tables = {path: read_shard(path) for path in sorted({one.path for one in places.values()})}
    return {
        index: {**tables[one.path].slice(one.row, 1).to_pylist()[0], "index": index}
        for index, one in places.items()
    }


def forget(ledger: Ledger) -> None:
    """Remove what was set aside, once the ledger is whole."""
    if not ledger.missing():
        shutil.rmtree(earlier_folder(ledger.folder), ignore_errors=True)


def _holds(ledger: Ledger, number: int, dataset: Dataset, workers: int | None) -> bool:
    """Whether a shard holds the rows that it should, of files as they are now."""
    rows = _rows(ledger, ledger.shard(number))
    first = number * ledger.receipt.shard_size
    last = min(first + ledger.receipt.shard_size, ledger.receipt.count)
    wanted = [(dataset.files[i], int(dataset.targets[i])) for i in range(first, last)]
    if [(row.file, row.label) for row in rows] != wanted:
        return False
    path = seen_folder(ledger.folder) / ledger.shard(number).name
    seen = _read_seen(path)
    fresh = _fresh(dataset.root, rows, seen, workers)
    if not all(fresh):
        return False
    now = {row.file: one for row, one in zip(rows, fresh, strict=True) if one is not None}
    if now != seen:
        _write_seen(path, now)
    return True


def _kept(ledger: Ledger, dataset: Dataset, at: dict[str, int], workers: int | None) -> Kept:
    places: dict[int, Place] = {}
    changed, relabelled, gone = set(), set(), set()
    folder = earlier_folder(ledger.folder)
    for path in sorted(folder.glob("shard-*.parquet")):
        rows = _rows(ledger, path)
        same = [n for n, row in enumerate(rows) if row.file in at]
        gone |= {row.file for row in rows if row.file not in at}
        label = {n: int(dataset.targets[at[rows[n].file]]) for n in same}
        relabelled |= {rows[n].file for n in same if label[n] != rows[n].label}
        same = [n for n in same if label[n] == rows[n].label]
        seen = _read_seen(seen_folder(folder) / path.name)
        fresh = _fresh(dataset.root, [rows[n] for n in same], seen, workers)
        for n, now in zip(same, fresh, strict=True):
            if now is None:
                changed.add(rows[n].file)
            else:
                places.setdefault(at[rows[n].file], Place(path, n, now))
    missing = set(ledger.missing())
    size = ledger.receipt.shard_size
    kept = {dataset.files[index] for index in places}
    return Kept(
        {index: place for index, place in places.items() if index // size in missing},
        len(changed - kept),
        len(relabelled - kept),
        len(gone),
    )


def _fresh(
    root: Path, rows: Sequence[_Row], seen: dict[str, Marks], workers: int | None
) -> list[Marks | None]:
    """The marks of each row's file now, or `None` where its content is not the row's."""

    now = [marks(root / row.file) for row in rows]
    fresh: list[Marks | None] = [
        one if seen.get(row.file) == one else None for row, one in zip(rows, now, strict=True)
    ]
    # A row without SHA-256 could not be read then, and is looked at again.
    touched = [n for n, one in enumerate(fresh) if one is None and rows[n].sha256 is not None]
    hashed = map_ahead(lambda n: file_sha256(root / rows[n].file), touched, workers=workers)
    for n, content in zip(touched, hashed, strict=True):
        if content == rows[n].sha256:
            fresh[n] = now[n]
    return fresh


def _rows(ledger: Ledger, path: Path) -> list[_Row]:
    table = read_shard(path, _COLUMNS)
    ledger.check_run(path, table.schema)
    columns = (table[name].to_pylist() for name in _COLUMNS)
    return [_Row(*one) for one in zip(*columns, strict=True)]


def _write_seen(path: Path, seen: dict[str, Marks]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ("size", "modified", "changed")
    columns = {name: [one[at] for one in seen.values()] for at, name in enumerate(names)}
    with replacing(path) as temporary:
        table = pa.table({"file": list(seen), **columns})
        pq.write_table(table, temporary, write_page_checksum=True)


def _read_seen(path: Path) -> dict[str, Marks]:
    with contextlib.suppress(LedgerError, KeyError):  # without it all is hashed
        rows = read_shard(path).to_pylist()
        return {one["file"]: (one["size"], one["modified"], one["changed"]) for one in rows}
    return {}
