"""The library's own errors: each says what came, what was wanted, and what to do, in one line."""

from __future__ import annotations

import reprlib
from typing import Any

_LONGEST = 80


class JaxattrError(ValueError):
    """Base of all errors that a caller's input can cause."""


class CheckpointError(JaxattrError):
    """A checkpoint cannot be found, read, or does not fit a supported architecture."""


class ImageError(JaxattrError):
    """An image file cannot be decoded."""


class DatasetError(JaxattrError):
    """A labelled image folder cannot be indexed or matched to the model's classes."""


class LabelError(JaxattrError):
    """A class name, wnid or index that the model does not know."""


class LedgerError(JaxattrError):
    """A ledger cannot be read, belongs to another run, or cannot be written."""


class JaxattrWarning(UserWarning):
    """Base of all warnings about what a caller's input may mean."""


class ImageWarning(JaxattrWarning):
    """An image that can be decoded, though probably not as it was meant."""


def printable(path: object) -> str:
    """A path as one line of text, escaped where it holds line breaks or undecodable bytes."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def quoted(value: Any) -> str:
    """A value of a file as one short line, whatever it holds."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = _LONGEST
    text = short.repr(value)
    if not text.isprintable():
        text = ascii(text)
    return text if len(text) <= 2 * _LONGEST else f"{text[: 2 * _LONGEST]}..."


def short_name(name: str) -> str:
    """A name from a file as one short line, whatever it holds."""
    return name if name.isprintable() and len(name) <= 2 * _LONGEST else quoted(name)
