"""Names for what is being written, and the removal of what killed processes left under them."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import time
import zlib
from pathlib import Path

_NAME = re.compile(r"\.jaxattr-([0-9a-f]{8})-([0-9]{1,19})-[0-9a-f]{8}\.part")
_LONG = 24 * 3600.0
"""Seconds after which nobody works any more on what nobody has changed."""


def unfinished(folder: Path) -> Path:
    """A new name in a folder, for what gets its own name once it is whole."""
    return folder / f".jaxattr-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part"


def is_unfinished(path: Path) -> bool:
    """Whether a name is one that `unfinished` gives."""
    return _NAME.fullmatch(path.name) is not None


def sweep(folder: Path) -> None:
    """Remove what processes that have ended left unfinished in a folder; nothing else."""
    with contextlib.suppress(OSError):
        for path in [path for path in folder.iterdir() if _is_left(path)]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_left(path: Path) -> bool:
    found = _NAME.fullmatch(path.name)
    if found is None:
        return False
    if time.time() - path.lstat().st_mtime > _LONG:
        return True
    # Elsewhere than on POSIX systems signal 0 would end the process.
    return os.name == "posix" and found[1] == _machine() and not _runs(int(found[2]))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    with contextlib.suppress(OSError):  # killed, and nobody has asked how it ended
        state = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2]
        return state.split()[:1] not in (["Z"], ["X"])
    return True


def _machine() -> str:
    """This machine, because numbers of processes are those of one machine."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"
