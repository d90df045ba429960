"""Labelled images on disk: which files there are and which class each is said to be.

Nothing is opened or decoded here, only listed, so that a million images index in seconds.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Int32

from jaxattr.audit import label_file
from jaxattr.errors import DatasetError
from jaxattr.images import SUFFIXES, printable
from jaxattr.labels import LabelTable, is_number

_METADATA = ("metadata.csv", "metadata.jsonl")
_SPLITS = frozenset(("train", "training", "val", "valid", "validation", "test"))
_NAMED = 3

Targets = Int32[np.ndarray, "image"]


class Dataset(NamedTuple):
    """The images of an audit, sorted by file name.

    `files` are relative to `root`, with forward slashes; `targets` are class indices of the
    model; `origin` says in words where the labels come from and what was left out.
    """

    root: Path
    files: tuple[str, ...]
    targets: Targets
    origin: str
    sizes: tuple[tuple[int, int], ...] = ()
    """Class, and how many images the whole folder has of it: those that `classes`, `exclude` and
    `limit` leave out, too."""
    unlooked: tuple[tuple[str, int], ...] = ()
    """Kind, and how many files of it are in the folder that nobody looks at: `(".jxl", 5)`."""
    notes: tuple[str, ...] = ()
    """What was left out, taken for the same, or is odd in the folder, a sentence each, for people
    to see."""


class _Rows(NamedTuple):
    names: dict[str, str]
    """File to class name, as written."""
    unit: str
    """What carries the class name, for messages."""
    where: Path
    origin: str


def index(
    root: str | os.PathLike[str],
    labels: LabelTable | Sequence[str],
    *,
    labels_file: str | os.PathLike[str] | None = None,
    classes: Sequence[str | SupportsIndex] = (),
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """List the images below `root` with the class of each.

    Labels come from `labels_file` (see `jaxattr.audit.label_file`), else from `metadata.csv` or
    `metadata.jsonl` in `root`, else from the folders: `root/<class>/.../<image>`. A class is named
    by index, wnid, label or synonym; numbers are indices only if every name is one. `classes`
    keeps some classes only. `limit` keeps that many images, spread evenly over the classes: which
    ones depends on `seed` and the file names alone, and a larger limit adds to a smaller one.
    Raises `DatasetError`, or `LabelError` for an unknown name in `classes`.
    """
    folder = Path(root)
    table = labels if isinstance(labels, LabelTable) else LabelTable(tuple(labels))
    wanted = frozenset(table.resolve(one) for one in classes)
    if limit is not None and limit < 1:
        raise DatasetError(f"limit {limit} leaves no image, wanted at least 1")
    rows = _rows(folder, labels_file)
    indices, ignored = _resolved(rows, table, may_ignore=bool(wanted))
    chosen = {
        file: indices[name]
        for file, name in rows.names.items()
        if name in indices and (not wanted or indices[name] in wanted)
    }
    absent = sorted(wanted.difference(chosen.values()))
    if absent:
        named = _some([table.short(one) for one in absent])
        raise DatasetError(f"{printable(folder)}: holds no image of {named}; ask for other classes")
    sizes = Counter(indices[name] for name in rows.names.values() if name in indices)
    if limit is not None:
        chosen = _spread(chosen, limit, seed)
    files = tuple(sorted(chosen))  # code points sort as UTF-8 bytes do
    targets = np.array([chosen[file] for file in files], np.int32)
    note = f" ({ignored} {rows.unit}s of unknown classes left out)" if ignored else ""
    return Dataset(folder, files, targets, rows.origin + note, tuple(sorted(sizes.items())))


def _rows(root: Path, labels_file: str | os.PathLike[str] | None) -> _Rows:
    name = printable(root)
    if not os.path.exists(root):
        raise DatasetError(f"{name}: no such folder")
    if not os.path.isdir(root):
        raise DatasetError(f"{name}: is a file, wanted a folder of images (<class>/<image>)")
    if labels_file is not None:
        return _from_table(root, Path(labels_file))
    tables = [root / one for one in _METADATA if os.path.isfile(root / one)]
    if len(tables) > 1:
        raise DatasetError(
            f"{name}: holds both {' and '.join(_METADATA)}; remove one or name it as labels file"
        )
    return _from_table(root, tables[0]) if tables else _from_folders(root)


def _from_folders(root: Path) -> _Rows:
    name = printable(root)
    names: dict[str, str] = {}
    loose = 0
    for file in _images(os.fspath(root)):
        try:
            file.encode()
        except UnicodeEncodeError:
            raise DatasetError(f"{name}: file name {file!a} is not UTF-8; rename it") from None
        first, slash, _ = file.partition("/")
        if slash:
            names[file] = first
        else:
            loose += 1
    if not names and not loose:
        raise DatasetError(f"{name}: holds no image ({', '.join(sorted(SUFFIXES))})")
    if not names:
        raise DatasetError(
            f"{name}: {loose} images lie in no class folder; sort them into <class>/ folders, or "
            "give their classes in metadata.csv or a labels file (unlabelled, only copies can be "
            "found: put them all into one folder, named after any class)"
        )
    notes = [f"{loose} images outside of class folders left out"] if loose else []
    empty = sorted(_folders(root).difference(names.values()))
    notes += [f"no image in {_some(empty)}"] if empty else []
    note = f" ({'; '.join(notes)})" if notes else ""
    return _Rows(names, "folder", root, f"class folders{note}")


def _folders(root: Path) -> set[str]:
    """Names of the folders in the root, hidden ones left out."""
    with os.scandir(root) as entries:
        return {one.name for one in entries if not one.name.startswith(".") and one.is_dir()}


def _images(root: str) -> Iterator[str]:
    """Relative paths of all image files, in no particular order, hidden ones left out."""
    pending = [(root, "")]
    linked: set[str] = set()
    while pending:
        folder, prefix = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        if not (entry.is_symlink() and _is_loop(entry.path, folder, linked)):
                            pending.append((entry.path, f"{prefix}{entry.name}/"))
                    elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                        yield prefix + entry.name
        except OSError as error:
            raise DatasetError(
                f"{printable(folder)}: folder cannot be read ({error.strerror}); "
                "check its permissions"
            ) from None


def _is_loop(link: str, folder: str, linked: set[str]) -> bool:
    """Whether a linked folder has been entered before or contains the link itself."""
    target, here = os.path.realpath(link), os.path.realpath(folder)
    if target in linked or os.path.commonpath([target, here]) == target:
        return True
    linked.add(target)
    return False


def _from_table(root: Path, path: Path) -> _Rows:
    name = printable(path)
    names: dict[str, str] = {}
    missing: list[str] = []
    for line, written, label in label_file.read(path):
        file = _relative(written, root)
        if file is None:
            raise DatasetError(
                f"{name}, line {line}: {written!r} is outside of the image folder {printable(root)}"
            )
        if file in names:
            raise DatasetError(
                f"{name}, line {line}: {written!r} is listed a second time; keep one row for it"
            )
        names[file] = label
        if not os.path.isfile(root / file):
            missing.append(file)
    if not names:
        raise DatasetError(f"{name}: lists no image, wanted rows of a file and a label")
    if missing:
        raise DatasetError(
            f"{name}: {len(missing)} of {len(names)} files are not in {printable(root)}: "
            f"{_some(missing)}; paths are relative to that folder"
        )
    return _Rows(names, "label", path, path.name)


def _relative(written: str, root: Path) -> str | None:
    """The path relative to the root in its one normal form, or `None` outside of it."""
    if "\0" in written:
        return None
    if os.path.isabs(written):
        written = Path(os.path.relpath(written, os.path.abspath(root))).as_posix()
    file = posixpath.normpath(written)
    return None if file.split("/")[0] == ".." else file


def _resolved(rows: _Rows, table: LabelTable, *, may_ignore: bool) -> tuple[dict[str, int], int]:
    """Class name to index, and how many names of unknown classes were passed over."""
    names = sorted(set(rows.names.values()))
    numbered = all(is_number(name) and int(name) < table.classes for name in names)
    indices = {}
    for name in names:
        found = table.candidates(name)
        if not found and numbered:
            found = (int(name),)
        if len(found) == 1:
            indices[name] = found[0]
    unknown = [name for name in names if name not in indices]
    if unknown and not (may_ignore and indices):
        raise DatasetError(f"{printable(rows.where)}: {_complaint(rows, names, unknown, table)}")
    return indices, len(unknown)


def _complaint(rows: _Rows, names: list[str], unknown: list[str], table: LabelTable) -> str:
    unit, last = rows.unit, table.classes - 1
    if all(map(is_number, names)):
        low, high = min(map(int, names)), max(map(int, names))
        return (
            f"{unit}s are numbers from {low} to {high}, but the model's class indices are 0 to "
            f"{last}; number them so, or name them by label"
        )
    if not table.labels:
        same = f" (there are {len(names)}, as many as classes)" if len(names) == last + 1 else ""
        return (
            f"the model has no labels, so {unit}s must be class indices 0 to {last}, got "
            f"{_some(names)}{same}; rename them or give the indices in a labels file"
        )
    if unit == "folder" and _SPLITS.issuperset(name.lower() for name in unknown):
        return (
            f"{_some(unknown)} are no classes of the model but look like parts of a data set; "
            "give the folder of one of them"
        )
    reasons = "; ".join(_reason(name, table) for name in unknown[:_NAMED])
    more = f"; and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    if len(unknown) == len(names):
        return (
            f"none of the {len(names)} {unit}s matches a class of the model: {reasons}{more}; name "
            "them by index, wnid or label, or use a model of these classes"
        )
    return (
        f"{len(unknown)} of {len(names)} {unit}s match no class of the model: {reasons}{more}; "
        "rename them, or choose the classes to audit"
    )


def _reason(name: str, table: LabelTable) -> str:
    found = table.candidates(name)
    if found:
        choices = " or ".join(str(table.wnid(one) or one) for one in found)
        return f"{name!r} is ambiguous ({choices})"
    if is_number(name):
        return f"{name!r} is a number among names"
    near = table.nearest(name, 2)
    return f"{name!r} (nearest: {', '.join(map(repr, near))})" if near else repr(name)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more


def _spread(targets: dict[str, int], limit: int, seed: int) -> dict[str, int]:
    """The first `limit` files when all classes take turns, each in an order of its own."""
    order = sorted((hashlib.blake2b(f"{seed}/{file}".encode()).digest(), file) for file in targets)
    turns: Counter[int] = Counter()
    queue = []
    for place, (_, file) in enumerate(order):
        turns[targets[file]] += 1
        queue.append((turns[targets[file]], place, file))
    return {file: targets[file] for _, _, file in sorted(queue)[:limit]}
