"""`jaxattr transfer`: files and table against the library, and bad input."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from click.testing import CliRunner
from PIL import Image, ImageSequence

from jaxattr import losses
from jaxattr.checkpoints import native
from jaxattr.cli.common import options
from jaxattr.cli.main import main
from jaxattr.cli.transfer import command as command
from jaxattr.data import images
from jaxattr.experiments.transfer import MAPS, schedule, transfer
from jaxattr.vit import Model, Preprocessing

LABELS = ("n02119022 red fox, Vulpes vulpes", "wolf", "lynx", "brown bear", "beaver")
FILES = {f"photo-wolf-transfer.{suffix}" for suffix in ("png", "gif", "webp", "csv", "svg")}


@pytest.fixture(scope="module")
def model(tiny_model):
    """One of the tiny model's layers, which is quicker to compile."""
    config = replace(tiny_model.config, layers=1)
    parameters = {
        k: v for k, v in tiny_model.parameters.items() if k not in ("blocks_1", "blocks_2")
    }
    return Model(parameters, config, LABELS, Preprocessing((8, 12)), "tiny")


@pytest.fixture
def run(model, tmp_path, monkeypatch):
    """Run the command in a fresh folder with a photo and a model, and return its result."""
    monkeypatch.setattr(options, "prepare_jax", lambda dtype="float32": None)
    monkeypatch.chdir(tmp_path)
    native.save(model, tmp_path / "model.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")

    def run(*arguments, image="photo.png"):
        words = ["transfer", image, "--model", "model.safetensors", *map(str, arguments)]
        return CliRunner().invoke(main, words)

    return run


def test_names_that_help_repeats():
    assert set(command.METHODS) == set(MAPS)


def test_the_files_and_the_table(run, model):
    words = ["-t", "wolf", "--show", "wolf", "--show", "beaver", "--steps", 12, "--every", 5]
    formats = [word for name in FILES for word in ("-f", name.rpartition(".")[2])]
    result = run(*words, "--learning-rate", 0.05, *formats)
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in Path("jaxattr-transfer").iterdir()} == FILES
    array = images.preprocess("photo.png", model.preprocessing)
    shown = losses.target_logit(np.array([1, 4]))
    expected = jax.jit(transfer, static_argnames="optimizer")(
        model,
        array,
        losses.target_logit(1),
        schedule(12, 5),
        explain=shown,
        optimizer=optax.sgd(0.05),
    )
    lines = result.stdout.splitlines()
    assert lines[1].split() == ["step", "first", "wolf", "beaver", "moved"]
    assert [int(line.split()[0]) for line in lines[2:6]] == [0, 5, 10, 12]
    assert float(lines[5].split()[-3]) == pytest.approx(float(expected.logits[3, 1]), abs=1e-3)

    with open("jaxattr-transfer/photo-wolf-transfer.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["step"]), row["class"]) for row in rows] == [
        (step, name) for step in (0, 5, 10, 12) for name in ("wolf", "beaver")
    ]
    for number, row in enumerate(rows):
        frame, place = divmod(number, 2)
        one, index = np.asarray(expected.maps[frame, place]), (1, 4)[place]
        logits = np.asarray(expected.logits[frame])
        powers = np.exp(logits - logits.max())
        values = {
            "logit": logits[index],
            "probability": powers[index] / powers.sum(),
            "positive": one[one > 0].sum(),
            "negative": -one[one < 0].sum(),
            "moved": expected.moved[frame].mean(),
            "moved_layer_0": expected.moved[frame, 0],
        }
        for name, value in values.items():
            assert float(row[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-5), name
    assert float(rows[-2]["logit"]) > float(rows[0]["logit"])

    for suffix in ("gif", "webp"):
        with Image.open(f"jaxattr-transfer/photo-wolf-transfer.{suffix}") as picture:
            assert len(ImageSequence.all_frames(picture)) == 4
            assert picture.info["loop"] == 0
            picture.seek(3)
    with Image.open("jaxattr-transfer/photo-wolf-transfer.png") as picture:
        assert picture.width > 800


def test_lowering_scores_with_adam(run):
    words = ["--direction", "lower", "--parameters", "scores", "--optimizer", "adam"]
    result = run(*words, "--steps", 3, "--learning-rate", 0.1, "-f", "csv", "--quiet")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    (path,) = Path("jaxattr-transfer").iterdir()
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["step"] in "03"]
    assert len({row["class"] for row in rows}) == 2
    assert float(rows[2]["logit"]) < float(rows[0]["logit"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-t", "unicorn"], "unknown class 'unicorn'"),
        (["--show", "9"], "class index 9 is not between 0 and 4"),
        (["--steps", "0"], "0 is not in the range"),
        (["--every", "0"], "0 is not in the range"),
        (["--learning-rate", "1e38"], "the logits are not numbers any more; lower --learning-rate"),
        (["-o", "photo.png"], "photo.png"),
    ],
)
def test_bad_input_is_one_line(run, words, message):
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_missing_photo_and_an_interrupt(run, monkeypatch):
    result = run(image="nowhere.png")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("Error: nowhere.png: no such image file\n")

    def interrupt(function):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "interruptible", interrupt)
    result = run()
    assert result.exit_code == 2
    assert result.stderr.endswith("Error: interrupted; files written so far are complete.\n")
    assert not list(Path("jaxattr-transfer").iterdir())
