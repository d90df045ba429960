"""The house: imports go one way, everything is packaged, the public names are there."""

from __future__ import annotations

import ast
import importlib
import inspect
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

import jaxattr

PACKAGE = Path(jaxattr.__file__).parent
# A room, which is a folder or a module beside them, may import rooms of lower numbers.
LEVELS = {
    "_front": 0,
    "errors": 0,
    "registry": 0.5,
    "plot": 1.5,
    "resampling": 1,
    "vit": 1,
    "data": 2,
    "gradients": 2,
    "losses": 2,
    "heads": 3,
    "scenes": 3,
    "checkpoints": 4,
    "methods": 4,
    "metrics": 5,
    "experiments": 5,
    "explanation": 4.5,
    "audit": 6,
    "bench": 7,
    "cli": 8,
}
# The audit's own rooms, in the order in which its data pass.
STAGES = (
    "statistics",
    "ledger",
    "evidence",
    "inference",
    "copies",
    "probes",
    "findings",
    "report",
)


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py")) + sorted((ROOT / "cli").rglob("*.py"))


def _room(path: Path) -> str:
    if path.is_relative_to(ROOT / "cli"):
        return "cli"
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def _imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for name in _imported_names(path):
        parts = name.split(".")
        if parts[0] == "jaxattr" and len(parts) > 1 and parts[1] in LEVELS:
            rooms.add(parts[1])
    return rooms


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.name))
def test_imports_go_one_way(path) -> None:
    room = _room(path)
    if room == "__init__":
        return
    upwards = {other for other in _imported_rooms(path) - {room} if LEVELS[other] >= LEVELS[room]}
    assert room in LEVELS, f"{path} is in no known room; give it a level"
    assert not upwards, f"{path} imports {upwards}"


def test_every_package_is_shipped_but_the_training_scripts(monkeypatch) -> None:
    pytest.importorskip("setuptools", reason="needs setuptools, which builds the package")
    given: dict[str, Any] = {}
    monkeypatch.setattr("setuptools.setup", lambda **settings: given.update(settings))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    folders = [*PACKAGE.rglob("__init__.py"), *(ROOT / "cli").rglob("__init__.py")]
    names = {
        ".".join((prefix, *path.parent.relative_to(top).parts))
        for prefix, top in (("jaxattr", PACKAGE), ("jaxattr.cli", ROOT / "cli"))
        for path in folders
        if path.is_relative_to(top)
    }
    assert set(given["packages"]) == names | {"jaxattr.weights"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "audit").rglob("*.py")), ids=str)
def test_stages_of_the_audit_import_earlier_ones(path) -> None:
    stage = path.relative_to(PACKAGE / "audit").parts[0]
    if stage not in STAGES:
        return
    allowed = STAGES[: STAGES.index(stage) + 1]
    for name in _imported_names(path):
        parts = name.split(".")
        if parts[:2] == ["jaxattr", "audit"] and len(parts) > 2 and parts[2] in STAGES:
            assert parts[2] in allowed, f"{path} imports {name}"


def test_every_room_says_what_it_holds() -> None:
    for path in _modules():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_public_names_exist_and_importing_is_free() -> None:
    code = (
        "import sys, jaxattr\n"
        "heavy = {'jax', 'transformers', 'matplotlib', 'numpy', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "rooms = 'checkpoints data experiments gradients methods metrics plot scenes vit'.split()\n"
        "assert {'audit', 'bench', 'explain', 'load', 'save', *rooms} < set(jaxattr.__all__)\n"
        "for name in jaxattr.__all__: getattr(jaxattr, name)\n"
        "jaxattr.audit.ledger, jaxattr.bench.methods, jaxattr.experiments.session\n"
        "jaxattr.methods.conservative, jaxattr.metrics.pointing_game, jaxattr.plot.heatmap\n"
        "assert jaxattr.__version__[0].isdigit()\n"
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


def test_a_public_name_that_is_also_a_packages_calls_it() -> None:
    """Else `jaxattr.<name>` would be the one or the other by what was imported before."""
    modules, both = {path.stem for path in PACKAGE.iterdir()}, set()
    for node in ast.walk(ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            both |= {(f"{node.module}", one.name) for one in node.names if one.name in modules}
    assert both == {("audit.run", "audit")}
    function = importlib.import_module("jaxattr.audit.run").audit
    assert callable(jaxattr.audit)
    assert inspect.signature(jaxattr.audit) == inspect.signature(function)
    assert jaxattr.audit.__doc__ == function.__doc__
    assert jaxattr.audit is importlib.import_module("jaxattr.audit")


def test_names_do_not_depend_on_the_order_of_imports() -> None:
    """Every public name, in both orders, after all other modules, and before them."""
    code = (
        "import importlib, inspect, pkgutil, sys, jaxattr\n"
        "rooms = {'': list(jaxattr.__all__), '.methods': None, '.metrics': None, '.bench': None}\n"
        "def seen(order):\n"
        "    found = {}\n"
        "    for room in list(rooms)[::order]:\n"
        "        package = importlib.import_module('jaxattr' + room)\n"
        "        names = rooms[room] or [n for n in dir(package) if n[0] != '_']\n"
        "        for name in names[::order]:\n"
        "            one = getattr(package, name)\n"
        "            called = room == '.bench' or name == 'audit'\n"
        "            called = called and list(inspect.signature(one).parameters)\n"
        "            found[room, name] = type(one).__name__, called\n"
        "    return found\n"
        "modules = [one.name for one in pkgutil.iter_modules(jaxattr.__path__)]\n"
        "first = seen(1)\n"
        "for before in ([], modules, modules[::-1], ['audit.findings'], ['cli.explain.command'],\n"
        "        ['bench.methods.run', 'bench.audit.moving']):\n"
        "    for name in [n for n in sys.modules if n.split('.')[0] == 'jaxattr']:\n"
        "        del sys.modules[name]\n"
        "    for name in before: importlib.import_module('jaxattr.' + name)\n"
        "    again = seen(-1)\n"
        "    changed = {k: (v, again[k]) for k, v in first.items() if again[k] != v}\n"
        "    assert not changed, (before, changed)\n"
        "assert first['', 'rollout'][0] == first['.methods', 'rollout'][0] == 'function', first\n"
        "assert first['', 'rewrite'][0] == first['', 'transfer'][0] == 'module', first\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
