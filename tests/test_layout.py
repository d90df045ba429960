"""The house: imports go one way, everything is packaged, the public names are there."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

import jaxattr

PACKAGE = Path(jaxattr.__file__).parent
# A room may import rooms of lower numbers, and its own.
LEVELS = {
    "errors": 0,
    "formats": 1,
    "unfinished": 0,
    "threads": 1,
    "types": 1,
    "nonlinear": 1,
    "vit": 2,
    "losses": 2,
    "clustering": 2,
    "flow": 2,
    "attention_rollout": 2,
    "heads": 2.5,  # asks the losses, and is asked by masking and models
    "images": 2,
    "labels": 2,
    "listing": 3,
    "gradients": 3,
    "sites": 3,
    "relevance": 3,
    "heatmap": 3,
    "masking": 3,
    "models": 3,
    "scenes": 3,
    "methods": 4,
    "views": 4,
    "distances": 2,
    "transfer": 4,
    "rewrite": 4,
    "budget": 5,
    "strips": 5,
    "metrics": 4,
    "figures": 4,
    "audit": 6,
    "details": 5,
    "guidance": 5,
    "guides": 5,
    "grid": 5,
    "sheets": 5,
    "bench": 7,
    "cli": 8,
}


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py")) + sorted((ROOT / "cli").rglob("*.py"))


def _room(path: Path) -> str:
    if path.is_relative_to(ROOT / "cli"):
        return "cli"
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "jaxattr" and len(parts) > 1 and parts[1] in LEVELS:
                rooms.add(parts[1])
    return rooms


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.name))
def test_imports_go_one_way(path) -> None:
    room = _room(path)
    if room == "__init__":
        return
    upwards = {
        other
        for other in _imported_rooms(path) - {room}
        # types.Model.forward reaches up to vit inside the method: the one knot of the design.
        if LEVELS[other] >= LEVELS[room] and (room, other) != ("types", "vit")
    }
    assert room in LEVELS, f"{path} is in no known room; give it a level"
    assert not upwards, f"{path} imports {upwards}"


def test_every_package_is_shipped() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        declared = set(tomllib.load(file)["tool"]["setuptools"]["packages"])
    folders = {
        "jaxattr." + ".".join(path.parent.relative_to(PACKAGE).parts)
        for path in PACKAGE.rglob("__init__.py")
    }
    assert declared == {folder.rstrip(".") for folder in folders} | {
        "jaxattr.cli",
        "jaxattr.weights",
    }


def test_public_names_exist_and_importing_is_free() -> None:
    code = (
        "import sys, jaxattr\n"
        "heavy = {'jax', 'transformers', 'matplotlib', 'numpy', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "for name in jaxattr.__all__: getattr(jaxattr, name)\n"
        "heavy = {'transformers', 'matplotlib', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_library_never_prints() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
        ]
        assert not calls, f"{path} prints"


def test_functions_are_short() -> None:
    for path in _modules():
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno
                assert length <= 75, f"{path}: {node.name} has {length} lines"


def test_no_public_name_is_also_a_modules() -> None:
    """Else `jaxattr.<name>` would be the one or the other by what was imported before."""
    modules = {path.stem for path in PACKAGE.iterdir()}
    for node in ast.walk(ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            both = {one.name for one in node.names} & modules
            assert not both, f"{both}: a name of jaxattr, and a module's"


def test_names_do_not_depend_on_the_order_of_imports() -> None:
    """Every public name, in both orders, after all other modules, and before them."""
    code = (
        "import importlib, pkgutil, sys, jaxattr\n"
        "rooms = {'': list(jaxattr.__all__), '.methods': None, '.metrics': None}\n"
        "def seen(order):\n"
        "    found = {}\n"
        "    for room in list(rooms)[::order]:\n"
        "        package = importlib.import_module('jaxattr' + room)\n"
        "        names = rooms[room] or [n for n in dir(package) if n[0] != '_']\n"
        "        for name in names[::order]:\n"
        "            found[room, name] = type(getattr(package, name)).__name__\n"
        "    return found\n"
        "modules = [one.name for one in pkgutil.iter_modules(jaxattr.__path__)]\n"
        "first = seen(1)\n"
        "for before in ([], modules, modules[::-1], ['audit.findings'], ['cli.explain']):\n"
        "    for name in [n for n in sys.modules if n.split('.')[0] == 'jaxattr']:\n"
        "        del sys.modules[name]\n"
        "    for name in before: importlib.import_module('jaxattr.' + name)\n"
        "    again = seen(-1)\n"
        "    changed = {k: (v, again[k]) for k, v in first.items() if again[k] != v}\n"
        "    assert not changed, (before, changed)\n"
        "assert first['', 'rollout'] == first['.methods', 'rollout'] == 'function', first\n"
        "assert first['', 'rewrite'] == first['', 'transfer'] == 'module', first\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
