"""Write two of the tutorials as notebooks, with what their cells print: `python notebooks.py`.

The Markdown is the source: its text becomes Markdown cells, its Python blocks code cells, which are
run in an empty folder. A picture that a cell saves is shown below it.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

NAMES = "03-read-a-map", "05-batch-with-vmap"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n.*?^```\n)?", re.DOTALL | re.MULTILINE)
WIDTH = 500
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def cells(text: str) -> list[dict[str, Any]]:
    """The cells of a tutorial, not run."""
    found: list[dict[str, Any]] = []
    parts = BLOCK.split(text)
    for number, part in enumerate(parts):
        source = part.strip("\n").splitlines(keepends=True)
        if not source:
            continue
        one: dict[str, Any] = {"cell_type": "markdown", "metadata": {}, "source": source}
        if number % 2:
            one |= {"cell_type": "code", "execution_count": None, "outputs": []}
        found.append({"id": f"cell-{len(found)}", **one})
    return found


def run(found: list[dict[str, Any]]) -> None:
    """Run the code cells in order, in an empty folder, and keep what they print and draw."""
    names: dict[str, object] = {"__name__": "notebook"}
    count = 0
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for one in found:
            if one["cell_type"] != "code":
                continue
            count += 1
            before, printed = set(os.listdir()), io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec("".join(one["source"]), names)
            one["execution_count"] = count
            one["outputs"] = _text(printed.getvalue()) + _pictures(set(os.listdir()) - before)


def _text(printed: str) -> list[dict[str, Any]]:
    lines = printed.splitlines(keepends=True)
    return [{"output_type": "stream", "name": "stdout", "text": lines}] if lines else []


def _pictures(files: set[str]) -> list[dict[str, Any]]:
    shown = []
    for name in sorted(files):
        if name.endswith(".png"):
            small = io.BytesIO()
            with Image.open(name) as picture:
                picture.thumbnail((WIDTH, WIDTH))
                picture.convert("RGB").save(small, "png", optimize=True)
            data = {"image/png": base64.b64encode(small.getvalue()).decode("ascii")}
            shown.append({"output_type": "display_data", "metadata": {}, "data": data})
    return shown


def main() -> None:
    for name in NAMES:
        path = Path(__file__).with_name(f"{name}.md")
        found = cells(path.read_text(encoding="utf-8"))
        run(found)
        whole = {"cells": found, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
        text = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
        path.with_suffix(".ipynb").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
