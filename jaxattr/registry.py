"""Open registries: a built-in function carries what is said of it; a user's own is an object.

A room is searched for what is attached to its functions, so nothing is registered by a side effect
and a new function is one file. What is not built in is given as an object, as
`package.module:function`, or under a name that an installed package announces as an entry point.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, TypeVar

from jaxattr.errors import JaxattrError, quoted

Function = TypeVar("Function", bound=Callable[..., Any])
Record = TypeVar("Record")
_ATTRIBUTE = "__jaxattr__"


def attach(function: Function, record: object) -> Function:
    """The same function, which now carries a record."""
    setattr(function, _ATTRIBUTE, record)
    return function


def attached(function: object, kind: type[Record]) -> Record | None:
    """The record of this kind that a function carries, if any."""
    record = getattr(function, _ATTRIBUTE, None)
    return record if isinstance(record, kind) else None


def discover(package: str, path: Sequence[str], kind: type[Record]) -> Iterator[Record]:
    """The records in the modules of a package, those with an underscore left out, by file name."""
    for module in sorted(one.name for one in iter_modules(path)):
        if module.startswith("_"):
            continue
        content = import_module(f"{package}.{module}")
        for value in vars(content).values():
            record = attached(value, kind)
            if record is not None and value.__module__ == content.__name__:
                yield record


def find(word: str, kind: str) -> Any | None:
    """What `package.module:function` names, or what a package announces under that name.

    `None` where the word is neither; `kind` names the group of entry points, see `group`.

    Raises:
        JaxattrError: no such module or function, or one that cannot be imported.
    """
    module, colon, name = word.partition(":")
    if colon:
        return _load(module, name, word, kind)
    for one in entry_points(group=group(kind), name=word):
        return _load(one.module, one.attr, word, kind)
    return None


def group(kind: str) -> str:
    """The entry points under which packages announce theirs: `jaxattr.methods`, `.losses`, ..."""
    return f"jaxattr.{kind}{'es' if kind.endswith('s') else 's'}"


def _load(module: str, name: str, word: str, kind: str) -> Any:
    shown = quoted(word)
    if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise JaxattrError(f"{shown} names no {kind}; write package.module:function.")
    try:
        found: Any = import_module(module)
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or "no reason given"
        raise JaxattrError(
            f"{shown}: {module} cannot be imported ({type(error).__name__}: {reason}); write "
            "package.module:function, of a package that is installed or lies in this folder."
        ) from error
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise JaxattrError(f"{shown}: {module} has no function {name}; write its name.")
    return found


def full_name(function: Callable[..., Any]) -> str:
    """`module:name` of a function, with the options of a `functools.partial`."""
    if isinstance(function, functools.partial):
        options = [*map(repr, function.args), *(f"{k}={v!r}" for k, v in function.keywords.items())]
        return f"{full_name(function.func)}({', '.join(options)})"
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def digest(function: Callable[..., Any]) -> str:
    """What identifies a function of one's own: its full name and its source file, as hex digits.

    A changed file is another function, also where another part of it was changed; what the file
    imports is not looked at. Without a file, as in an interpreter, it is the name alone.
    """
    whole = hashlib.sha256(full_name(function).encode())
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = inspect.unwrap(inner)
    try:
        file = inspect.getsourcefile(inner if hasattr(inner, "__code__") else type(inner))
        whole.update(Path(file or "").read_bytes())
    except (TypeError, OSError):
        pass
    return whole.hexdigest()[:16]
