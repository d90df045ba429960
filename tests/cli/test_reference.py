"""`docs/reference/cli.md` says what `--help` says."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT


def test_docs_are_the_commands_own_help():
    page = ROOT / "docs" / "reference" / "cli.md"
    run = f"runpy.run_path({str(page.with_suffix('.py'))!r})"
    code = f"import runpy, sys; sys.stdout.write({run}['reference']())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == page.read_text(), "run python docs/reference/cli.py"
