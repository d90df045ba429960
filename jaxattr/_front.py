"""Packages that are called: `jaxattr.audit(...)` where `jaxattr.audit` is a package.

Importing any of its modules sets a package as an attribute of its parent, so that a function of the
same name would be found or not by what was imported before. A package that is itself callable is
the same whatever the order.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package that is called as one of its functions, which is imported when it is needed."""

    function_path: str
    """`module:function`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _function(self)(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_function(self))

    @property
    def __doc__(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return _function(self).__doc__


def make_callable(package: str, function: str) -> None:
    """Let a package be called as `function` (`module:name`); for the package's own `__init__`."""
    module: Any = sys.modules[package]
    vars(module)["function_path"] = function
    module.__class__ = CallablePackage


def _function(package: CallablePackage) -> Callable[..., Any]:
    module, name = package.function_path.split(":")
    return getattr(import_module(module), name)
