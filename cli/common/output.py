"""The files of commands: their names, and that they are whole or not there at all."""

from __future__ import annotations

import io
import json
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jaxattr.cli.common import process
from jaxattr.data.unfinished import sweep, unfinished

if TYPE_CHECKING:
    from PIL import Image

    from jaxattr.data.labels import LabelTable
    from jaxattr.vit import Model

_ORIGIN = "jaxattr.cli.origin"
FIGURES = ("png", "svg", "pdf")
DATA = frozenset(("json", "npz"))


_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", re.IGNORECASE)
PHOTO, CLASS = 80, 50
"""Most bytes of a photo's and of a class's part of a name; two classes and words fit in 255."""


def slug(text: str, most: int = PHOTO) -> str:
    """A short file name for a class or an image, on every system: at most so many bytes."""
    name = re.sub(r"[^\w.+-]+", "_", unicodedata.normalize("NFC", text))
    name = name.encode()[:most].decode(errors="ignore").strip("._-") or "unnamed"
    return _RESERVED.sub(r"\1_", name, count=1) if _RESERVED.match(name) else name


def _alike(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name per image: its file's, without suffix where that is enough to tell them apart."""
    stems = Counter(_alike(slug(path.stem)) for path in paths)
    names = [path.stem if stems[_alike(slug(path.stem))] == 1 else path.name for path in paths]
    return _numbered([slug(name) for name in names])


def class_names(table: LabelTable) -> list[str]:
    """A file name per class of the model, whichever of them are asked for: no two are alike.

    Where short names are alike, the class's index is added.
    """
    names = [slug(table.short(index), CLASS) for index in range(table.classes)]
    known = Counter(map(_alike, names))
    names = [one if known[_alike(one)] == 1 else f"{one}-{i}" for i, one in enumerate(names)]
    return _numbered(names)


def _numbered(names: Sequence[str]) -> list[str]:
    """The names, with a number at those that are like an earlier one."""
    taken = Names()
    return [taken.of(name, place) for place, name in enumerate(names)]


class Names:
    """The names that one command has given to files: another one of a like name gets a number."""

    def __init__(self) -> None:
        self._given: dict[str, object] = {}

    def of(self, name: str, owner: object) -> str:
        """The name, or the first numbered one that belongs to nothing else than `owner`."""
        candidate, number = name, 1
        while self._given.setdefault(_alike(candidate), owner) != owner:
            number += 1
            candidate = f"{name}-{number}"
        return candidate


def find_images(sources: Sequence[Path]) -> list[Path]:
    """The images named, and those directly in the folders named, each once.

    Says on stderr what in the folders is not looked at.
    """
    from jaxattr.cli.common import options
    from jaxattr.data.listing import Listing, direct, unlooked, unlooked_sentence
    from jaxattr.errors import ImageError

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
    temporary = unfinished(path.parent)
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make the output folder, and find out now whether files can be written there.

    What killed commands left unfinished there is removed.
    """
    path.mkdir(parents=True, exist_ok=True)
    sweep(path)
    probe = unfinished(path)
    try:
        probe.write_bytes(b"\n")
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        probe.unlink(missing_ok=True)


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


def origin(model: Model) -> dict[str, Any]:
    """What a result says of its origin: software, weights, device, and the command's words."""
    from dataclasses import asdict

    from jaxattr.vit.provenance import provenance

    meta = click.get_current_context().meta
    if _ORIGIN not in meta:  # hashing large weights takes a second
        words = meta.get(process.ARGUMENTS, ())
        meta[_ORIGIN] = {**asdict(provenance(model)), "command": shlex.join(["jaxattr", *words])}
    return meta[_ORIGIN]


def cited(facts: dict[str, Any], model: Model, format: str) -> dict[str, Any]:
    """The facts of a run, with its origin where they go into JSON."""
    return {**facts, "origin": origin(model)} if format == "json" else facts


def as_json(content: dict[str, Any]) -> bytes:
    """Numbers as they are, arrays as nested lists; NaN is refused."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, default=lambda a: a.tolist())
    # Bytes of a file's name that are no text are half pairs, which JSON escapes in the same way.
    return (text + "\n").encode(errors="backslashreplace")


def as_png(picture: Image.Image) -> bytes:
    """A picture as a file without loss."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def as_npz(content: dict[str, Any]) -> bytes:
    """The arrays of the content; texts become arrays of strings, tables JSON; never pickles."""
    import numpy as np

    file = io.BytesIO()
    arrays: dict[str, Any] = {
        name: np.asarray(json.dumps(value) if isinstance(value, dict) else value)
        for name, value in content.items()
    }
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def show(text: str) -> None:
    """Print a result; names in it cannot command the terminal."""
    click.echo(process.printable(text))


def path(of: Path) -> str:
    """A file's name on one line, whatever it holds."""
    return process.one_line(str(of))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Columns with aligned edges: the first `left` ones to the left, the rest to the right."""
    lines = [[process.one_line(cell) for cell in line] for line in (header, *rows)]
    widths = [max(_columns(line[i]) for line in lines) for i in range(len(header))]
    text = []
    for line in lines:
        cells = [
            one + " " * (width - _columns(one)) if i < left else " " * (width - _columns(one)) + one
            for i, (one, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def _columns(text: str) -> int:
    """Columns of a terminal: East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)
