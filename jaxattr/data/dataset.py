"""Labelled images on disk: which files there are and which class each is said to be.

Files with an image's suffix are only listed, not opened, so that a million images index in seconds
(see `jaxattr.data.listing` for the others).
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Int32

from jaxattr.data import label_file
from jaxattr.data.images import SUFFIXES
from jaxattr.data.labels import LabelTable, is_number, name_key, nameless, without_numbers
from jaxattr.data.listing import UNNAMED, Listing, is_dropping, unlooked, unlooked_sentence, walk
from jaxattr.errors import DatasetError, printable

_METADATA = ("metadata.csv", "metadata.jsonl")
_SPLITS = frozenset(("train", "training", "val", "valid", "validation", "test"))
_NAMED = 3
_WHOLE = re.compile(r"(\d+)\.0+")

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
    """Kind, and how many files of it are in the folder that are not looked at: `(".jxl", 5)`."""
    examples: tuple[tuple[str, str], ...] = ()
    """A kind of these, and the first few of its files, where their suffix does not tell them."""
    notes: tuple[str, ...] = ()
    """What was left out, taken for the same, or is odd in the folder, a sentence each, for people
    to see."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a user must know of the folder: what is odd in it, and what is not looked at."""
        odd = tuple(f"{line}." for line in self.notes)
        return (*odd, unlooked_sentence(self.unlooked, self.examples)) if self.unlooked else odd


class _Rows(NamedTuple):
    names: dict[str, str]
    """File to class name, as written."""
    unit: str
    """What carries the class name, for messages."""
    where: Path
    origin: str
    unlooked: tuple[tuple[str, int], ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    column: str = ""
    """Which one the labels are of, in words, where a table has several that may be meant."""


def index(
    root: str | os.PathLike[str],
    labels: LabelTable | Sequence[str],
    *,
    labels_file: str | os.PathLike[str] | None = None,
    classes: Sequence[str | SupportsIndex] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """List the images below `root` with the class of each.

    Labels come from `labels_file` (see `jaxattr.data.label_file`), else from `metadata.csv` or
    `metadata.jsonl` in `root` where that has a column of them, else from the folders:
    `root/<class>/.../<image>`. A class is named by index, wnid, label or synonym; numbers are
    indices only if every name is one, and numbers before names (`0_cat`, `001.Albatross`) are
    passed over if every name has one. `classes` keeps some classes only; `exclude` leaves out
    folders or labels of these names, with `*`, `?` and `[...]` for any, and files where a pattern
    has a slash. `limit` keeps that many images, spread evenly over the classes: which ones depends
    on `seed` and the file names alone, and a larger limit adds to a smaller one. Raises
    `DatasetError`, or `LabelError` for an unknown name in `classes`.
    """
    folder = Path(root)
    table = labels if isinstance(labels, LabelTable) else LabelTable(tuple(labels))
    wanted = frozenset(table.resolve(one) for one in classes)
    if limit is not None and limit < 1:
        raise DatasetError(f"limit {limit} leaves no image, wanted at least 1")
    rows = _rows(folder, labels_file)
    kept = _without(rows, exclude)
    found = _resolved(kept, table, may_ignore=bool(wanted))
    indices = found.indices
    chosen = {
        file: indices[name]
        for file, name in kept.names.items()
        if name in indices and (not wanted or indices[name] in wanted)
    }
    absent = sorted(wanted.difference(chosen.values()))
    if absent:
        raise DatasetError(f"{printable(folder)}: {_absence(rows, kept, table, absent)}")
    everything = _matched(rows, table)
    sizes = Counter(everything[name] for name in rows.names.values() if name in everything)
    if limit is not None:
        chosen = _spread(chosen, limit, seed)
    files = tuple(sorted(chosen))  # code points sort as UTF-8 bytes do
    targets = np.array([chosen[file] for file in files], np.int32)
    left = [f"{found.ignored} {rows.unit}s of unknown classes left out"] if found.ignored else []
    gone = len(rows.names) - len(kept.names)
    left += [f"{gone} {'image' if gone == 1 else 'images'} left out by exclude"] if gone else []
    return Dataset(
        root=folder,
        files=files,
        targets=targets,
        origin=rows.origin + (f" ({'; '.join(left)})" if left else ""),
        sizes=tuple(sorted(sizes.items())),
        unlooked=rows.unlooked,
        examples=rows.examples,
        notes=(*rows.notes, *found.notes),
    )


def _absence(rows: _Rows, kept: _Rows, table: LabelTable, absent: list[int]) -> str:
    """Why there is no image of classes that were asked for."""
    named = _some([table.short(one) for one in absent])
    if set(absent) & set(_matched(rows, table).values()) and kept is not rows:
        return f"no image of {named} is left by exclude; exclude less, or ask for other classes"
    return f"holds no image of {named}; ask for other classes"


def class_names(
    root: str | os.PathLike[str], labels_file: str | os.PathLike[str] | None = None
) -> tuple[str, ...]:
    """The names of the classes as folders or tables write them, before any is looked up.

    Raises `DatasetError` as `index`.
    """
    return tuple(dict.fromkeys(_rows(Path(root), labels_file).names.values()))


def _rows(root: Path, labels_file: str | os.PathLike[str] | None) -> _Rows:
    name = printable(root)
    if not os.path.exists(root):
        raise DatasetError(f"{name}: no such folder")
    if not os.path.isdir(root):
        raise DatasetError(f"{name}: is a file, wanted a folder of images (<class>/<image>)")
    if labels_file is not None:
        path = Path(labels_file)
        table = label_file.read(path)
        if not table.labelled and table.rows:
            raise DatasetError(
                f"{printable(path)}: the columns are {', '.join(table.columns)!r}, of which none "
                f"is known to hold labels ({label_file.known_columns()}); rename one"
            )
        return _from_table(root, path, table)
    tables = [root / one for one in _METADATA if os.path.isfile(root / one)]
    if len(tables) > 1:
        raise DatasetError(
            f"{name}: holds both {' and '.join(_METADATA)}; remove one or name it as labels file"
        )
    if not tables:
        return _from_folders(root)
    table = label_file.read(tables[0])
    if table.labelled or not table.rows:
        return _from_table(root, tables[0], table)
    rows = _from_folders(root, tables[0].name)
    columns = ", ".join(map(printable, table.columns))
    note = f"{tables[0].name} has no column of labels ({columns}): the folders give the labels"
    return rows._replace(notes=(*rows.notes, note))


def _from_folders(root: Path, captions: str = "") -> _Rows:
    """`captions`: the name of a table that has no labels."""
    name = printable(root)
    names: dict[str, str] = {}
    loose = 0
    listing = Listing()
    for file in walk(root, listing):
        first, slash, _ = file.partition("/")
        if slash:
            names[file] = first
        else:
            loose += 1
    kinds = unlooked(listing)
    if not names and not loose:
        others = f" {unlooked_sentence(kinds)}" if kinds else ""
        raise DatasetError(f"{name}: holds no image ({', '.join(sorted(SUFFIXES))}).{others}")
    if not names:
        table = f" ({captions} has no column that is known to hold labels)" if captions else ""
        raise DatasetError(
            f"{name}: {loose} images lie in no class folder{table}; sort them into <class>/ "
            "folders, or give their classes in metadata.csv or a labels file (unlabelled, only "
            "copies can be found: put them all into one folder, named after any class)"
        )
    kinds = (*kinds, *([("outside of class folders", loose)] if loose else []))
    empty = sorted(_folders(root).difference(names.values()))
    note = f" (no image in {_some(empty)})" if empty else ""
    said = f"class folders{note}"
    return _Rows(names, "folder", root, said, kinds, _examples(listing), _by_content(listing))


def _examples(listing: Listing) -> tuple[tuple[str, str], ...]:
    return ((UNNAMED, _some(listing.unnamed)),) if listing.unnamed else ()


def _by_content(listing: Listing) -> tuple[str, ...]:
    count = listing.by_content
    if not count:
        return ()
    return (f"of {count} files the content is an image, but not the suffix; they take part",)


def _folders(root: Path) -> set[str]:
    """Names of the folders in the root, hidden ones and droppings left out."""
    found = set()
    with os.scandir(root) as entries:
        for one in entries:
            try:
                if one.is_dir() and not is_dropping(one.name):
                    found.add(one.name)
            except OSError:  # a link to itself
                continue
    return found


class _Finder:
    """Finds the files that a table names, in whatever form it names them."""

    def __init__(self, root: Path, table: Path) -> None:
        self.root = root
        self.listing = Listing()
        # Relative to the image folder; to the table's; and with the image folder's own name.
        self._bases = (root, table.absolute().parent, root.absolute().parent)

    @cached_property
    def files(self) -> tuple[str, ...]:
        """All images of the folder."""
        return tuple(walk(self.root, self.listing))

    def find(self, written: str) -> str | None:
        """The path of an existing file relative to the root, in its one normal form."""
        slashed = written.replace("\\", "/")
        for text in dict.fromkeys((written, slashed)):
            for base in self._bases:
                file = self.relative(text, base)
                if file is not None and os.path.isfile(self.root / file):
                    return file
        file = self.relative(slashed, self.root)
        if file is None:
            return None
        alike = [known.get(form(file), []) for form, known in self._spellings]
        return next((one[0] for one in [*alike, self._stems.get(file, [])] if len(one) == 1), None)

    def relative(self, written: str, base: Path) -> str | None:
        """The path relative to the root, or `None` outside of it."""
        if "\0" in written:
            return None
        if os.path.isabs(written) or base is not self.root:
            whole = os.path.normpath(os.path.join(os.path.abspath(base), written))
            root = os.path.abspath(self.root)
            if os.path.commonpath([root, whole]) != root:  # perhaps by another way, over links
                folder, last = os.path.split(whole)
                whole, root = os.path.join(os.path.realpath(folder), last), self._real
            written = Path(os.path.relpath(whole, root)).as_posix()
        file = posixpath.normpath(written)
        return None if file.split("/")[0] == ".." else file

    @cached_property
    def _real(self) -> str:
        return os.path.realpath(self.root)

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        """Files by their names without suffix, as some tables list them."""
        found: dict[str, list[str]] = {}
        for file in self.files:
            found.setdefault(os.path.splitext(file)[0], []).append(file)
        return found

    @cached_property
    def _spellings(self) -> list[tuple[Callable[[str], str], dict[str, list[str]]]]:
        """Files by what spellings of their names have in common, the closest first."""
        found = []
        for form in (lambda file: unicodedata.normalize("NFC", file), name_key):
            known: dict[str, list[str]] = {}
            for file in self.files:
                known.setdefault(form(file), []).append(file)
            found.append((form, known))
        return found


def _from_table(root: Path, path: Path, table: label_file.Table) -> _Rows:
    name, finder = printable(path), _Finder(root, path)
    names: dict[str, str] = {}
    missing: list[str] = []
    for line, written, label in table.rows:
        file = finder.find(written)
        if file is None:
            file = finder.relative(written.replace("\\", "/"), root)
            if file is None:
                raise DatasetError(
                    f"{name}, line {line}: {written!r} is outside of the image folder "
                    f"{printable(root)}"
                )
            missing.append(file)
        if file in names:
            raise DatasetError(
                f"{name}, line {line}: {written!r} is listed a second time; keep one row for it"
            )
        names[file] = label or ""
    if not names:
        raise DatasetError(f"{name}: lists no image, wanted rows of a file and a label")
    if missing:
        raise DatasetError(
            f"{name}: {len(missing)} of {len(names)} files are not in {printable(root)}: "
            f"{_some(missing)}; paths are relative to that folder"
        )
    unlisted = sorted(set(finder.files).difference(names))
    kinds, examples = unlooked(finder.listing), _examples(finder.listing)
    if unlisted:
        kind = f"not listed in {path.name}"
        kinds = (*kinds, (kind, len(unlisted)))
        examples = (*examples, (kind, _some(unlisted)))
    notes, column = (), ""
    if table.passed:
        passed = _some(table.passed)
        column = f"column {table.label!r}, not {passed}"
        notes = (
            f"{printable(path.name)}: the labels are those of its column {table.label!r}, not of "
            f"{passed}",
        )
    return _Rows(names, "label", path, path.name, kinds, examples, notes, column)


def _without(rows: _Rows, exclude: Sequence[str]) -> _Rows:
    """The rows that no pattern of `exclude` names.

    Raises:
        DatasetError: a pattern names nothing, or everything.
    """
    if not exclude:
        return rows
    names = dict(rows.names)
    for pattern in exclude:
        said = {file for file, name in rows.names.items() if _named_by(pattern, file, name)}
        if not said:
            known = sorted(set(rows.names.values()))
            raise DatasetError(
                f"{printable(rows.where)}: no {rows.unit} is named {pattern!r}, to be excluded; "
                f"there are {_some(known)}"
            )
        names = {file: name for file, name in names.items() if file not in said}
    if not names:
        raise DatasetError(
            f"{printable(rows.where)}: all {len(rows.names)} images are excluded; exclude less"
        )
    return rows._replace(names=names)


def _named_by(pattern: str, file: str, name: str) -> bool:
    key = name_key(pattern)
    names = [file] if "/" in pattern else [name, *file.split("/")[:-1]]
    return any(one == key or fnmatchcase(one, key) for one in map(name_key, names))


class _Resolved(NamedTuple):
    indices: dict[str, int]
    """Class name to index."""
    ignored: int
    """How many names of unknown classes were passed over."""
    notes: tuple[str, ...]


def _resolved(rows: _Rows, table: LabelTable, *, may_ignore: bool) -> _Resolved:
    names = sorted(set(rows.names.values()))
    indices = _matched(rows, table)
    unknown = [name for name in names if name not in indices]
    if unknown and not (may_ignore and indices):
        where = printable(rows.where) + (f" ({rows.column})" if rows.column else "")
        raise DatasetError(f"{where}: {_complaint(rows, names, unknown, table)}")
    return _Resolved(indices, len(unknown), tuple(_odd(rows.unit, indices, table)))


def _matched(rows: _Rows, table: LabelTable) -> dict[str, int]:
    """Class name to index, where there is exactly one."""
    names = sorted(set(rows.names.values()))
    whole = {name: _whole(name) for name in names}
    numbered = all(is_number(one) and int(one) < table.classes for one in whole.values())
    numbered = numbered and not _numeric_labels(names, table)
    rest = dict(zip(names, without_numbers(names) or names, strict=True))
    indices = {}
    for name in names:
        found = next(filter(None, map(table.candidates, (name, whole[name], rest[name]))), ())
        if not found and numbered:
            found = (int(whole[name]),)
        if len(found) == 1:
            indices[name] = found[0]
    return indices


def _numeric_labels(names: Sequence[str], table: LabelTable) -> list[str]:
    """Names that are a label of the model and the index of another: beside them no number is an
    index."""
    return [
        name
        for name in names
        if is_number(whole := _whole(name)) and table.candidates(whole) not in ((), (int(whole),))
    ]


def _whole(name: str) -> str:
    """A whole number as spreadsheet programs write it (`1.0`) without its decimals."""
    found = _WHOLE.fullmatch(name.strip())
    return found[1] if found else name.strip()


def _odd(unit: str, indices: dict[str, int], table: LabelTable) -> list[str]:
    """What people should know of how names were matched."""
    notes: list[str] = []
    same: dict[int, list[str]] = {}
    for name, class_ in indices.items():
        same.setdefault(class_, []).append(name)
    merged = [
        f"{_some(sorted(many))} as {table.short(class_)}"
        for class_, many in sorted(same.items())
        if len(many) > 1
    ]
    if merged:
        notes.append(f"{unit}s of several names are taken for one class: {'; '.join(merged[:3])}")
    if len(indices) > 1 and without_numbers(tuple(indices)):
        numbers = {name: int(re.findall(r"\d+", name)[0]) for name in indices}
        wrong = [
            name
            for name, number in numbers.items()
            if number != indices[name] and not table.candidates(name)
        ]
        if wrong:
            meant = f"{wrong[0]!r} is class {indices[wrong[0]]}, {table.short(indices[wrong[0]])}"
            notes.append(
                f"the numbers before the names of {len(wrong)} {unit}s are not the model's class "
                f"indices ({meant}); the names were taken"
            )
    return notes


def _complaint(rows: _Rows, names: list[str], unknown: list[str], table: LabelTable) -> str:
    unit, last = rows.unit, table.classes - 1
    labelled = _numeric_labels(names, table)
    if all(map(is_number, names)) and labelled:
        return (
            f"{unit}s are numbers of which some are labels of the model ({_some(labelled)}) and "
            f"others are none ({_some(unknown)}); name all of them by its labels"
        )
    if all(map(is_number, names)):
        low, high = min(map(int, names)), max(map(int, names))
        return (
            f"{unit}s are numbers from {low} to {high}, but the model's class indices are 0 to "
            f"{last}; number them so, or name them by label"
        )
    if table.labels and nameless(table.labels):
        return _nameless(unit, names, table)
    if not table.labels:
        same = f" (there are {len(names)}, as many as classes)" if len(names) == last + 1 else ""
        return (
            f"the model has no labels, so {unit}s must be class indices 0 to {last}, got "
            f"{_some(names)}{same}; rename them or give the indices in a labels file"
        )
    splits = [name for name in unknown if name.lower() in _SPLITS]
    if unit == "folder" and splits and len(unknown) in (len(splits), len(names)):
        return (
            f"{_some(splits)} are not classes of the model but look like parts of a data set; "
            "give the folder of one of them"
        )
    leave = f"leave them out (--exclude {unknown[0]!r})"
    reasons = "; ".join(_reason(name, table) for name in unknown[:_NAMED])
    more = f"; and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    if len(unknown) == len(names):
        known = _some([table.short(index) for index in range(table.classes)])
        numbers = "indices or wnids" if table.wnid(0) else "indices"
        return (
            f"none of the {len(names)} {unit}s matches a class of the model: {reasons}{more}; name "
            f"them by the model's own labels ({known}), or their {numbers}; or use a model "
            "of these classes"
        )
    return (
        f"{len(unknown)} of {len(names)} {unit}s match no class of the model: {reasons}{more}; "
        f"rename them, {leave}, or choose the classes to audit (--classes)"
    )


def _nameless(unit: str, names: list[str], table: LabelTable) -> str:
    """How to name the classes of a model that was saved without their names."""
    count, named = table.classes, sorted(names)
    way = (
        "give their names in the order of its outputs (--class-names FILE, one a line; or a list "
        "in labels.json beside the weights)"
    )
    if len(named) != count:
        return (
            f"the model does not name its {count} classes, and there are {len(named)} {unit}s "
            f"({_some(named)}); {way}"
        )
    return (
        f"the model does not name its {count} classes, and there are as many {unit}s; {way}. One "
        f"trained on these {unit}s by torchvision or datasets has them sorted: {_some(named)}"
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
