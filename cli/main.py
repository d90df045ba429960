"""The command `jaxattr`: which commands there are, and what their errors look like.

Imports nothing heavy: a command's module is imported when that command is run, or its help shown.
"""

from __future__ import annotations

import sys

try:
    import errno
    import os
    import warnings
    from collections.abc import Iterator
    from contextlib import contextmanager
    from difflib import get_close_matches
    from importlib import import_module
    from typing import Any, NamedTuple, NoReturn

    import click

    from jaxattr.cli.common import process
except KeyboardInterrupt:  # before anything could take it over
    sys.stderr.write("Error: interrupted; nothing was changed.\n")
    raise SystemExit(2) from None


class Entry(NamedTuple):
    """A command: where it is, its one line in `jaxattr --help`, and what Ctrl-C leaves behind."""

    module: str
    help: str
    interrupted: str


# The function has the command's name. A test holds the help equal to the command's own.
COMMANDS = {
    "audit": Entry(
        "jaxattr.cli.audit.command",
        "Audit a labelled image folder and write a per-class report.",
        "the same command resumes where it stopped",
    ),
    "bench": Entry(
        "jaxattr.cli.bench.command",
        "Measure the library's claims where the truth is known.",
        "what is finished stays: methods and perturbation resume there, the others start again",
    ),
    "compare": Entry(
        "jaxattr.cli.compare.command",
        "Show every method's map of the same photos side by side.",
        "files written so far are complete",
    ),
    "explain": Entry(
        "jaxattr.cli.explain.command",
        "Show what in a photo speaks for a class, and what against it.",
        "files written so far are complete",
    ),
    "methods": Entry(
        "jaxattr.cli.methods",
        "List the attribution methods, with what they cost and where they come from.",
        "nothing was changed",
    ),
    "rewrite": Entry(
        "jaxattr.cli.rewrite.command",
        "Change a photo's pixels slightly, until the model sees another class.",
        "files written so far are complete",
    ),
    "scenes": Entry(
        "jaxattr.cli.scenes",
        "Draw a labelled image folder with planted defects and their truth.",
        "nothing was left behind",
    ),
    "transfer": Entry(
        "jaxattr.cli.transfer.command",
        "Optimise a photo's attention maps for a class, and watch its evidence move.",
        "files written so far are complete",
    ),
}


class Failure(click.ClickException):
    """An error that ends the command: one line on stderr, exit code 2."""

    exit_code = 2


class Interrupted(Failure):
    """Ctrl-C; or SIGTERM, which ends the process with another code."""


class BrokenStdout(click.exceptions.Exit):
    """The reader of stdout went away, as in `| head`: no message, the exit code of SIGPIPE."""

    def __init__(self) -> None:
        super().__init__(128 + 13)


class Near(click.Group):
    """A group that names the commands that look like an unknown one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            near = get_close_matches(name, self.list_commands(ctx), 3, 0.5)
            meant = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"No such command {name!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(Near):
    """A group that knows its commands by name, and imports one when it is needed."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a process: take over its streams and signals, and end it safely."""
        if not process.open_streams():
            click.echo("Error: stdout is closed, so results go nowhere; redirect it.", err=True)
            process.end(Failure.exit_code)
        signals = process.Signals()
        signals.watch()
        try:
            super().__call__(*args, obj=signals, **kwargs)
        except SystemExit as ending:
            if signals.received:
                process.end(signals.code)
            signals.ignore()
            raise ending from None
        except OSError:  # stderr cannot take the message
            process.end(Failure.exit_code)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[process.ARGUMENTS] = tuple(args)  # for what results say of their origin
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return getattr(import_module(COMMANDS[cmd_name].module), cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args[0] in COMMANDS:  # told before it is imported, which takes time, too
            ctx.ensure_object(process.Signals).left = COMMANDS[args[0]].interrupted
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; the one place where exceptions become a line and an exit code."""
        signals = ctx.ensure_object(process.Signals)
        signals.running = True
        try:
            with _warnings_in_a_line():
                result = super().invoke(ctx)
            sys.stdout.flush()
        except (click.ClickException, click.Abort, click.exceptions.Exit) as error:
            if signals.received and not isinstance(error, Interrupted):
                # Whatever a library made of it.
                raise Interrupted(f"interrupted; {signals.left}.") from None
            if isinstance(error, click.ClickException):
                usage = isinstance(error, click.UsageError)
                escape = process.printable if usage else process.one_line
                vars(error)["message"] = escape(error.message)
            raise
        except (Exception, KeyboardInterrupt) as error:
            if os.environ.get("JAXATTR_DEBUG", "0") not in ("", "0"):
                raise
            if signals.received:
                raise Interrupted(f"interrupted; {signals.left}.") from None
            _end(error, ctx.invoked_subcommand)
        finally:
            signals.running = False
        return result


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="jaxattr", message="%(prog)s %(version)s")
def main() -> None:
    """See why a Vision Transformer decided what it decided, and audit labelled images with it.

    Results go to stdout, everything else to stderr. Exit code 0: done; 1: audit has findings at or
    above --fail-on, or rewrite did not reach the class; 2: wrong usage, an error or Ctrl-C, in one
    line; 143: SIGTERM. JAXATTR_DEBUG=1 shows the traceback.
    """


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """The library's warnings as one line each on stderr; Pillow's, of odd metadata, not at all."""
    from jaxattr.errors import JaxattrWarning

    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, JaxattrWarning):
                click.echo(f"Warning: {process.printable(str(message))}.", err=True)
            else:
                usual(message, category, *rest, **more)

        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("always", JaxattrWarning)
        warnings.showwarning = show
        yield


def _end(error: BaseException, command: str | None) -> NoReturn:
    """Raise the click exception for an exception of the library, the system or the user."""
    if isinstance(error, BrokenPipeError):
        process.discard(1)
        raise BrokenStdout from None
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        process.discard(1)
    kind = Interrupted if isinstance(error, KeyboardInterrupt) else Failure
    raise kind(describe(error, command)) from None


def describe(error: BaseException, command: str | None = None) -> str:
    """One line for an exception: what happened and, where it is known, what to do."""
    said = process.printable(_line(error))
    match error:
        case KeyboardInterrupt():
            entry = COMMANDS.get(command or "")
            return f"interrupted; {entry.interrupted if entry else 'nothing was changed'}."
        case MemoryError():
            return f"out of memory ({said[:200]}); {_LESS_MEMORY}."
        case OSError():
            return process.printable(_describe_system(error))
        case UnicodeError():
            return f"a name or a text cannot be read or written ({said}); rename it, or use UTF-8."
        case ValueError():
            return said
        case ModuleNotFoundError() if not (error.name or "").startswith("jaxattr"):
            return f"the package {error.name} is not installed; install jaxattr again with pip."
        case ImportError() if not (error.name or "").startswith("jaxattr"):
            return f"a package cannot be imported ({said}); install jaxattr again with pip."
        case RecursionError():
            return f"a file or an argument is nested too deeply ({said}); look at what was given."
        case OverflowError():
            return f"a number is too large ({said}); look at the numbers that were given."
        case _ if "RESOURCE_EXHAUSTED" in said:
            return f"the device is out of memory ({said[:120]}); {_LESS_MEMORY}."
        case RuntimeError() if "can't start new thread" in said:
            return "this machine starts no more threads; pass a smaller --workers."
        case RuntimeError() if type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError"):
            return f"the device failed ({said[:200]}); see its driver, or set JAX_PLATFORMS=cpu."
        case _:
            return (
                f"internal error, {type(error).__name__}: {said}; "
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
        case errno.ENAMETOOLONG:
            return f"a name is too long{where}; choose a shorter one."
        case errno.EMFILE | errno.ENFILE:
            return f"too many files are open{where}; raise `ulimit -n`, or pass --workers 1."
        case None:
            return _line(error)
        case _:
            return f"{error.strerror}{where}."


def _line(error: BaseException) -> str:
    """The message without line breaks, and never empty."""
    return " ".join(str(error).split()) or type(error).__name__
