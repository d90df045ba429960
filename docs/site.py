"""What the site adds to `docs/` while mkdocs builds it: pages of the API, files outside `docs/`.

A room of the library has one page under `reference/api/`: the names that its `__init__` re-exports,
or its modules. Files of the repository that pages link to (`benchmarks/`, `weights/`, those beside
`docs/`) are copied under `repository/` and the links are rewritten, so that a link to nothing fails
`mkdocs build --strict`.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
OUTSIDE = "repository"
LINK = re.compile(r"(\]\()([^)\s#]+)([^)\s]*\))")
FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.DOTALL | re.MULTILINE)
ROOMS: dict[str, tuple[str, ...]] = {
    "explanation": ("explanation",),
    "losses": ("losses",),
    "vit": ("vit",),
    "gradients": ("gradients", "gradients.corrections"),
    "methods": ("methods.method", "methods"),
    "metrics": ("metrics.metric", "metrics.context", "metrics", "metrics.perturbation"),
    "experiments": ("experiments",),
    "audit": ("audit", "audit.ledger", "audit.findings.finding", "audit.findings"),
    "bench": ("bench", "bench.explanations", "bench.methods", "bench.perturbation", "bench.audit"),
    "checkpoints": ("checkpoints",),
    "data": ("data",),
    "plot": ("plot",),
    "scenes": ("scenes",),
}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the API, and the files outside that pages lead to."""
    for room, parts in ROOMS.items():
        text = api_page(room, parts)
        files.append(File.generated(config, f"reference/api/{room}.md", content=text))
    files.append(File.generated(config, "reference/api/index.md", content=front_door()))
    waiting = list(DOCS.rglob("*.md"))
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        for target in targets(path):
            if target in seen or target.is_relative_to(DOCS) or not target.is_file():
                continue
            seen.add(target)
            place = f"{OUTSIDE}/{target.relative_to(ROOT).as_posix()}"
            files.append(File.generated(config, place, abs_src_path=str(target)))
            if target.suffix == ".md":
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links, from where the file lies in the repository to where it lies on the site."""
    del config, files
    here = page.file.src_uri
    origin = ROOT / here.removeprefix(f"{OUTSIDE}/") if here.startswith(OUTSIDE) else DOCS / here

    def rewrite(found: re.Match[str]) -> str:
        if "://" in found[2] or found[2].startswith("mailto:"):
            return found[0]
        path = Path(os.path.normpath(origin.parent / found[2]))
        if not path.is_relative_to(ROOT):
            return found[0]
        inside = path.is_relative_to(DOCS)
        place = path.relative_to(DOCS) if inside else Path(OUTSIDE, path.relative_to(ROOT))
        return f"{found[1]}{os.path.relpath(place, Path(here).parent)}{found[3]}"

    return outside_of_code(markdown, lambda text: LINK.sub(rewrite, text))


def targets(path: Path) -> list[Path]:
    """The files that a page links to."""
    found: list[Path] = []

    def collect(text: str) -> str:
        for _, target, _ in LINK.findall(text):
            if "://" not in target:
                found.append(Path(os.path.normpath(path.parent / target)))
        return text

    outside_of_code(path.read_text(encoding="utf-8"), collect)
    return found


def outside_of_code(text: str, change: Any) -> str:
    """A change of what is no fenced block."""
    parts, at = [], 0
    for fence in FENCE.finditer(text):
        parts += [change(text[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*parts, change(text[at:])])


def api_page(room: str, parts: tuple[str, ...]) -> str:
    """One room: what its docstring says, then its names."""
    return page_of(f"jaxattr.{room}", of_room(parts))


def of_room(parts: tuple[str, ...]) -> dict[str, str]:
    """The names of a room, each once, by where they are defined."""
    entries = {where: told for part in parts for told, where in members(f"jaxattr.{part}")}
    return {told: where for where, told in entries.items()}


def front_door() -> str:
    """The names of `jaxattr` itself, those of rooms as links to their pages."""
    names = exported(ROOT / "jaxattr" / "__init__.pyi", "jaxattr")
    elsewhere = {where for parts in ROOMS.values() for where in of_room(parts).values()}
    own = {told: where for told, where in names.items() if where not in elsewhere}
    links = [f"- [`{told}`][{where}]\n" for told, where in names.items() if where in elsewhere]
    return f"{page_of('jaxattr', own)}\n## Names of the rooms\n\n{''.join(links)}"


def page_of(name: str, entries: dict[str, str]) -> str:
    """A page of a package: its docstring, and its names under those that users import."""
    path = module_file(name)
    words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    parts = [f"# {name}\n"] if name in entries else [f"# {name}\n\n{words}\n"]
    for told, where in entries.items():
        option = "show_root_heading: false" if told == name else f"heading: {told}"
        parts.append(f"::: {where}\n    options:\n      {option}\n")
    return "\n".join(parts)


def members(name: str) -> list[tuple[str, str]]:
    """What a package re-exports, and where each is defined; of a package without, its modules."""
    path = module_file(name)
    if path.name != "__init__.py":
        return [(name, name)]
    found = exported(path, name)
    if not found:
        inside = sorted(one.stem for one in path.parent.glob("[!_]*.py"))
        found = {f"{name}.{one}": f"{name}.{one}" for one in inside}
    return list(found.items())


def exported(path: Path, package: str) -> dict[str, str]:
    """Names that a package imports as themselves, but for modules, and where they are defined."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        home = f"{package}.{node.module or ''}".rstrip(".") if node.level else node.module or ""
        for one in node.names:
            where = f"{home}.{one.name}" if home == package else definition(home, one.name)
            if one.asname == one.name and not module_file(where).exists():
                found[f"{package}.{one.name}"] = where
    return found


def definition(home: str, name: str) -> str:
    """Where a name that a package re-exports is defined."""
    path = module_file(home)
    if path.name == "__init__.py" and path.exists():
        return exported(path, home).get(f"{home}.{name}", f"{home}.{name}")
    return f"{home}.{name}"


def module_file(name: str) -> Path:
    path = ROOT / Path(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
