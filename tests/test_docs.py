"""What the documents promise: commands, code, generated pages, links."""

from __future__ import annotations

import importlib
import re
import runpy

import pytest
from conftest import ROOT
from test_layout import LEVELS

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_exactly_two_set_up_commands_of_one_line() -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    assert [block.count("\n") for block in blocks] == [1, 1]
    assert "jaxattr audit" in blocks[0]
    assert "pytest" in blocks[1]


def test_the_readmes_code_runs() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["map_"].shape == (12, 12)
    assert names["maps"].shape == (12, 12, 12)
    assert names["knocked_out"].shape == names["logits"].shape == (12,)
    assert (names["knocked_out"] != names["logits"]).any()


@pytest.mark.parametrize("name", ["findings", "methods"])
def test_pages_of_the_reference_are_what_the_code_says(name) -> None:
    written = ROOT / "docs" / "reference" / f"{name}.md"
    page = runpy.run_path(str(written.with_suffix(".py")))["page"]
    told = f"run python docs/reference/{name}.py"
    assert written.read_text(encoding="utf-8") == page(), told


def test_contributors_read_a_paragraph_of_every_folder_in_the_order_of_imports() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = re.findall(r"^\*\*`jaxattr/(\w+)/`", text, flags=re.MULTILINE)
    folders = {path.parent.name for path in (ROOT / "jaxattr").glob("*/__init__.py")}
    assert set(told) == folders
    assert [LEVELS[one] for one in told] == sorted(LEVELS[one] for one in told)


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md")])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_the_library_exist(path) -> None:
    text = path.read_text(encoding="utf-8")
    names = set(re.findall(r"(?<![\w/.-])jaxattr(?:\.[A-Za-z_]\w*)+", text))
    for module, imported in re.findall(
        r"^from (jaxattr[\w.]*) import ([\w, ]+)$", text, re.MULTILINE
    ):
        names |= {f"{module}.{one.split(' as ')[0].strip()}" for one in imported.split(",")}
    assert not {name for name in names if not _exists(name)}


def _exists(name: str) -> bool:
    """Whether a module, or something in one, has this name."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            found = getattr(found, part, None)
        return found is not None
    return False


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert "://" in target or (path.parent / target).exists(), target
