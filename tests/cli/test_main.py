"""The group: lazy, quick, and every exception one line with exit code 2."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner

from jaxattr.cli import main as cli
from jaxattr.cli.common import options
from jaxattr.errors import ImageError

COMMAND = (sys.executable, "-m", "jaxattr.cli")


def run(*arguments, **kwargs):
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, **kwargs
    )


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; from jaxattr.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'jax', 'transformers', 'matplotlib', 'numpy', 'flax', 'PIL', 'rich', 'pyarrow'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    seconds, done = [], None
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
    assert done is not None
    assert "explain" in done.stdout
    assert min(seconds) < 0.5


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_a_commands_help_imports_no_jax_and_says_what_the_table_says(name):
    code = (
        "import sys, click; from jaxattr.cli.main import COMMANDS, main\n"
        f"command = main.get_command(click.Context(main), {name!r})\n"
        f"assert command.get_short_help_str(200) == COMMANDS[{name!r}].help, "
        "command.get_short_help_str(200)\n"
        f"try: main([{name!r}, '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'jax', 'transformers', 'matplotlib', 'numpy', 'rich', 'pyarrow'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage:")


def test_version_is_the_installed_one():
    from importlib.metadata import version

    assert run("--version").stdout == f"jaxattr {version('jaxattr')}\n".replace(
        "jaxattr", "python -m jaxattr.cli", 1
    )


def test_unknown_command_is_a_usage_error():
    done = run("exlpain")
    assert done.returncode == 2
    assert "No such command" in done.stderr
    assert done.stdout == ""


@pytest.fixture
def failing(monkeypatch):
    """Run `jaxattr explain` with a command that raises, and return its result."""

    def invoke(error, **environment):
        @click.command()
        def explain():
            raise error

        monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: explain)
        return CliRunner().invoke(cli.main, ["explain"], env=environment)

    return invoke


JaxRuntimeError = type("JaxRuntimeError", (RuntimeError,), {})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ImageError("a.jpg is empty;\n give a photo."), "a.jpg is empty; give a photo."),
        (ValueError("start_layer is 9"), "start_layer is 9"),
        (OSError(errno.ENOSPC, "No space left on device", "out/a.png"), "no space is left"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "not permitted (out)"),
        (OSError(errno.EROFS, "Read-only file system", "out"), "not permitted (out)"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), "No such file or"),
        (OSError("cannot identify image"), "cannot identify image"),
        (KeyboardInterrupt(), "interrupted; files written so far are complete."),
        (MemoryError(), "out of memory"),
        (
            JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 9 bytes"),
            "the device is out of memory (RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes)",
        ),
        (ModuleNotFoundError("No module named 'x'", name="x"), "the package x is not installed"),
        (TypeError("a\nb"), "internal error, TypeError: a b; JAXATTR_DEBUG=1"),
        (RuntimeError(), "internal error, RuntimeError: RuntimeError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_exception_is_one_line_and_exit_code_2(failing, error, expected):
    result = failing(error)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback(failing):
    result = failing(ValueError("bad"), JAXATTR_DEBUG="1")
    assert isinstance(result.exception, ValueError)
    assert failing(ValueError("bad"), JAXATTR_DEBUG="0").exit_code == 2


def test_usage_errors_and_own_exit_codes_pass_through(failing):
    assert failing(click.exceptions.Exit(1)).exit_code == 1
    result = failing(click.UsageError("choose one"))
    assert result.exit_code == 2
    assert "choose one" in result.stderr


def script(body):
    """A process whose command `explain` has this body."""
    return [
        sys.executable,
        "-c",
        "import click, time; from jaxattr.cli import main as cli\n"
        "@click.command()\n"
        f"def explain(): {body}\n"
        "cli.LazyGroup.get_command = lambda *_: explain\n"
        "cli.main(['explain'])\n",
    ]


def test_a_broken_pipe_is_quiet():
    body = "[click.echo('x' * 1000) for _ in range(1000)]"
    process = subprocess.Popen(script(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 128 + signal.SIGPIPE


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            script("click.echo('x')"), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no space is left on the disk" in done.stderr


def test_ctrl_c_is_one_line():
    body = "(click.echo('ready'), time.sleep(60))"
    process = subprocess.Popen(
        script(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 2
    assert stderr.strip().count("\n") == 0
    assert "interrupted; " in stderr


def test_a_ctrl_c_that_falls_into_a_callback_is_not_lost():
    body = (
        "(globals().update(X=type('X', (), {'__del__': lambda s: __import__('_thread')"
        ".interrupt_main() or [1 for _ in range(9)]})), X() and None, "
        "click.echo('on'), time.sleep(60))"
    )
    done = subprocess.run(script(body), capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stderr.strip() == "Error: interrupted; files written so far are complete."


@pytest.mark.parametrize(("text", "size"), [("384", 384), ("288x384", (288, 384)), ("7X9", (7, 9))])
def test_sizes(text, size):
    assert options.Size().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "x", "0", "-3", "3x", "1x2x3", "big"])
def test_bad_sizes_are_usage_errors(text):
    with pytest.raises(click.UsageError, match="is not a size"):
        options.Size().convert(text, None, None)


CACHE = """
import jax
from jaxattr.cli.common.options import prepare_jax
prepare_jax()
jax.jit(lambda x: x * 3 + 1)(2.0)
print(jax.config.jax_compilation_cache_dir)
"""


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"JAX_COMPILATION_CACHE_DIR": "{}/own"}, "own"),
        ({"JAXATTR_CACHE": "{}/ours"}, "ours/xla"),
        ({"XDG_CACHE_HOME": "{}/xdg"}, "xdg/jaxattr/xla"),
        ({"JAXATTR_CACHE": "/dev/null/nowhere"}, None),
    ],
    ids=["jax", "jaxattr", "xdg", "not writable"],
)
def test_the_compilation_cache_is_where_it_should_be(tmp_path, variables, folder):
    kept = {k: v for k, v in os.environ.items() if "CACHE" not in k}
    environment = kept | {k: v.format(tmp_path) for k, v in variables.items()}
    done = subprocess.run(
        [sys.executable, "-c", CACHE], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.strip() == (str(tmp_path / folder) if folder else "None")
    if folder:
        assert any((tmp_path / folder).iterdir())
