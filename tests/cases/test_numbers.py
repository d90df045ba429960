"""Numbers on the command line: finite, within what is possible, and refused by name before work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner

from jaxattr.cli.common import options
from jaxattr.cli.main import COMMANDS, Failure, main


def commands(group: Any = main, path: tuple[str, ...] = ()) -> Iterator[Any]:
    """Every command with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))
        else:
            yield (*path, name), found


EVERY = list(commands())


def given(kind):
    return [
        pytest.param(words, one, id=f"{' '.join(words)} {one.opts[-1]}")
        for words, command in EVERY
        for one in command.params
        if isinstance(one.type, kind)
    ]


def invoke(words, *arguments):
    """Run with something for each required argument, so that only the number can be wrong."""
    command = dict(EVERY)[words]
    needed = ["x" for one in command.params if one.required and isinstance(one, click.Argument)]
    needed += [
        part
        for one in command.params
        if one.required and isinstance(one, click.Option)
        for part in (one.opts[0], "x")
    ]
    return CliRunner().invoke(main, [*words, *needed, *arguments])


def test_every_command_is_here():
    assert {words[0] for words, _ in EVERY} == set(COMMANDS)
    for words, _ in EVERY:
        assert "Examples:" in CliRunner().invoke(main, [*words, "--help"]).stdout, words


@pytest.mark.parametrize(("words", "option"), given(click.types.FloatParamType))
def test_a_number_that_is_not_finite_is_refused_by_name(words, option):
    assert isinstance(option.type, options.Finite)
    for text in ("nan", "inf", "-inf", "1e999", "NaN"):
        done = invoke(words, f"{option.opts[-1]}={text}")
        assert done.exit_code == 2
        assert f"'{option.opts[-1]}'" in done.stderr


@pytest.mark.parametrize(("words", "option"), given(click.types.IntParamType))
def test_a_count_has_bounds(words, option):
    assert isinstance(option.type, click.IntRange)
    assert option.type.min is not None
    if option.name == "limit":  # of as many images as there are
        return
    assert option.type.max is not None
    for text in ("-1", "1.5", "9" * 30, "nan"):
        done = invoke(words, f"{option.opts[-1]}={text}")
        assert done.exit_code == 2
        assert option.opts[-1] in done.stderr


@pytest.mark.parametrize(
    ("words", "arguments", "said"),
    [
        (("audit",), ["--batch-size", "99999999"], "at most 4096"),
        (("audit",), ["--batch-size", "0"], "not a batch size"),
        (("audit",), ["--image-size", "100000"], "larger than 8192"),
        (("bench", "audit"), ["--rates", "nan"], "not a list of shares"),
        (("bench", "perturbation"), ["--fractions", "0,nan"], "not a list of at most 200"),
        (("bench", "perturbation"), ["--fractions", "0,inf"], "not a list of at most 200"),
        (("transfer",), ["--steps", "100000", "--every", "1"], "--every 200"),
        (("scenes",), ["--defects", "noise:nan"], "out of range"),
    ],
)
def test_other_numbers_are_checked_before_any_work(words, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke(words, *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


def test_attention_larger_than_the_memory_is_refused(monkeypatch):
    from jaxattr.checkpoints import load

    monkeypatch.setattr(options, "_memory", lambda: 16_000_000_000)
    options.check_fits(load("scenes", image_size=384))
    with pytest.raises(Failure, match=r"1024 x 2048 pixels are 32769 tokens.* 34 GB .*16 GB"):
        options.check_fits(load("scenes", image_size=(1024, 2048)))
