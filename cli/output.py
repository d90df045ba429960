"""Files of `jaxattr explain`: their names, and that they are whole or not there at all."""

from __future__ import annotations

import io
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

FIGURES = ("png", "svg", "pdf")


def slug(text: str) -> str:
    """A short file name for a class or an image, on every system."""
    text = unicodedata.normalize("NFC", text)
    return re.sub(r"[^\w.+-]+", "_", text)[:80].strip("._-") or "unnamed"


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name per image: its file's, without suffix where that is enough to tell them apart."""
    stems = Counter(slug(path.stem).casefold() for path in paths)
    taken: set[str] = set()
    names = []
    for path in paths:
        name = slug(path.stem)
        if stems[name.casefold()] > 1:
            name = slug(path.name)
        candidate, number = name, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate.casefold())
        names.append(candidate)
    return names


def find_images(sources: Sequence[Path]) -> list[Path]:
    """The images named, and those directly in the folders named, each once.

    Says on stderr what in the folders is not looked at.
    """
    from jaxattr.cli import options
    from jaxattr.errors import ImageError
    from jaxattr.listing import Listing, direct, unlooked, unlooked_sentence

    found: dict[Path, None] = {}
    for source in sources:
        if not source.is_dir():
            found[source] = None
            continue
        listing = Listing()
        inside = direct(source, listing)
        said = unlooked_sentence(unlooked(listing))
        if not inside:
            raise ImageError(
                f"{source}: no image lies directly in this folder; name images, or a folder of "
                f"them (`jaxattr audit` is for labelled folders). {said}".rstrip()
            )
        if said:
            options.warn(f"{source}: {said}")
        found.update(dict.fromkeys(inside))
    return list(found)


def write(path: Path, data: bytes) -> None:
    """Write a file so that it is complete whenever its name exists."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make the output folder, and find out now whether files can be written there."""
    path.mkdir(parents=True, exist_ok=True)
    write(probe := path / ".jaxattr", b"\n")
    probe.unlink()


def check_figure(figure: Path | None) -> None:
    """Find out before the work whether the figure can be written."""
    if figure is None:
        return
    if figure.suffix[1:].lower() not in FIGURES:
        raise click.BadParameter(
            f"{figure} has no suffix of a picture; end it in .png, .svg or .pdf.",
            param_hint="--figure",
        )
    if not figure.parent.is_dir():
        raise click.BadParameter(
            f"the folder {figure.parent} does not exist; make it first.", param_hint="--figure"
        )


def as_json(content: dict[str, Any]) -> bytes:
    """Numbers as they are, arrays as nested lists; NaN is refused."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, default=lambda a: a.tolist())
    return (text + "\n").encode()


def as_npz(content: dict[str, Any]) -> bytes:
    """The arrays of the content; texts become arrays of strings, never pickles."""
    import numpy as np

    file = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in content.items()}
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Columns with aligned edges: the first `left` ones to the left, the rest to the right."""
    lines = [header, *rows]
    widths = [max(_columns(line[i]) for line in lines) for i in range(len(header))]
    text = []
    for line in lines:
        cells = [
            one + " " * (width - _columns(one)) if i < left else " " * (width - _columns(one)) + one
            for i, (one, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append(click.unstyle("  ".join(cells).rstrip()))
    return "\n".join(text)


def _columns(text: str) -> int:
    """Columns of a terminal: East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)
