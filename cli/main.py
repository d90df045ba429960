"""The command `jaxattr`: which commands there are, and what their errors look like.

Imports nothing heavy: a command's module is imported when that command is run, or its help shown.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

import click


class Entry(NamedTuple):
    """A command: where it is, its one line in `jaxattr --help`, and what Ctrl-C leaves behind."""

    module: str
    help: str
    interrupted: str


# The function has the command's name. A test holds the help equal to the command's own.
COMMANDS = {
    "audit": Entry(
        "jaxattr.cli.audit",
        "Audit a labelled image folder and write a per-class report.",
        "the same command goes on where it stopped",
    ),
    "bench": Entry(
        "jaxattr.cli.bench",
        "Measure the library's claims where the truth is known.",
        "what is finished stays: methods and perturbation go on there, the others start again",
    ),
    "compare": Entry(
        "jaxattr.cli.compare",
        "Show every method's map of the same photos side by side.",
        "nothing was written",
    ),
    "explain": Entry(
        "jaxattr.cli.explain",
        "Show what in a photo speaks for a class, and what against it.",
        "files written so far are complete",
    ),
    "methods": Entry(
        "jaxattr.cli.methods",
        "List the attribution methods, with what they cost and where they come from.",
        "nothing was changed",
    ),
    "rewrite": Entry(
        "jaxattr.cli.rewrite",
        "Change a photo's pixels, barely, until the model sees another class.",
        "nothing was written",
    ),
    "scenes": Entry(
        "jaxattr.cli.scenes",
        "Draw a labelled image folder with planted defects and their truth.",
        "nothing was left behind",
    ),
    "transfer": Entry(
        "jaxattr.cli.transfer",
        "Optimise a photo's attention maps for a class, and watch its evidence move.",
        "nothing was written",
    ),
}


class Failure(click.ClickException):
    """An error that ends the command: one line on stderr, exit code 2."""

    exit_code = 2


class Interrupted(Failure):
    """Ctrl-C."""


class BrokenStdout(click.exceptions.Exit):
    """The reader of stdout went away, as in `| head`: no message, the exit code of SIGPIPE."""

    def __init__(self) -> None:
        super().__init__(128 + 13)


class LazyGroup(click.Group):
    """A group that knows its commands by name, and imports one when it is needed."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a process; after Ctrl-C end it at once.

        Taking the interpreter down while the device still computes can crash it, and would wait
        for threads. Whatever a command writes is whole at any moment.
        """
        sys.unraisablehook = _ask_again
        try:
            return super().__call__(*args, **kwargs)
        except SystemExit as end:
            if isinstance(end.__context__, Interrupted):
                with contextlib.suppress(OSError):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(Interrupted.exit_code)
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return getattr(import_module(COMMANDS[cmd_name].module), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; the one place where exceptions become a line and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if os.environ.get("JAXATTR_DEBUG", "0") not in ("", "0"):
                raise
            _end(error, ctx.invoked_subcommand)
        return result


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="jaxattr", message="%(prog)s %(version)s")
def main() -> None:
    """See why a Vision Transformer decided what it decided, and audit labelled images with it.

    Results go to stdout, everything else to stderr. Exit code 0: done; 1: audit has findings at or
    above --fail-on, or rewrite did not reach the class; 2: wrong usage or an error, in one line.
    JAXATTR_DEBUG=1 shows the traceback.
    """


def _ask_again(unraisable: Any) -> None:
    """Repeat a Ctrl-C that fell into a callback, where Python can only ignore exceptions."""
    if unraisable.exc_type is KeyboardInterrupt:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(unraisable)


def _end(error: BaseException, command: str | None) -> NoReturn:
    """Raise the click exception for an exception of the library, the system or the user."""
    if isinstance(error, BrokenPipeError):
        _discard_stdout()
        raise BrokenStdout from None
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        _discard_stdout()
    kind = Interrupted if isinstance(error, KeyboardInterrupt) else Failure
    raise kind(describe(error, command)) from None


def describe(error: BaseException, command: str | None = None) -> str:
    """One line for an exception: what happened and, where it is known, what to do."""
    match error:
        case KeyboardInterrupt():
            entry = COMMANDS.get(command or "")
            return f"interrupted; {entry.interrupted if entry else 'nothing was changed'}."
        case MemoryError():
            return f"out of memory ({_line(error)}); {_LESS_MEMORY}."
        case OSError():
            return _describe_system(error)
        case ValueError():
            return _line(error)
        case ModuleNotFoundError() if not (error.name or "").startswith("jaxattr"):
            return f"the package {error.name} is not installed; install jaxattr again with pip."
        case _ if "RESOURCE_EXHAUSTED" in str(error):
            return f"the device is out of memory ({_line(error)[:120]}); {_LESS_MEMORY}."
        case _:
            return (
                f"internal error, {type(error).__name__}: {_line(error)}; "
                "JAXATTR_DEBUG=1 shows where; please report it."
            )


_LESS_MEMORY = "pass fewer images at once, a smaller --batch-size, or a smaller model"


def _describe_system(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"no space is left on the disk{where}; free some, or choose another --output."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"not permitted{where}: {error.strerror}; check the permissions or --output."
        case errno.ENOTDIR | errno.EEXIST | errno.EISDIR:
            return f"{error.strerror}{where}; choose another --output."
        case None:
            return _line(error)
        case _:
            return f"{error.strerror}{where}."


def _line(error: BaseException) -> str:
    """The message without line breaks, and never empty."""
    return " ".join(str(error).split()) or type(error).__name__


def _discard_stdout() -> None:
    """Keep the interpreter from failing once more when it flushes stdout at its end."""
    with contextlib.suppress(OSError, ValueError):  # a stdout without a descriptor, as in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
