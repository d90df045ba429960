"""Labels from a table: CSV or JSON lines, one image file and one label in each row."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jaxattr.data.images import SUFFIXES
from jaxattr.errors import DatasetError, printable

Column = TypeVar("Column", int, str)

# What the publishers of data sets call the two, in the order in which they are taken.
FILE_COLUMNS = (
    *("file_name", "filename", "file", "path", "file_path", "filepath", "image", "image_path"),
    *("img_path", "image_name", "image_file", "img", "img_name", "image_id", "relative_path", "id"),
)
LABEL_COLUMNS = (
    *("label", "labels", "class", "class_name", "classname", "label_name", "target", "category"),
    *("category_name", "class_label", "classes", "species", "breed", "class_id", "label_id", "y"),
)
_DELIMITERS = (",", ";", "\t", "|")
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?")
_LISTED = re.compile(r"(?P<file>\S+)\s+(?P<label>\S.*)")


class Row(NamedTuple):
    """One image of a table."""

    line: int
    file: str
    """As written."""
    label: str | None
    """As written; `None` in a table without a column of labels."""


class Table(NamedTuple):
    """What a table says of images."""

    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    """The header, or nothing."""
    label: str | None
    """The column that the labels are read from; `None` where there is none (captions are none)."""
    passed: tuple[str, ...] = ()
    """Other columns that could hold labels."""

    @property
    def labelled(self) -> bool:
        return self.label is not None or not self.columns


class _Form(NamedTuple):
    """How a text is read, as its first line shows."""

    delimiter: str
    """A space for a file and a label with white space between."""
    header: tuple[str, ...]
    file: int
    labels: tuple[int, ...]
    """The columns that may hold labels, the likeliest first."""


def read(path: Path) -> Table:
    """Every row of a table, as written.

    CSV (separated by `,`, `;`, tab or `|`): the first row is a header unless it names an image
    file. A header has a column of files (one of `FILE_COLUMNS`) and may have one of labels
    (`LABEL_COLUMNS`): of several the first that does not hold numbers only, for numbers beside
    names are the table's own; without a header every row is file, label. Text lists: file and label
    with white space between. JSON lines: one object with the same names in each line. UTF-8 or
    UTF-16.

    Raises:
        DatasetError: there is no such file, or it cannot be understood; names the line.
    """
    name = printable(path)
    text = _text(path, name)
    of = _json_table if path.suffix.lower() in (".json", ".jsonl", ".ndjson") else _csv_table
    table = of(text, name)
    for row in table.rows:
        if not row.file or row.label == "":
            what = "label" if row.file else "file name"
            raise DatasetError(f"{name}, line {row.line}: the {what} is empty")
    return table


def known_columns() -> str:
    """The names of columns that are understood, for messages."""
    return f"files: {', '.join(FILE_COLUMNS)}; labels: {', '.join(LABEL_COLUMNS)}"


def _text(path: Path, name: str) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"{name}: no such labels file") from None
    except OSError as error:
        raise DatasetError(
            f"{name}: cannot be read ({error.strerror}), wanted a CSV or JSONL file"
        ) from None
    encoding = "utf-8-sig"  # spreadsheet programs put a byte order mark first
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif content[1:2] == b"\0":
        encoding = "utf-16-le"
    elif content[:1] == b"\0":
        encoding = "utf-16-be"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{name}: is not UTF-8 text ({error.reason}); save it as UTF-8"
        ) from None


def _csv_table(text: str, name: str) -> Table:
    form = _form(text, name)
    lines = list(_cells(text, form.delimiter, name))
    width = len(form.header or lines[0][1]) if lines else 0
    wanted = max(form.file, *form.labels, 0) + 1
    for line, cells in lines:
        if len(cells) < wanted:
            raise DatasetError(
                f"{name}, line {line}: {len(cells)} columns ({', '.join(cells)!r}), wanted a file "
                f"and a label, separated by {_called(form.delimiter)}"
            )
        if any(cells[width:]):
            raise DatasetError(
                f"{name}, line {line}: {len(cells)} columns ({', '.join(cells)!r}), the first line "
                f"has {width}; put a text that holds {_called(form.delimiter)} into quotes"
            )
    lines = lines[1:] if form.header else lines
    label = _names_before_numbers({at: [cells[at] for _, cells in lines] for at in form.labels})
    rows = (
        Row(line, cells[form.file], None if label is None else cells[label])
        for line, cells in lines
    )
    if not form.header:
        return Table(tuple(rows), (), None)
    passed = tuple(form.header[at] for at in form.labels if at != label)
    return Table(tuple(rows), form.header, None if label is None else form.header[label], passed)


def _names_before_numbers(columns: Mapping[Column, Iterable[str]]) -> Column | None:
    """The first column that does not hold numbers only, else the first."""
    named = (
        column
        for column, values in columns.items()
        if not all(_NUMBER.fullmatch(value.strip()) for value in values)
    )
    return next(named, next(iter(columns), None))


def _cells(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not empty."""
    if delimiter == " ":
        for line, row in enumerate(text.splitlines(), 1):
            if found := _LISTED.fullmatch(row.strip()):
                yield line, [found["file"], found["label"]]
            elif row.strip():
                yield line, [row.strip()]
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells) and not (reader.line_num == 1 and cells[0].lower().startswith("sep=")):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DatasetError(f"{name}, line {reader.line_num}: is not valid CSV ({error})") from None


def _form(text: str, name: str) -> _Form:
    """The delimiter and the columns, from the first row."""
    firsts = {one: _first(text, one, name) for one in _DELIMITERS}
    for delimiter, cells in firsts.items():
        header = [_column(cell) for cell in cells]
        if any(one in FILE_COLUMNS for one in header) and not any(map(_is_image, cells)):
            files, labels = (_places(header, known) for known in (FILE_COLUMNS, LABEL_COLUMNS))
            twice = [cells[at] for at in (*files[:1], *labels) if header.count(header[at]) > 1]
            if twice:
                raise DatasetError(
                    f"{name}: more than one column is called {twice[0]!r}; rename or remove one"
                )
            return _Form(delimiter, tuple(cells), files[0], labels)
    for delimiter, cells in firsts.items():
        images = [at for at, cell in enumerate(cells[:2]) if _is_image(cell)]
        if len(cells) > 1 and images:
            return _Form(delimiter, (), images[0], (1 - images[0],))
    line = next((one.strip() for one in text.splitlines() if one.strip()), "")
    if (listed := _LISTED.fullmatch(line)) and _is_image(listed["file"]):
        return _Form(" ", (), 0, (1,))
    if not firsts[","]:  # nothing, or invalid CSV, which this says
        next(_cells(text, ",", name), None)
    cells = max(firsts.values(), key=len)
    if cells and not any(map(_is_image, cells)):
        raise DatasetError(
            f"{name}: the columns are {', '.join(cells)!r}, of which none is known to hold files "
            f"({known_columns()}); rename the columns"
        )
    return _Form(",", (), 0, (1,))


def _first(text: str, delimiter: str, name: str) -> list[str]:
    try:
        return next(_cells(text, delimiter, name), (0, []))[1]
    except DatasetError:  # it may be another delimiter's row
        return []


def _column(cell: str) -> str:
    return "_".join(cell.casefold().replace("-", " ").replace("_", " ").split())


def _places(header: Sequence[str], known: Sequence[str]) -> tuple[int, ...]:
    return tuple(header.index(one) for one in known if one in header)


def _is_image(cell: str) -> bool:
    """Whether a cell names a file, and not a column."""
    return "/" in cell or "\\" in cell or os.path.splitext(cell)[1].lower() in SUFFIXES


def _called(delimiter: str) -> str:
    return {",": "a comma", ";": "a semicolon", "\t": "a tab", " ": "white space"}.get(
        delimiter, repr(delimiter)
    )


def _json_table(text: str, name: str) -> Table:
    lines = [
        (line, _entries(one, line, name))
        for line, one in enumerate(text.split("\n"), 1)
        if one.strip()
    ]
    if not lines:
        return Table((), (), None)
    keyed = [{_column(key): key for key in reversed(entries)} for _, entries in lines]
    labels = [one for one in LABEL_COLUMNS if one in keyed[0]]
    labels = [one for one in labels if all(one in keys for keys in keyed)] or labels[:1]
    files = []
    for (line, entries), keys in zip(lines, keyed, strict=True):
        file = next((entries[keys[one]] for one in FILE_COLUMNS if one in keys), None)
        known = labels[0] in keys if labels else not set(LABEL_COLUMNS) & keys.keys()
        if not isinstance(file, str) or not known:
            raise DatasetError(
                f"{name}, line {line}: the keys are {', '.join(entries)!r}, wanted a text and "
                f"{'a label' if labels else 'no label'}, as above ({known_columns()})"
            )
        files.append(file.strip())
    values = {
        one: [entries[keys[one]] for (_, entries), keys in zip(lines, keyed, strict=True)]
        for one in labels
    }
    label = _names_before_numbers({one: map(str, many) for one, many in values.items()})
    rows = [
        Row(line, file, None if label is None else _json_label(values[label][at], line, name))
        for at, ((line, _), file) in enumerate(zip(lines, files, strict=True))
    ]
    passed = tuple(keyed[0][one] for one in labels if one != label)
    columns = tuple(lines[0][1])
    return Table(tuple(rows), columns, None if label is None else keyed[0][label], passed)


def _entries(text: str, line: int, name: str) -> dict[str, Any]:
    try:
        entries = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        reason = "too deep" if isinstance(error, RecursionError) else error
        raise DatasetError(f"{name}, line {line}: is not valid JSON ({reason})") from None
    if not isinstance(entries, dict):
        raise DatasetError(
            f"{name}, line {line}: is not a JSON object, wanted one in each line, with file_name "
            "and label"
        )
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found


def _json_label(value: Any, line: int, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DatasetError(
            f"{name}, line {line}: the label is {str(value)[:80]}, wanted one text or index"
        )
    return str(value).strip()


def read_words(root: Path) -> dict[str, str]:
    """The names of wnids from a `words.txt` or `synset_words.txt` in or above an image folder.

    Tiny-ImageNet and ImageNet come with such a file: a wnid and its names in each line. Lines of
    another form are passed over; no file gives no names.
    """
    for folder in (root, *root.absolute().parents[:2]):
        for name in ("words.txt", "synset_words.txt"):
            try:
                text = (folder / name).read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            pairs = (line.split(maxsplit=1) for line in text.splitlines())
            return {one[0]: one[1].strip() for one in pairs if len(one) == 2}
    return {}
