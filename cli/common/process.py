"""The process around a command: its streams, its signals, and its end.

Nothing here is used where the command runs inside another program, as in tests.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import signal
import socket
import sys
import threading
import unicodedata
from types import FrameType
from typing import Any, NoReturn

CODES = {signal.SIGINT: 2, signal.SIGTERM: 128 + signal.SIGTERM}
"""The exit codes: Ctrl-C as every error; SIGTERM as shells and schedulers expect it."""
_PATIENCE = 2.0
"""Seconds that a computation on the device may go on after a signal."""

ARGUMENTS = "jaxattr.cli.arguments"
"""Key of the command line's words in `click.Context.meta`."""


class Signals:
    """What Ctrl-C and SIGTERM do: end the command as an exception; the second one, at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.running = False
        """Whether an exception would end the command in an orderly way."""
        self.left = "nothing was changed"
        """What a signal leaves behind, as the message says it."""
        self._answered = threading.Event()

    @property
    def code(self) -> int:
        """The exit code after a signal."""
        return CODES.get(signal.Signals(self.received or signal.SIGINT), 2)

    def watch(self) -> None:
        """Take over the signals, but those that the parent told us to ignore."""
        for number in CODES:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)
        sys.unraisablehook = self._ask_again
        # Python runs handlers between two steps of its own, so never while the device computes.
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._wait, args=(reader, writer), daemon=True).start()

    def ignore(self) -> None:
        """The command is done; a signal must not disturb the interpreter's end."""
        for number in CODES:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.running and not self.received and _imports(frame):
            # An exception may abort the process where a module in C++ is being imported.
            self._send_again(number)
            return
        again, self.received = self.received is not None, self.received or number
        self._answered.set()
        if again or not self.running:
            self._end()
        raise KeyboardInterrupt

    def _wait(self, reader: socket.socket, writer: socket.socket) -> None:
        """End the process where the main thread does not get round to `_handle`."""
        del writer  # an argument only to be kept open
        while received := reader.recv(1):
            if received[0] not in CODES:
                continue
            if not self._answered.wait(_PATIENCE):
                self.received = received[0]
                self._end()
            self._answered.clear()

    def _end(self) -> NoReturn:
        show_cursor = "\x1b[?25h" if os.isatty(2) else ""
        with contextlib.suppress(OSError):
            os.write(2, f"{show_cursor}Error: interrupted; {self.left}.\n".encode())
        os._exit(self.code)

    def _ask_again(self, unraisable: Any) -> None:
        """Repeat a signal that fell into a callback, where Python can only ignore exceptions."""
        if unraisable.exc_type is not KeyboardInterrupt:
            sys.__unraisablehook__(unraisable)
            return
        number, self.received = self.received or signal.SIGINT, None
        self._send_again(number)

    def _send_again(self, number: int) -> None:
        self._answered.set()
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def open_streams() -> bool:
    """Make the three streams usable in any encoding; false where stdout is closed.

    A closed descriptor would be given to the next file that is opened, and what a library prints
    would land in it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (until the end)
    codecs.register_error("jaxattr", _spell)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(AttributeError, ValueError):
                stream.reconfigure(errors="jaxattr")  # pyright: ignore
    return sys.stdout is not None


def discard(descriptor: int) -> None:
    """Send what is still written there nowhere, so that the interpreter's end does not fail."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def end(code: int) -> NoReturn:
    """End at once: taking the interpreter down while the device computes can crash it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


# Controls but tab and line feed, halves of pairs, separators of lines, reversals of direction.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Text without what a terminal obeys or cannot show, which is escaped."""
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """The same for what must not break a line, as a name in a table."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


# As wide as they were, so that tables stay aligned.
_PLAIN = str.maketrans("–—−‐‑×·•°≥≤→←↑↓≈…“”‘’«»", "-----x..o><><^v~.\"\"''<>")


def _spell(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that a stream cannot show: a plain one, or its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = []
    for one in error.object[error.start : error.end]:
        plain = unicodedata.normalize("NFKD", one.translate(_PLAIN))[0]
        text.append(plain if plain.isascii() else f"\\u{ord(one):04x}")
    return "".join(text), error.end
