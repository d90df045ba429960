"""The command as a process: its streams, and signals at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

COMMAND = (sys.executable, "-m", "jaxattr.cli")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals and descriptors")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "utf-16"])
@pytest.mark.parametrize("arguments", [["methods"], ["--help"], ["bench", "methods", "--help"]])
def test_every_encoding_can_show_it(encoding, arguments):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert len(done.stdout.decode(encoding)) > 1000


@pytest.mark.parametrize(
    ("closed", "code", "said"),
    [
        (">&-", 2, "Error: stdout is closed"),
        ("2>&-", 0, ""),
        ("<&-", 0, ""),
        (">/dev/full", 2, "Error: no space is left"),
        ("2>/dev/full", 0, ""),
    ],
)
def test_streams_that_are_closed_or_full(closed, code, said):
    line = f'"{sys.executable}" -m jaxattr.cli methods {closed}'
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == bool(said)


@pytest.mark.parametrize(
    ("number", "delay", "code"),
    [
        (signal.SIGINT, 0.2, 2),  # while it imports
        (signal.SIGINT, 3.0, 2),  # while it compiles and computes
        (signal.SIGTERM, 3.0, 143),
    ],
)
def test_a_signal_is_one_line_and_leaves_no_half_file(tmp_path, number, delay, code):
    arguments = ("compare", "scenes", "--methods", "all", "-q", "-o", str(tmp_path))
    process = subprocess.Popen([*COMMAND, *arguments], stdout=-1, stderr=-1, text=True)
    time.sleep(delay)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert stderr.count("\n") == 1 or "Warning" in stderr
    assert "Error: interrupted; " in stderr
    assert "Traceback" not in stderr
    assert not list(tmp_path.rglob("*.part"))


def test_two_signals_end_it_at_once(tmp_path):
    body = (
        "import click, time; from jaxattr.cli import main as cli\n"
        "@click.command()\n"
        "def explain():\n"
        "    said = 'ready'\n"
        "    while True:\n"
        "        try: click.echo(said), time.sleep(60)\n"  # a signal may fall between the two
        "        except KeyboardInterrupt: said = 'deaf'\n"
        "cli.LazyGroup.get_command = lambda *_: explain\n"
        "cli.main(['explain'])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", body], stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "deaf\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 2
    assert stderr == "Error: interrupted; files written so far are complete.\n"


def test_a_computation_that_does_not_listen_is_ended():
    body = (
        "import click, jax; from jaxattr.cli import main as cli\n"
        "@click.command()\n"
        "def explain():\n"
        "    click.echo('ready')\n"
        "    x = jax.numpy.eye(99)\n"
        "    jax.lax.fori_loop(0, 10**9, lambda i, x: x @ x, x).block_until_ready()\n"
        "cli.LazyGroup.get_command = lambda *_: explain\n"
        "cli.main(['explain'])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", body], stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert stderr == "Error: interrupted; files written so far are complete.\n"
