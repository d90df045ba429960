"""`docs/cli.md` says what `--help` says."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT


def test_docs_are_the_commands_own_help():
    code = "import runpy, sys; sys.stdout.write(runpy.run_path('docs/cli.py')['reference']())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "docs" / "cli.md").read_text(), "run python docs/cli.py"
