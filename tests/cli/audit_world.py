"""What the tests of `jaxattr audit` share: a small model, photos, and a way to run the command."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from jaxattr.checkpoints import native
from jaxattr.cli.audit import command as command
from jaxattr.cli.common import options
from jaxattr.cli.main import main
from jaxattr.vit import Preprocessing

LABELS = ("red fox", "wolf", "lynx", "brown bear", "beaver")
COMMAND = (sys.executable, "-m", "jaxattr.cli", "audit")
RESULTS = ("run.json", "findings.json", "findings.csv", "report.html")


@pytest.fixture(scope="module")
def model(tiny_model):
    return replace(tiny_model, labels=LABELS, preprocessing=Preprocessing((8, 12)), name="tiny")


@pytest.fixture(scope="module")
def world(model, tmp_path_factory):
    """A model file and a folder of 5 x 31 photos: three shards."""
    folder = tmp_path_factory.mktemp("audit")
    native.save(model, folder / "model.safetensors")
    _photos(folder / "photos", 31)
    return folder


def _photos(folder: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (16, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number:04d}.png")


@pytest.fixture
def run(world, tmp_path, monkeypatch):
    """Run the command in this process, in a fresh folder."""
    monkeypatch.setattr(options, "prepare_jax", lambda dtype="float32": None)
    monkeypatch.setattr(command, "prepare_jax", lambda dtype="float32": None)
    monkeypatch.chdir(tmp_path)

    def run(*words, model=world / "model.safetensors", images=world / "photos"):
        line = ["audit", "--model", str(model), "--images", str(images), *map(str, words)]
        return CliRunner().invoke(main, line)

    return run


def one_line(result, *parts: str) -> None:
    """Exit code 2, and one error line that holds all parts."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    for part in parts:
        assert part in lines[0], lines[0]


@pytest.fixture(scope="module")
def finished(world):
    """An uninterrupted audit, in a process of its own."""
    done = run_process(world, world / "whole")
    assert done.returncode == 0, done.stderr
    return world / "whole"


def arguments(world: Path, output: Path) -> list[str]:
    words = ["--model", world / "model.safetensors", "--images", world / "photos"]
    return [*COMMAND, *map(str, words), "--output", str(output), "--batch-size", "4"]


def run_process(world: Path, output: Path, **options):
    return subprocess.run(arguments(world, output), capture_output=True, text=True, **options)


def contents(folder: Path) -> dict[str, bytes]:
    files = [folder / name for name in RESULTS] + sorted((folder / "ledger").iterdir())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
