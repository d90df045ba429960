"""`jaxattr methods`: the table, for people and for programs."""

from __future__ import annotations

import csv
import io
import json

from click.testing import CliRunner

from jaxattr.cli.main import main
from jaxattr.methods import METHODS


def listed(*arguments):
    done = CliRunner().invoke(main, ["methods", *arguments])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_every_method_is_listed_with_its_facts():
    found = json.loads(listed("-f", "json"))
    assert [one["name"] for one in found] == list(METHODS)
    for one in found:
        method = METHODS[one["name"]]
        assert (one["signed"], one["target"]) == (method.signed, method.target_dependent)
        assert (one["cost"], one["source"]) == (str(method.cost), method.source)


def test_the_formats_say_the_same():
    table = list(csv.DictReader(io.StringIO(listed("-f", "csv"))))
    lines = listed().splitlines()
    assert len(lines) == len(table) + 1
    for line, row in zip(lines[1:], table, strict=True):
        assert line.split()[:3] == [row["name"], row["signed"], row["target"]]
        assert line.endswith(row["equals"])
