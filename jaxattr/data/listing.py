"""Which files of a folder are images: one rule for every command that lists a folder.

A known suffix is believed; a file of any other suffix is an image if its first bytes are those of
one that can be decoded, except for suffixes of what is no picture (`.txt`, `.json`, ...). What
storage systems leave behind is passed over, and whatever else looks like a picture is counted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxattr.data.formats import HEIC_ADVICE, UNREADABLE, kind, reads_heic
from jaxattr.data.images import SUFFIXES
from jaxattr.errors import DatasetError, printable

_HEAD, _TAIL = 64, 18
# What Synology, QNAP, macOS, Windows and file systems leave behind; names with a dot in front are
# left out, too.
_DROPPINGS = frozenset(
    [
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@sharesnap"),
        *("#recycle", "#snapshot", "__macosx", "network trash folder", "temporary items"),
        *("$recycle.bin", "system volume information", "found.000", "lost+found"),
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "zbthumbnail.info"),
        *("picasa.ini", "__pycache__"),
    ]
)
# Never opened and never counted: texts, sound, weights.
_NO_PICTURES = frozenset(
    [
        *(".txt", ".md", ".rst", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".xml", ".yaml"),
        *(".yml", ".toml", ".ini", ".cfg", ".conf", ".log", ".html", ".htm", ".css", ".js", ".py"),
        *(".ipynb", ".sh", ".bat", ".pt", ".pth", ".safetensors", ".onnx", ".db", ".sqlite"),
        *(".lock", ".md5", ".sha256", ".xmp", ".aae", ".thm", ".lnk", ".url", ".names", ".lst"),
        *(".doc", ".docx", ".xls", ".xlsx", ".wav", ".mp3", ".m4a", ".flac"),
    ]
)
# Camera raw files are TIFF files whose first picture is a thumbnail.
_RAW = frozenset(
    [
        *(".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".srf", ".sr2", ".orf", ".rw2"),
        *(".raf", ".pef", ".srw", ".x3f", ".3fr", ".iiq", ".erf", ".mef", ".mos", ".kdc", ".dcr"),
        *(".raw", ".rwl"),
    ]
)
_PICTURES = (
    *(".jxl", ".heic", ".heif", ".hif", ".svg", ".psd", ".psb", ".xcf", ".eps", ".ai", ".pdf"),
    *(".dcm", ".nii", ".exr", ".hdr", ".fits", ".fit", ".jxr", ".wdp", ".mp4", ".mov", ".avi"),
    *(".mkv", ".webm", ".m4v", ".djvu", ".wmf", ".emf", ".pcx", ".ico", ".icns", ".dds", ".sgi"),
    *(".qoi", ".xbm", ".xpm", ".pfm", ".icb", ".vda", ".vst", ".svs", ".ndpi", ".czi"),
)
_HEIC = frozenset((".heic", ".heif", ".hif"))
UNNAMED = "with a name that is not UTF-8"
_KNOWN = SUFFIXES | _RAW | frozenset(_PICTURES)
"""Suffixes of pictures, whether they can be read or not."""


@dataclass
class Listing:
    """What `walk` met besides the images that it yields."""

    unlooked: Counter[str] = field(default_factory=Counter)
    """Kind, and how many files of it are not looked at."""
    by_content: int = 0
    """Images without a known suffix, among those yielded."""
    unnamed: list[str] = field(default_factory=list)
    """Files and folders whose names are not UTF-8, left out."""


def is_dropping(name: str) -> bool:
    """Whether a file or folder is hidden, or what a storage system left behind."""
    return name.startswith((".", "~$")) or name == "Icon\r" or name.casefold() in _DROPPINGS


def walk(root: str | os.PathLike[str], listing: Listing, *, deep: bool = True) -> Iterator[str]:
    """Relative paths of all image files below `root`, in no particular order.

    Linked folders are followed, each once. Of what is not yielded `listing` keeps count.

    Args:
        deep: look into folders, too.

    Raises:
        DatasetError: a folder cannot be read.
    """
    pending = [(os.fspath(root), "")]
    linked: set[str] = set()
    while pending:
        folder, prefix = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if is_dropping(entry.name):
                        continue
                    if not _is_text(entry.name):
                        listing.unnamed.append(prefix + entry.name)
                    elif _is_folder(entry):
                        follow = not (entry.is_symlink() and _is_loop(entry.path, folder, linked))
                        if deep and follow:
                            pending.append((entry.path, f"{prefix}{entry.name}/"))
                    elif _is_image(entry, listing):
                        yield prefix + entry.name
        except OSError as error:
            raise DatasetError(
                f"{printable(folder)}: folder cannot be read ({error.strerror}); "
                "check its permissions"
            ) from None


def unlooked(listing: Listing) -> tuple[tuple[str, int], ...]:
    """The kinds of files that are not looked at, most frequent first."""
    counts = listing.unlooked + Counter({UNNAMED: len(listing.unnamed)})
    return tuple(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def unlooked_sentence(
    kinds: Sequence[tuple[str, int]], examples: Sequence[tuple[str, str]] = ()
) -> str:
    """What is not looked at, and what to do about it; nothing where there is nothing.

    Args:
        examples: kind, and some of its files, which are named behind it.
    """
    if not kinds:
        return ""
    few = {kind: f" ({files})" for kind, files in examples}
    said = ", ".join(f"{count:,} {name}{few.get(name, '')}" for name, count in kinds)
    advice = []
    names = {name for name, _ in kinds}
    if names & _HEIC:
        advice.append(HEIC_ADVICE)
    if names & {*_PICTURES, *_RAW} - _HEIC:
        advice.append("convert to PNG or JPEG what should take part")
    if UNNAMED in names:
        advice.append("rename files whose names are not UTF-8")
    return f"Not looked at: {said}{' (' + '; '.join(advice) + ')' if advice else ''}."


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: decoding will say so
        return False


def _is_image(entry: os.DirEntry[str], listing: Listing) -> bool:
    name = entry.name.rstrip()
    suffix = os.path.splitext(name)[1].lower()
    if suffix in SUFFIXES:
        return True
    if suffix in _NO_PICTURES:
        return False
    try:
        if not entry.is_file():  # a pipe or a socket would wait for ever
            return False
        with open(entry.path, "rb") as file:
            head = file.read(_HEAD)
            file.seek(-min(_TAIL, entry.stat().st_size), os.SEEK_END)
            tail = file.read(_TAIL)
    except OSError:
        listing.unlooked["that cannot be opened"] += 1
        return False
    found = kind(head, tail)
    if found == "HEIF" and reads_heic():
        return True
    if found and found not in (*UNREADABLE, "HEIF") and not (found == "TIFF" and suffix in _RAW):
        listing.by_content += 1
        return True
    named = _named_kind(name, suffix, found)
    # Not text: LICENSE and Makefile have no suffix, either.
    if named or b"\0" in head:
        listing.unlooked[named or _strange(suffix)] += 1
    return False


def _named_kind(name: str, suffix: str, found: str) -> str:
    """The suffix of a picture that a name has, also before what a download added to it."""
    if found == "HEIF":
        return ".heic"
    if suffix in _KNOWN:
        return suffix
    later = [one.lower() for one in name.split(".")[1:]]
    for part in reversed(later):
        stem = "." + "".join(c if c.isalnum() else " " for c in part).split(" ")[0]
        if stem in _KNOWN:
            return stem
    return f".{found.lower().replace('jpeg xl', 'jxl')}" if found else ""


def _strange(suffix: str) -> str:
    short = 1 < len(suffix) <= 8 and suffix[1:].isalnum() and not suffix[1:].isdigit()
    return suffix if short else "of no known suffix"


def _is_loop(link: str, folder: str, linked: set[str]) -> bool:
    """Whether a linked folder has been entered before or contains the link itself."""
    target, here = os.path.realpath(link), os.path.realpath(folder)
    if target in linked or os.path.commonpath([target, here]) == target:
        return True
    linked.add(target)
    return False


def direct(folder: Path, listing: Listing) -> list[Path]:
    """The images that lie directly in a folder, sorted."""
    return sorted(folder / name for name in walk(folder, listing, deep=False))
