"""What is attached to a function is found: in a package's files, by name, as an entry point."""

from __future__ import annotations

import functools
import importlib
import sys
from dataclasses import dataclass

import pytest

from jaxattr import losses, methods, metrics, registry
from jaxattr.errors import JaxattrError


@dataclass(frozen=True)
class Fact:
    word: str


@dataclass(frozen=True)
class Other:
    word: str


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `plugged` with two files, announced as an installed one announces its own."""
    folder = tmp_path / "plugged"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "_hidden.py").write_text("raise RuntimeError\n")
    (folder / "later.py").write_text(
        "from plugged.earlier import dim\n"
        "from jaxattr.metrics import metric\n\n\n"
        "@metric(id='flat-v3', better='lower')\n"
        "def flat(context):\n    return context.maps.std(axis=(1, 2))\n"
    )
    (folder / "earlier.py").write_text(
        "from jaxattr.methods import Cost, method\n\n\n"
        "@method(signed=False, cost=Cost(forward=1))\n"
        "def dim(model, image, loss):\n    return image.sum()\n\n\n"
        "def margin(first, second):\n    return lambda logits: logits[first] - logits[second]\n"
    )
    (tmp_path / "plugged-1.dist-info").mkdir()
    (tmp_path / "plugged-1.dist-info" / "METADATA").write_text("Name: plugged\nVersion: 1\n")
    (tmp_path / "plugged-1.dist-info" / "entry_points.txt").write_text(
        "[jaxattr.methods]\nplugged-dim = plugged.earlier:dim\n"
        "[jaxattr.metrics]\nplugged-flat = plugged.later:flat\n"
        "[jaxattr.losses]\nplugged-margin = plugged.earlier:margin\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("plugged")
    for name in [name for name in sys.modules if name.split(".")[0] == "plugged"]:
        del sys.modules[name]


def test_a_new_file_is_found_by_what_its_function_carries(package) -> None:
    (dim,) = registry.discover("plugged", package.__path__, methods.Method)
    assert (dim.name, dim.signed, str(dim.cost)) == ("dim", False, "1F")
    (flat,) = registry.discover("plugged", package.__path__, metrics.Metric)
    assert (flat.id, flat.name, flat.better) == ("flat-v3", "flat", "lower")


def test_a_package_announces_its_own(package) -> None:
    assert methods.resolve("plugged-dim").name == "dim"
    assert metrics.resolve("plugged-flat").id == "flat-v3"
    assert losses.resolve("plugged-margin").of(0, 2)([3.0, 0.0, 1.0]) == 2
    assert losses.resolve("plugged-margin").classes == 2
    assert methods.resolve("plugged.earlier:dim") is methods.resolve("plugged-dim")
    with pytest.raises(JaxattrError, match="unknown loss plugged; choose from log-odds, logit,"):
        losses.resolve("plugged")


def test_a_record_is_of_one_kind() -> None:
    def function() -> None:
        pass

    assert registry.attached(function, Fact) is None
    assert registry.attach(function, Fact("a")) is function
    assert registry.attached(function, Fact) == Fact("a")
    assert registry.attached(function, Other) is None


class Stateful:
    def __call__(self, model, image, loss):
        return image


def test_a_function_is_known_by_its_name_options_and_file(package) -> None:
    earlier = importlib.import_module("plugged.earlier")
    whole = registry.digest(earlier.dim)
    assert whole == registry.digest(earlier.dim)
    one, other = functools.partial(earlier.dim, a=1), functools.partial(earlier.dim, a=2)
    assert registry.full_name(one) == "plugged.earlier:dim(a=1)"
    digests = {whole, registry.digest(earlier.margin), registry.digest(one), registry.digest(other)}
    assert len(digests) == 4
    assert registry.full_name(Stateful()) == f"{__name__}:Stateful"
    assert registry.digest(Stateful()) == registry.digest(Stateful())
    without: dict = {}
    exec("def typed(model, image, loss):\n    return image", without)
    assert registry.digest(without["typed"]) == registry.digest(without["typed"])
