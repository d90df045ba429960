"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import threading
import time
from pathlib import Path
from typing import Any

_PART = re.compile(r"\..+\.(?:([0-9a-f]{8})-)?(\d+)(?:-\d+)?\.part")
_LONG = 3600.0
"""Seconds after which a file that is not finished is nobody's, wherever its process ran."""


class replacing:  # noqa: N801  (used as a function)
    """A temporary path beside `target`, renamed to it when the block succeeds."""

    def __init__(self, target: Path) -> None:
        self.target = target
        by = f"{_machine()}-{os.getpid()}-{threading.get_ident()}"
        self.temporary = target.with_name(f".{target.name}.{by}.part")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is None:
            os.replace(self.temporary, self.target)
        else:
            self.temporary.unlink(missing_ok=True)


def write_new(target: Path, text: str) -> None:
    """Write a file that is not there yet; where another process was faster, its file stays."""
    with contextlib.suppress(FileExistsError), _linking(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def clean(folder: Path) -> None:
    """Remove what `replacing` of killed processes left in a folder.

    Of processes that run, and of files that others called alike, nothing is touched.
    """
    with contextlib.suppress(OSError):
        for path in folder.glob(".*.part"):
            if _is_left(path):
                path.unlink(missing_ok=True)


class _linking(replacing):  # noqa: N801
    """As `replacing`, but an existing target raises `FileExistsError`."""

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        try:
            if kind is None:
                self._link()
        finally:
            self.temporary.unlink(missing_ok=True)

    def _link(self) -> None:
        try:
            os.link(self.temporary, self.target)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            os.replace(self.temporary, self.target)


def _is_left(path: Path) -> bool:
    found = _PART.fullmatch(path.name)
    if found is None or not path.is_file():
        return False
    if time.time() - path.stat().st_mtime > _LONG:
        return True
    return found[1] in (None, _machine()) and not _runs(int(found[2]))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def _machine() -> str:
    return hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()
