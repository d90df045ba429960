"""The guide's tutorials run: their blocks in order, each tutorial in an empty folder.

A `text` block right behind another says what that one prints, with `...` for what may differ.
Commands of jaxattr run in this process, which saves starting Python and compiling; other lines of
`bash` blocks run in a shell.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator

import jax
import pytest
from click.testing import CliRunner
from conftest import ROOT

from jaxattr.cli.main import main

TUTORIALS = sorted((ROOT / "docs" / "guide" / "tutorials").glob("[0-9]*.md"))
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.M)
LENIENT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[None]:
    """An empty folder to run in, whose modules no other tutorial finds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.filterwarnings("default::jaxattr.errors.JaxattrWarning")
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_it_runs_and_prints_what_it_says(path, folder) -> None:
    names: dict[str, object] = {"__name__": "tutorial"}
    blocks = BLOCK.findall(path.read_text(encoding="utf-8"))
    assert blocks
    with jax.numpy_dtype_promotion("standard"):  # as it is for readers
        for kind, code, expected in blocks:
            printed = _python(code, names, path.name) if kind == "python" else _bash(code)
            if expected:
                assert doctest.OutputChecker().check_output(expected, printed, LENIENT), printed


def test_there_are_ten_and_the_guide_names_them_in_order() -> None:
    index = (ROOT / "docs" / "guide" / "index.md").read_text(encoding="utf-8")
    assert len(TUTORIALS) == 10
    assert re.findall(r"\(tutorials/(.+?\.md)\)", index) == [one.name for one in TUTORIALS]


def _python(code: str, names: dict[str, object], where: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, where, "exec"), names)
    return printed.getvalue()


def _bash(code: str) -> str:
    """What a block prints, each command on a line of its own (`\\` continues one)."""
    printed = ""
    for line in code.replace("\\\n", " ").splitlines():
        if line.startswith("jaxattr "):
            result = CliRunner().invoke(main, shlex.split(line, comments=True)[1:])
            assert result.exit_code == 0, result.output
            printed += result.stdout
        else:
            shell = ["bash", "-euo", "pipefail", "-c", line]
            printed += subprocess.run(shell, check=True, capture_output=True, text=True).stdout
    return printed


@pytest.mark.parametrize("name", ["03-read-a-map", "05-batch-with-vmap"])
def test_notebooks_hold_the_same_and_were_run(name) -> None:
    folder = ROOT / "docs" / "guide" / "tutorials"
    made = runpy.run_path(str(folder / "notebooks.py"))["cells"]
    found = json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    expected = made((folder / f"{name}.md").read_text(encoding="utf-8"))
    assert [(one["cell_type"], one["source"]) for one in found] == [
        (one["cell_type"], one["source"]) for one in expected
    ], "run python docs/guide/tutorials/notebooks.py"
    code = [one for one in found if one["cell_type"] == "code"]
    assert [one["execution_count"] for one in code] == list(range(1, len(code) + 1))
    assert any(one["outputs"] for one in code)
