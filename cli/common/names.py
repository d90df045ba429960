"""Names of methods and metrics on the command line, and what they stand for.

A built-in name is read from the sources, because importing a room takes longer than `--help` may.
What a name does not stand for can be one's own, as `package.module:function`.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property
from importlib.metadata import entry_points
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from jaxattr.registry import group

if TYPE_CHECKING:
    from jaxattr.audit.findings import Finder
    from jaxattr.methods import Method
    from jaxattr.metrics import Metric
    from jaxattr.vit import Model

GROUPS = ("cheap", "all")


class Named(click.ParamType):
    """A name that a room declares, a group of them, or `package.module:function`."""

    def __init__(self, kind: str, room: str, *groups: str) -> None:
        """`room` is a folder, or a file whose few names `--help` lists."""
        self.name, self.kind, self.room, self.groups = kind.upper(), kind, room, groups

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """All words but those of one's own."""
        return (*self.groups, *_declared(self.room, self.kind))

    def get_metavar(self, param: Any, ctx: Any) -> str | None:
        """What stands for the value in `--help`."""
        return f"[{'|'.join(self.choices)}]" if self.room.endswith(".py") else None

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The word itself: what it stands for is looked up when the command runs."""
        known = not isinstance(value, str) or ":" in value or value in self.choices
        if not known and not entry_points(group=group(self.kind), name=value):
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


METHODS = Named("method", "methods")
METHODS_OR_GROUPS = Named("method", "methods", *GROUPS)
METHODS_OR_NONE = Named("method", "methods", "none")
METRICS_OR_GROUPS = Named("metric", "metrics", *GROUPS)
LOSSES = Named("loss", "losses.py")
scored_methods_option = click.option(
    "-m",
    "--methods",
    multiple=True,
    type=METHODS,
    help="Methods to score, of `jaxattr methods`, or package.module:function; by default those "
    "that cost at most 10 forward passes. Repeatable.",
)
"""Of the benchmarks that know the truth of each image."""


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


def finders(words: Iterable[str]) -> tuple[Finder, ...]:
    """Finders of one's own, each `package.module:function`; modules may lie in this folder.

    Raises:
        JaxattrError: a word names none; the built-in ones look for their kinds without a word.
    """
    from jaxattr.errors import JaxattrError, quoted
    from jaxattr.registry import find

    with _this_folder():
        found: list[Any] = [find(word, "finder") for word in words]
    for word, one in zip(words, found, strict=True):
        if one is None:
            raise JaxattrError(
                f"{quoted(word)} names no finder of one's own; write package.module:function (the "
                "built-in finders always look)."
            )
    return tuple(found)


@contextmanager
def _this_folder() -> Iterator[None]:
    """Modules are also looked for where the command is run, as `python -m` does."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def loss(word: str) -> tuple[str, bool]:
    """The name of a loss, or one's own as `module:function`, and whether it is of one class.

    A module of one's own may lie in this folder.
    """
    from jaxattr.losses import LOSSES, resolve
    from jaxattr.registry import full_name

    with _this_folder():
        found = resolve(word)
    return word if word in LOSSES else full_name(found.make), found.classes == 1


def _declared(room: str, decorator: str) -> list[str]:
    """The names that a decorator gives to functions of a folder, or of one file.

    Of a file in its order, of a folder in alphabetical order.
    """
    place = files("jaxattr").joinpath(room)
    if place.is_file():
        return list(_names(place.read_text(encoding="utf-8"), decorator))
    python = [one for one in place.iterdir() if one.name.endswith(".py") and one.name[0] != "_"]
    texts = [one.read_text(encoding="utf-8") for one in python]
    return sorted(name for text in texts for name in _names(text, decorator))


def _names(text: str, decorator: str) -> Iterator[str]:
    if f"\n@{decorator}(" not in text:
        return
    for node in ast.parse(text).body:
        for call in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != decorator:
                continue
            given = {one.arg: ast.literal_eval(one.value) for one in call.keywords
                     if one.arg in ("name", "id")}  # fmt: skip
            name = getattr(node, "name", "")
            yield str(given.get("name", given.get("id", name))).rsplit("-v", 1)[0]
