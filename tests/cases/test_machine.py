"""The command on machines as they are: devices, encodings, signals, and errors of the system."""

from __future__ import annotations

import codecs
import errno
import signal
import sys
import types
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from jaxattr.cli import main as cli
from jaxattr.cli.common import options, output, process


def no_device(error):
    def devices():
        raise error

    return types.SimpleNamespace(devices=devices)


@pytest.mark.parametrize("variable", ["JAX_PLATFORMS", "JAX_PLATFORM_NAME"])
@pytest.mark.parametrize(
    "error",
    [AssertionError(), RuntimeError("Backend 'foo' is not in the list (set JAX_PLATFORMS='')\n")],
    ids=["silent", "said"],
)
def test_a_device_that_is_not_there_is_named_with_what_to_set(monkeypatch, variable, error):
    for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(cli.Failure, match=r"JAX finds no device .*set JAX_PLATFORMS=cpu"):
        options._find_devices(no_device(error))
    monkeypatch.setenv(variable, "cuda")
    with pytest.raises(cli.Failure) as failed:
        options._find_devices(no_device(error))
    assert failed.value.message.startswith(f"{variable}=cuda: JAX finds no such device")
    assert f"set {variable}=cpu, or unset it" in failed.value.message
    assert "\n" not in failed.value.message
    assert failed.value.exit_code == 2


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", "3 x 4 - > . cafe \\u732b \\u1f600 \\udcff"),
        ("cp1252", "3 × 4 – > · café \\u732b \\u1f600 \\udcff"),
        ("cp437", "3 x 4 - ≥ · café \\u732b \\u1f600 \\udcff"),
        ("utf-8", "3 × 4 – ≥ · café 猫 😀 \\udcff"),
    ],
)
def test_characters_that_a_stream_cannot_show_are_replaced(encoding, expected):
    codecs.register_error("test", process._spell)
    text = "3 × 4 – ≥ · café 猫 😀 \udcff"
    shown = text.encode(encoding, "test").decode(encoding)
    assert shown == expected


def test_a_terminal_obeys_no_name():
    text = "a\tb\n猫 é \u200d \x1b[2J\r\x07\x9b \u202e \u2028 \udcff"
    shown = process.printable(text)
    assert shown == "a\tb\n猫 é \u200d \\x1b[2J\\r\\x07\\x9b \\u202e \\u2028 \\udcff"
    assert process.one_line("a\tb\n\r") == "a\\tb\\n\\r"


def test_a_files_name_takes_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (96, 96), "red").save("a\nb\x1b.png")
    Path("c\nd.png").touch()
    done = CliRunner().invoke(cli.main, ["explain", "a\nb\x1b.png", "c\nd.png", "-f", "json", "-q"])
    assert done.exit_code == 2
    assert done.stdout.splitlines()[0] == "a\\nb\\x1b.png"
    assert done.stderr.startswith("Error: 'c\\nd.png': is empty")
    assert len(done.stderr.splitlines()) == 1


def test_a_class_name_takes_one_cell_of_a_table(capsys):
    rows = [("a\x1b[2Jb", "1"), ("g\nh", "2"), ("c\rd", "3")]
    output.show(output.table(("class", "index"), rows, left=1))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "class      index",
        "a\\x1b[2Jb      1",
        "g\\nh           2",
        "c\\rd           3",
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError("Unable to allocate 9 GiB"), "out of memory (Unable to allocate 9 GiB); pass"),
        (RecursionError("maximum depth"), "nested too deeply"),
        (OverflowError("int too large"), "a number is too large"),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal"), "a name or a text cannot be"),
        (RuntimeError("can't start new thread"), "smaller --workers"),
        (ImportError("libx.so: no such file"), "a package cannot be imported (libx.so: no such"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), "a name is too long (x); choose"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open; raise"),
        (type("JaxRuntimeError", (RuntimeError,), {})("INTERNAL: x"), "the device failed (INTERN"),
        (ValueError("label \x1b[2J\x07 is none"), "label \\x1b[2J\\x07 is none"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_fault_of_the_program_is_not_called_one(error, expected):
    line = cli.describe(error)
    assert expected in line
    assert "\n" not in line
    assert "report it" not in line


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_a_command_that_is_nearly_right_is_named(name):
    with pytest.raises(click.UsageError, match=f"Did you mean .*{name}"):
        cli.main.resolve_command(click.Context(cli.main), [name[:2] + name[3:]])


@pytest.fixture
def ended(monkeypatch):
    """The exit code of `Signals`, which ends the process, as an exception."""

    def end(code):
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", end)
    monkeypatch.setattr("os.write", lambda descriptor, data: None)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 2), (signal.SIGTERM, 143)])
def test_the_first_signal_is_an_exception_and_the_second_the_end(ended, number, code):
    signals = process.Signals()
    with pytest.raises(SystemExit, match=str(code)):  # nothing runs that could be put in order
        signals._handle(number, None)
    signals = process.Signals()
    signals.running = True
    with pytest.raises(KeyboardInterrupt):
        signals._handle(number, None)
    assert signals.code == code
    with pytest.raises(SystemExit, match=str(code)):
        signals._handle(number, None)


def test_a_signal_waits_for_an_import(monkeypatch, tmp_path):
    signals, sent = process.Signals(), []
    signals.running = True
    monkeypatch.setattr(signals, "_send_again", sent.append)
    (tmp_path / "imported_now.py").write_text("import sys\nsys.handle(2, sys._getframe())\n")
    monkeypatch.setattr(sys, "handle", signals._handle, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    import imported_now  # noqa: F401  # pyright: ignore

    assert sent == [2]
    assert signals.received is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ImportError("torn"), click.Abort()])
def test_whatever_a_library_makes_of_a_signal_it_is_an_interrupt(monkeypatch, error):
    @click.command()
    @click.pass_obj
    def explain(signals):
        signals.received = signal.SIGTERM
        raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: explain)
    with pytest.raises(cli.Interrupted) as found:
        cli.main.main(["explain"], standalone_mode=False)
    assert found.value.message == "interrupted; files written so far are complete."
