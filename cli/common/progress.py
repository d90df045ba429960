"""Progress on stderr, and whom the library tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxattr.cli.common.options import note, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxattr.audit.run import Progress


def on_stderr(*, quiet: bool) -> Progress:
    """An audit's `Progress` on stderr; of a quiet one only what must be known."""
    from jaxattr.audit.run import Progress

    def bar(doing: str, unit: str, total: int, done: int) -> Any:
        return progress_bar(total, done, quiet=quiet, doing=doing, unit=unit)

    return Progress(lambda message: note(message, quiet=quiet), warn, bar)


def progress_bar(
    total: int, done: int, *, quiet: bool, doing: str = "Explaining", unit: str = "images"
) -> Any:
    """A bar on stderr with the rate and the time left; calling it advances it by as many units.

    The rate is that of the last half minute; its first step, which compiles, does not count.
    """
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    @contextmanager
    def bar() -> Iterator[Any]:
        console = Console(stderr=True)
        rate = TextColumn("{task.fields[rate]}")
        columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), rate, TimeLeft())
        if quiet or not console.is_terminal:  # a disabled bar of older releases prints a line break
            yield lambda count: None
            return
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=total, completed=done, rate="")

            def advance(count: int) -> None:
                speed = progress.tasks[0].speed
                rate = f"{speed:.1f} {unit}/s" if speed else ""
                progress.update(task, advance=count, rate=rate)

            yield advance

    return bar()
