"""Odd values of every option of every command: an exit code, one line, and never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from jaxattr.cli.main import main

ODD = ("", "nan", "9" * 30, "1e400", "\0", "\udcff", "\x1b[2J\n", "a" * 5000, "/dev/null", "file")


def _commands(group: Any = main, path: tuple[str, ...] = ()) -> Iterator[Any]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


EVERY = dict(_commands())


@pytest.mark.parametrize("words", sorted(EVERY), ids=" ".join)
def test_odd_values_of_options(words, tmp_path, monkeypatch):
    """With a photo, a folder and a model that are none, so that nothing long is begun."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    Path("empty").mkdir()
    given = []
    for option in EVERY[words].params:
        if isinstance(option, click.Argument):
            given += ["out" if words == ("scenes",) else "file"]
        elif option.name == "model":
            given += ["--model", "file"]
        elif option.name == "to":
            given += ["--to", "cat"]
        elif option.name == "images":
            given += ["--images", "empty"]
    short = ["-n", "1", "--size", "16", "--defects", "none"] if words == ("scenes",) else []
    for option in EVERY[words].params:
        if isinstance(option, click.Argument) or option.is_flag:
            continue
        # A model named by these could be asked for on the hub.
        for value in ODD if option.name != "model" else ("", "file", "/dev/null"):
            done = CliRunner().invoke(main, [*words, *given, *short, f"{option.opts[-1]}={value}"])
            said = f"{option.opts[-1]}={value[:20]!r}: {done.output!r}"
            assert done.exit_code == 2 or words == ("scenes",), said
            assert isinstance(done.exception, SystemExit | None), said
            errors = [one for one in done.stderr.splitlines() if one.startswith("Error: ")]
            assert len(errors) == (done.exit_code == 2), said
            assert "internal error" not in done.stderr, said
            assert not {"\x1b", "\0", "\udcff"} & set(done.output), said
