"""Names of methods and metrics on the command line, and what they stand for.

A built-in name is read from the sources, because importing a room takes longer than `--help` may.
What a name does not stand for can be one's own, as `package.module:function`.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property
from importlib.metadata import entry_points
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from jaxattr.methods import Method
    from jaxattr.metrics import Metric
    from jaxattr.vit import Model

GROUPS = ("cheap", "all")


class Named(click.ParamType):
    """A name that a room declares, a group of them, or `package.module:function`."""

    def __init__(self, kind: str, *groups: str) -> None:
        self.name, self.kind, self.groups = kind.upper(), kind, groups

    @cached_property
    def declared(self) -> Mapping[str, dict[str, Any]]:
        """What stands in the decorators of the room's files: words and numbers, by name."""
        return _declared(f"{self.kind}s", self.kind)

    @property
    def choices(self) -> tuple[str, ...]:
        """All words but those of one's own, in alphabetical order."""
        return (*self.groups, *sorted(self.declared))

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The word itself: what it stands for is looked up when the command runs."""
        known = not isinstance(value, str) or ":" in value or value in self.choices
        if not known and not entry_points(group=f"jaxattr.{self.kind}s", name=value):
            near = get_close_matches(value, self.choices, 3, 0.6)
            meant = f"; did you mean {' or '.join(near)}?" if near else "."
            listed = ", ".join(map(repr, self.choices))
            self.fail(
                f"{value!r} is not one of {listed}, nor package.module:function{meant}", param, ctx
            )
        return value

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        """The names that begin so."""
        return [CompletionItem(one) for one in self.choices if one.startswith(incomplete)]


METHODS = Named("method")
METHODS_OR_GROUPS = Named("method", *GROUPS)
METHODS_OR_NONE = Named("method", "none")
METRICS_OR_GROUPS = Named("metric", *GROUPS)


def methods(words: Iterable[str], model: Model | None = None) -> tuple[Method, ...]:
    """Names, groups and one's own as methods, each once, in their order.

    Modules of one's own may lie in this folder. With a model, one's own are tried on it.
    """
    from jaxattr.methods import CHEAP, checked, resolve_all
    from jaxattr.methods import METHODS as EVERY

    groups = {"cheap": CHEAP, "all": tuple(EVERY)}
    with _this_folder():
        found = resolve_all(one for word in words for one in groups.get(word, (word,)))
        return found if model is None else checked(found, model)


def metrics(words: Iterable[str], masks: bool) -> tuple[Metric, ...]:
    """Names, groups and one's own as metrics, each once; groups without masks as far as they go."""
    from jaxattr.metrics import CHEAP, resolve_all
    from jaxattr.metrics import METRICS as EVERY

    def possible(names: Iterable[str]) -> list[str]:
        return [name for name in names if masks or not EVERY[name].masks]

    groups = {"cheap": possible(CHEAP), "all": possible(EVERY)}
    with _this_folder():
        return resolve_all(one for word in words for one in groups.get(word, [word]))


@contextmanager
def _this_folder() -> Iterator[None]:
    """Modules are also looked for where the command is run, as `python -m` does."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _declared(room: str, decorator: str) -> dict[str, dict[str, Any]]:
    """The literal arguments of a decorator on the functions of a room, by the names they give."""
    found: dict[str, dict[str, Any]] = {}
    for file in files("jaxattr").joinpath(room).iterdir():
        if not file.name.endswith(".py") or file.name.startswith("_"):
            continue
        text = file.read_text(encoding="utf-8")
        if f"\n@{decorator}(" not in text:
            continue
        for node in ast.parse(text).body:
            for call in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == decorator:
                    given: dict[str, Any] = {
                        one.arg: one.value.value
                        for one in call.keywords
                        if one.arg and isinstance(one.value, ast.Constant)
                    }
                    name = given.get("id", getattr(node, "name", "")).rsplit("-v", 1)[0]
                    found[given.get("name", name)] = given
    return found
