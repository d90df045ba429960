"""Labels from a table: CSV or JSON lines, one image file and one label in each row."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxattr.errors import DatasetError
from jaxattr.images import SUFFIXES, printable

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
    labelled: bool
    """Whether there is a column of labels; captions are none."""


class _Form(NamedTuple):
    """How a text is read, as its first line shows."""

    delimiter: str
    """A space for a file and a label with white space between."""
    header: tuple[str, ...]
    file: int
    label: int | None


def read(path: Path) -> Table:
    """Every row of a table, as written.

    CSV (separated by `,`, `;`, tab or `|`): the first row is a header unless it names an image
    file. A header has a column of files (one of `FILE_COLUMNS`) and may have one of labels
    (`LABEL_COLUMNS`); without a header every row is file, label. Text lists: file and label with
    white space between. JSON lines: one object with the same names in each line. UTF-8 or UTF-16.

    Raises:
        DatasetError: there is no such file, or it cannot be understood; names the line.
    """
    name = printable(path)
    text = _text(path, name)
    of = _json_table if path.suffix.lower() in (".jsonl", ".ndjson") else _csv_table
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
    rows = []
    skip = bool(form.header)
    for line, cells in _cells(text, form.delimiter, name):
        if skip:
            skip = False
            continue
        wanted = max(form.file, form.label or 0) + 1
        if len(cells) < wanted:
            raise DatasetError(
                f"{name}, line {line}: {len(cells)} columns ({', '.join(cells)!r}), wanted a file "
                f"and a label, separated by {_called(form.delimiter)}"
            )
        rows.append(Row(line, cells[form.file], None if form.label is None else cells[form.label]))
    return Table(tuple(rows), form.header, form.label is not None)


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
        raise DatasetError(f"{name}, line {reader.line_num}: is no valid CSV ({error})") from None


def _form(text: str, name: str) -> _Form:
    """The delimiter and the columns, from the first row."""
    firsts = {one: _first(text, one, name) for one in _DELIMITERS}
    for delimiter, cells in firsts.items():
        header = [_column(cell) for cell in cells]
        if any(one in FILE_COLUMNS for one in header) and not any(map(_is_image, cells)):
            columns = _place(header, FILE_COLUMNS), _place(header, LABEL_COLUMNS)
            return _Form(delimiter, tuple(cells), columns[0] or 0, columns[1])
    for delimiter, cells in firsts.items():
        images = [at for at, cell in enumerate(cells[:2]) if _is_image(cell)]
        if len(cells) > 1 and images:
            return _Form(delimiter, (), images[0], 1 - images[0])
    line = next((one.strip() for one in text.splitlines() if one.strip()), "")
    if (listed := _LISTED.fullmatch(line)) and _is_image(listed["file"]):
        return _Form(" ", (), 0, 1)
    if not firsts[","]:  # nothing, or no valid CSV, which this says
        next(_cells(text, ",", name), None)
    cells = max(firsts.values(), key=len)
    if cells and not any(map(_is_image, cells)):
        raise DatasetError(
            f"{name}: the columns are {', '.join(cells)!r}, of which none is known to hold files "
            f"({known_columns()}); rename the columns"
        )
    return _Form(",", (), 0, 1)


def _first(text: str, delimiter: str, name: str) -> list[str]:
    try:
        return next(_cells(text, delimiter, name), (0, []))[1]
    except DatasetError:  # it may be another delimiter's row
        return []


def _column(cell: str) -> str:
    return "_".join(cell.casefold().replace("-", " ").replace("_", " ").split())


def _place(header: Sequence[str], known: Sequence[str]) -> int | None:
    return next((header.index(one) for one in known if one in header), None)


def _is_image(cell: str) -> bool:
    """Whether a cell names a file, and not a column."""
    return "/" in cell or "\\" in cell or os.path.splitext(cell)[1].lower() in SUFFIXES


def _called(delimiter: str) -> str:
    return {",": "a comma", ";": "a semicolon", "\t": "a tab", " ": "white space"}.get(
        delimiter, repr(delimiter)
    )


def _json_table(text: str, name: str) -> Table:
    rows, columns, labelled = [], (), False
    for line, one in enumerate(text.split("\n"), 1):
        if not one.strip():
            continue
        entries = _entries(one, line, name)
        keys = {_column(key): key for key in reversed(entries)}
        file = next((entries[keys[one]] for one in FILE_COLUMNS if one in keys), None)
        label = next((keys[one] for one in LABEL_COLUMNS if one in keys), None)
        if not rows:
            columns, labelled = tuple(entries), label is not None
        if not isinstance(file, str) or (label is None) == labelled:
            raise DatasetError(
                f"{name}, line {line}: the keys are {', '.join(entries)!r}, wanted a text and "
                f"{'a label' if labelled else 'no label, as above'} ({known_columns()})"
            )
        written = None if label is None else _json_label(entries[label], line, name)
        rows.append(Row(line, file.strip(), written))
    return Table(tuple(rows), columns, labelled)


def _entries(text: str, line: int, name: str) -> dict[str, Any]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "too deep" if isinstance(error, RecursionError) else error
        raise DatasetError(f"{name}, line {line}: is no valid JSON ({reason})") from None
    if not isinstance(entries, dict):
        raise DatasetError(f"{name}, line {line}: is no JSON object, wanted file_name and label")
    return entries


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
