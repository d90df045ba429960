"""Labels from a table: CSV or JSON lines, one image file and one label in each row."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from jaxattr.errors import DatasetError
from jaxattr.images import printable

_FILE_COLUMNS = ("file_name", "file")
_LABEL_COLUMN = "label"


def read(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line number, file and label of every row, as written.

    CSV: the first row is a header if one of its cells is `file_name`, `file` or `label`, and then
    it must name both columns; without a header every row is file, label. JSON lines: one object
    with `file_name` (or `file`) and `label` in each line.
    """
    rows = _json_rows if path.suffix.lower() in (".jsonl", ".ndjson") else _csv_rows
    try:
        # utf-8-sig: spreadsheet programs put a byte order mark first.
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, image, label in rows(file, printable(path)):
                if not image or not label:
                    what = "label" if image else "file name"
                    raise DatasetError(f"{printable(path)}, line {line}: the {what} is empty")
                yield line, image, label
    except FileNotFoundError:
        raise DatasetError(f"{printable(path)}: no such labels file") from None
    except OSError as error:
        raise DatasetError(
            f"{printable(path)}: cannot be read ({error.strerror}), wanted a CSV or JSONL file"
        ) from None
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{printable(path)}: is not UTF-8 text ({error.reason}); save it as UTF-8"
        ) from None


def _csv_rows(file: Iterator[str], name: str) -> Iterator[tuple[int, str, str]]:
    reader = csv.reader(file, strict=True)
    columns: tuple[int, int] | None = None
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if columns is None:
                columns = _columns(cells, name)
                if columns is not None:
                    continue
                columns = (0, 1)
                _check_width(cells, 2, name, reader.line_num)
                width = 2
            else:
                width = max(columns) + 1
            _check_width(cells, width, name, reader.line_num)
            yield reader.line_num, cells[columns[0]], cells[columns[1]]
    except csv.Error as error:
        raise DatasetError(f"{name}, line {reader.line_num}: is no valid CSV ({error})") from None


def _columns(cells: list[str], name: str) -> tuple[int, int] | None:
    """Where a header row has the file and the label, or `None` if it is no header."""
    header = [cell.lower() for cell in cells]
    files = [column for column in _FILE_COLUMNS if column in header]
    if not files and _LABEL_COLUMN not in header:
        return None
    if not files or _LABEL_COLUMN not in header:
        found = ", ".join(cells)
        raise DatasetError(
            f"{name}: the columns are {found!r}, wanted 'file_name' (or 'file') and 'label'"
        )
    return header.index(files[0]), header.index(_LABEL_COLUMN)


def _check_width(cells: list[str], width: int, name: str, line: int) -> None:
    if len(cells) < width:
        raise DatasetError(
            f"{name}, line {line}: {len(cells)} columns ({', '.join(cells)!r}), wanted a file "
            "and a label, separated by a comma"
        )


def _json_rows(file: Iterator[str], name: str) -> Iterator[tuple[int, str, str]]:
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise DatasetError(f"{name}, line {line}: is no valid JSON ({error})") from None
        if not isinstance(row, dict):
            raise DatasetError(
                f"{name}, line {line}: is no JSON object, wanted file_name and label"
            )
        image = next((row[column] for column in _FILE_COLUMNS if column in row), None)
        label = row.get(_LABEL_COLUMN)
        if (
            not isinstance(image, str)
            or isinstance(label, bool)
            or not isinstance(label, str | int)
        ):
            raise DatasetError(
                f"{name}, line {line}: the keys are {', '.join(map(str, row))!r}, wanted "
                "'file_name' (text) and 'label' (text or index)"
            )
        yield line, image.strip(), str(label).strip()


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
