"""`jaxattr rewrite`: the file that is written has the class, and every bad input is one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import jaxattr
from jaxattr import losses
from jaxattr.checkpoints import native
from jaxattr.cli.common import interrupt as waiting
from jaxattr.cli.common import options
from jaxattr.cli.main import main
from jaxattr.cli.rewrite import run as rewriting
from jaxattr.data import images
from jaxattr.experiments.distances import distances
from jaxattr.methods import METHODS
from jaxattr.vit import Model, Preprocessing

LABELS = ("n02119022 red fox, Vulpes vulpes", "wolf", "lynx", "brown bear", "beaver")
SHORT = ("red fox", *LABELS[1:])
# The second one resizes the shorter side and crops: the file must carry what is cropped off.
PREPROCESSING = {"plain": Preprocessing((8, 12)), "crop": Preprocessing(10, (8, 12))}


@pytest.fixture(scope="module")
def models(tiny_model):
    """One of the tiny model's layers, which is quicker to compile."""
    config = replace(tiny_model.config, layers=1)
    parameters = {
        k: v for k, v in tiny_model.parameters.items() if k not in ("blocks_1", "blocks_2")
    }
    return {
        name: Model(parameters, config, LABELS, how, "tiny") for name, how in PREPROCESSING.items()
    }


@pytest.fixture
def run(models, tmp_path, monkeypatch):
    """Run the command in a fresh folder with a photo and a model, and return its result."""
    monkeypatch.setattr(options, "prepare_jax", lambda dtype="float32": None)
    monkeypatch.chdir(tmp_path)
    for name, model in models.items():
        native.save(model, tmp_path / f"{name}.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")

    def run(*arguments, model="plain"):
        words = ["rewrite", "photo.png", "--model", f"{model}.safetensors", *map(str, arguments)]
        return CliRunner().invoke(main, words)

    return run


def classify(model, path):
    array = images.preprocess(path, model.preprocessing)
    return np.asarray(jax.jit(jaxattr.predict)(model, array)), array


def classes(model):
    """The photo's class, and the second most probable one."""
    logits, _ = classify(model, "photo.png")
    order = np.argsort(-logits)
    return int(order[0]), int(order[1])


@pytest.mark.parametrize("name", ["plain", "crop"])
def test_the_decoded_file_has_the_class(run, models, name):
    model = models[name]
    old, new = classes(model)
    words = ["--margin", 0.1, "--learning-rate", 1, "-f", "json", "-f", "png"]
    result = run("--to", new, *words, model=name)
    assert result.exit_code == 0, result.stderr
    short = SHORT[new].replace(" ", "_")
    stem = f"jaxattr-rewrite/photo-as-{short}"
    assert result.stdout.splitlines()[-3:] == [
        f"  {stem}.png",
        f"  {stem}-comparison.json",
        f"  {stem}-comparison.png",
    ]
    logits, array = classify(model, f"{stem}.png")
    assert logits.argmax() == new
    assert logits[new] - np.delete(logits, new).max() > 0.099
    with Image.open(f"{stem}.png") as picture:
        assert picture.size == ((12, 8) if name == "plain" else (15, 10))
        assert picture.mode == "RGB"

    found = json.loads(Path(f"{stem}-comparison.json").read_text())
    assert (found["from"], found["to"], found["reached"]) == (old, new, True)
    np.testing.assert_allclose(found["logits_after"], logits, atol=1e-5)
    before, original = classify(model, "photo.png")
    np.testing.assert_allclose(found["logits_before"], before, atol=1e-5)
    first, second = (images.denormalize(one, model.preprocessing) for one in (original, array))
    expected = distances(first, second)._asdict()
    assert found["distances"] == pytest.approx(expected)
    complete = jax.jit(METHODS["complete"].function)
    for one, pixels in zip(found["maps"], (original, array), strict=True):
        right = complete(model, pixels, losses.difference(old, new))
        np.testing.assert_allclose(one, right, rtol=1e-3, atol=1e-4)
    assert f"L-infinity {expected['linf']}, L2 {expected['l2']:.1f}" in result.stdout
    with Image.open(f"{stem}-comparison.png") as picture:
        assert picture.width > 1000


def test_masks_of_the_photos_or_the_models_size(run, models):
    model = models["plain"]
    _, new = classes(model)
    left = np.zeros((20, 30), np.uint8)
    left[:, :15] = 255
    Image.fromarray(left).save("large.png")
    top = np.zeros((8, 12), np.uint8)
    top[:4] = 255
    Image.fromarray(top).save("small.png")
    words = ["--inside", "large.png", "--outside", "small.png", "--margin", 0.01]
    result = run("--to", new, *words, "--learning-rate", 2, "--loss", "lead", "-f", "json")
    assert result.exit_code in (0, 1), result.stderr
    picture = Path(result.stdout.splitlines()[-2].strip())
    change = np.asarray(Image.open(picture)).astype(int) - images.fit(
        images.decode("photo.png"), model.preprocessing
    )
    allowed = np.zeros((8, 12), bool)
    allowed[4:, :6] = True
    assert (change[~allowed] == 0).all()
    assert (change[allowed] != 0).any()


def test_the_budget_search_says_the_smallest(run, models):
    _, new = classes(models["plain"])
    words = ["--to", new, "--margin", 0.1, "--learning-rate", 1, "--steps", 60]
    result = run(*words, "--budget-search")
    assert result.exit_code == 0, result.stderr
    (line,) = [one for one in result.stdout.splitlines() if "smallest" in one]
    budget = int(line.split()[3])
    assert f"L-infinity {budget}: enough" in result.stderr
    assert run(*words, "--linf", budget).exit_code == 0
    if budget > 1:
        assert line.endswith(f"({budget - 1} failed)")
        result = run(*words, "--linf", budget - 1)
        assert result.exit_code == 1
        assert "not reached within 60 steps" in result.stderr


def test_a_budget_too_small_says_how_close_it_came(run, models):
    model = models["plain"]
    old, new = classes(model)
    result = run("--to", new, "--linf", 1, "--margin", 100, "--steps", 3)
    assert result.exit_code == 1
    assert result.stderr.count("\nError: ") == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: not reached within 3 steps: ")
    picture = Path(result.stdout.splitlines()[-2].strip())
    logits, _ = classify(model, picture)
    behind = np.delete(logits, new).max() - logits[new]
    assert f"is {behind:.2f} logits behind {SHORT[old]}" in last
    assert behind < classify(model, "photo.png")[0][old] - classify(model, "photo.png")[0][new]
    assert "a larger --linf or --l2" in last


@pytest.mark.parametrize("search", [False, True])
def test_ctrl_c_keeps_the_best_picture(run, models, monkeypatch, search):
    _, new = classes(models["plain"])
    calls = []
    real = waiting.interruptible

    def interrupt(function):
        calls.append(function)
        if len(calls) == 4:  # logits, the original, the first steps, and then
            raise KeyboardInterrupt
        return real(function)

    monkeypatch.setattr(rewriting, "interruptible", interrupt)
    words = ["--to", new, "--margin", 100, "--learning-rate", 1]
    result = run(*words, *(["--budget-search"] if search else []))
    assert result.exit_code == 2
    assert "Error: interrupted; the best picture so far is written to" in result.stderr
    picture = Path(result.stdout.splitlines()[-2].strip())
    before, after = (classify(models["plain"], path)[0] for path in ("photo.png", picture))
    assert after[new] - np.delete(after, new).max() > before[new] - np.delete(before, new).max()


def test_ctrl_c_before_anything_was_done(run, monkeypatch):
    def interrupt(function):
        raise KeyboardInterrupt

    monkeypatch.setattr(rewriting, "interruptible", interrupt)
    result = run("--to", "wolf")
    assert result.exit_code == 2
    assert result.stderr.endswith("Error: interrupted; files written so far are complete.\n")
    assert not list(Path("jaxattr-rewrite").iterdir())


def test_bad_input_is_one_line(run, models):
    old, new = classes(models["plain"])
    Image.new("L", (5, 5), 0).save("black.png")
    Image.fromarray(np.eye(5, dtype=np.uint8) * 255).save("wrong.png")
    left = np.zeros((8, 12), np.uint8)
    left[:, :6] = 255
    Image.fromarray(left).save("left.png")
    for words, message in (
        (["--to", old], "for this model already; choose another class."),
        (["--to", "unicorn"], "unknown class 'unicorn'"),
        (["--to", new, "--inside", "black.png"], "black.png marks no pixel"),
        (["--to", new, "--inside", "wrong.png"], "the mask is 5 x 5 pixels, the photo 30 x 20 and"),
        (["--to", new, "--inside", "gone.png"], "gone.png: no such image file"),
        (["--to", new, "--inside", "left.png", "--outside", "left.png"], "leave no pixel"),
        (["--to", new, "--linf", "0"], "0 is not in the range"),
        (["--to", new, "--l2", "0"], "0.0 is not in the range"),
        (["--to", new, "-o", "photo.png"], "photo.png"),
        ([], "Missing option '--to'"),
    ):
        result = run(*words)
        assert result.exit_code == 2, words
        assert message in result.stderr
        assert "Traceback" not in result.stderr
        assert result.stdout == ""
