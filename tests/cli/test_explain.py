"""`jaxattr explain`: numbers against the library called by hand, files, words, bad input."""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import outside
from PIL import Image
from seen import Seen, values

from jaxattr import losses
from jaxattr.checkpoints import native
from jaxattr.cli.common import names, options, output
from jaxattr.cli.explain import command as command
from jaxattr.cli.main import main
from jaxattr.data import images
from jaxattr.data.photos import visible
from jaxattr.methods import METHODS
from jaxattr.plot import figures
from jaxattr.vit import Model, Preprocessing

LABELS = ("n02119022 red fox, Vulpes vulpes", "wolf", "lynx", "brown bear", "beaver")
SHORT = ("red fox", *LABELS[1:])


@pytest.fixture(scope="module")
def model(tiny_model):
    """One of the tiny model's layers, which is quicker to compile."""
    config = replace(tiny_model.config, layers=1)
    parameters = {
        k: v for k, v in tiny_model.parameters.items() if k not in ("blocks_1", "blocks_2")
    }
    return Model(parameters, config, LABELS, Preprocessing((8, 12)), "tiny")


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """A model file and a folder of five photos."""
    folder = tmp_path_factory.mktemp("explain")
    native.save(model, folder / "model.safetensors")
    (folder / "photos").mkdir()
    random = np.random.default_rng(0)
    for number in range(5):
        pixels = random.integers(0, 256, (20 + number, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"p{number}.png")
    return folder


@pytest.fixture
def run(files, tmp_path, monkeypatch):
    """Run the command in a fresh folder, and return its result."""
    monkeypatch.setattr(options, "prepare_jax", lambda dtype="float32": None)
    monkeypatch.setattr(command, "_CHUNK", 2)  # five photos: three batches, the last filled up
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model=files / "model.safetensors"):
        words = ["explain", "--model", str(model), *map(str, arguments)]
        return CliRunner().invoke(main, words)

    return run


def photo(files, number=0):
    return files / "photos" / f"p{number}.png"


def by_hand(model, path, loss, method="conservative"):
    """One image without any batching: its logits, and the map of a loss."""
    image = jnp.asarray(images.preprocess(path, model.preprocessing))
    logits, one = compute(model, image, loss, method)
    return np.asarray(logits), np.asarray(one)


@partial(jax.jit, static_argnums=3)
def compute(model, image, loss, method):
    return model.forward(image)[0], METHODS[method].function(model, image, loss)


def test_names_that_help_repeats():
    assert set(names.METHODS.choices) == set(METHODS)
    assert names.LOSSES.choices == losses.NAMES
    logits = jnp.array([2.0, 4.0, -1.0])
    values = {name: float(losses.named(name)(0, 1)(logits)) for name in losses.NAMES}
    assert values.pop("log-odds") == pytest.approx(2 - np.log(np.exp(4) + np.exp(-1)), 1e-6)
    assert values == {"logit": 2.0, "difference": -2.0, "relative": -1.0, "ratio": 0.5}


def test_the_table_and_the_picture(run, files, model):
    result = run(photo(files))
    assert result.exit_code == 0, result.stderr
    logits = by_hand(model, photo(files), losses.target_logit(0))[0]
    probabilities = np.asarray(jax.nn.softmax(jnp.asarray(logits)))
    lines = result.stdout.splitlines()
    assert lines[0] == str(photo(files))
    for rank, line in enumerate(lines[2:7]):
        index = int(np.argsort(-logits)[rank])
        words = line.split()
        assert words[0] == str(rank + 1)
        assert SHORT[index] in line
        assert int(words[-4]) == index
        assert float(words[-2]) == pytest.approx(probabilities[index], abs=6e-5)
        assert float(words[-1]) == pytest.approx(logits[index], abs=6e-4)
    best = SHORT[int(logits.argmax())].replace(" ", "_")
    assert lines[7] == f"  jaxattr-explain/p0-{best}.png"
    with Image.open(lines[7].strip()) as picture:
        assert picture.width > 800
    assert list(Path("jaxattr-explain").iterdir()) == [Path(lines[7].strip())]
    assert "preprocessing: resize to 8 x 12 (bilinear), mean 0.5 0.5 0.5" in result.stderr.lower()


@pytest.mark.parametrize("method", ["complete", "rollout"])
def test_raw_maps_of_a_folder_are_the_methods(run, files, model, method):
    result = run(files / "photos", "-t", "top2", "-t", "wolf", "-f", "npz", "--method", method)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("photos/p") == 5
    for number in range(5):
        with np.load(f"jaxattr-explain/p{number}.npz", allow_pickle=False) as found:
            logits, _ = by_hand(model, photo(files, number), losses.target_logit(0))
            np.testing.assert_allclose(found["logits"], logits, rtol=1e-4, atol=1e-5)
            expected = dict.fromkeys([1, *np.argsort(-logits)[:2].tolist()])
            assert found["classes"].tolist() == list(expected)
            assert found["against"].tolist() == [-1] * len(expected)
            assert found["labels"].tolist() == list(SHORT)
            for class_, one in zip(found["classes"], found["maps"], strict=True):
                loss = losses.log_odds(int(class_))
                correct = by_hand(model, photo(files, number), loss, method)[1]
                np.testing.assert_allclose(one, correct, atol=1e-4 * np.abs(correct).max())


def test_views_are_averaged_and_said(run, files, model):
    words = "-t", "lynx", "--views", "2", "-f", "npz", "-f", "svg"
    result = run(photo(files), *words)
    assert result.exit_code == 0, result.stderr
    image = jnp.asarray(images.preprocess(photo(files), model.preprocessing))
    loss, function = losses.log_odds(2), METHODS["conservative"].function
    both = function(model, image, loss), function(model, image[:, ::-1], loss)[:, ::-1]
    wanted = (both[0] + both[1]) / 2
    with np.load("jaxattr-explain/p0.npz", allow_pickle=False) as found:
        assert found["views"] == 2
        np.testing.assert_allclose(found["maps"][0], wanted, atol=1e-4 * np.abs(wanted).max())
    drawn = Path("jaxattr-explain/p0-lynx.svg").read_text()
    assert "method conservative, mean of 2 views" in drawn


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        (None, losses.difference),
        ("relative", losses.relative_difference),
    ],
)
def test_against_a_class(run, files, model, name, loss):
    words = ("--loss", name) if name else ()
    result = run(photo(files), "-t", "2", "--against", "Vulpes_vulpes", "-f", "json", *words)
    assert result.exit_code == 0, result.stderr
    found = json.loads(Path("jaxattr-explain/p0.json").read_text())
    assert (found["classes"], found["against"]) == ([2], [0])
    assert found["loss"] == (name or "difference")
    correct = by_hand(model, photo(files), loss(2, 0))[1]
    np.testing.assert_allclose(found["maps"][0], correct, atol=1e-4 * np.abs(correct).max())


def test_against_the_rival(run, files, model):
    result = run(files / "photos", "-t", "top5", "--against", "rival", "-f", "npz")
    assert result.exit_code == 0, result.stderr
    for number in range(5):
        with np.load(f"jaxattr-explain/p{number}.npz") as found:
            order = np.argsort(-found["logits"])
            assert found["classes"].tolist() == order.tolist()
            assert found["against"].tolist() == [order[1], *[order[0]] * 4]


def test_a_loss_that_does_not_guide_is_told_with_the_images_name(run, files, model):
    logits = [by_hand(model, photo(files, i), losses.target_logit(0))[0] for i in range(5)]
    guiding = {
        (a, b): [bool(losses.is_guiding(jnp.asarray(one), a, b)) for one in logits]
        for a in range(5)
        for b in range(a)
    }
    # A pair for which the ratio guides on some photos and not on others.
    (first, second), expected = max(guiding.items(), key=lambda item: len(set(item[1])))
    assert len(set(expected)) == 2, [one.tolist() for one in logits]
    words = ("-t", first, "--against", second, "-f", "json")
    result = run(files / "photos", *words, "--loss", "ratio", "--quiet")
    assert result.exit_code == 0
    warned = [f"p{i}.png: the logits of" in result.stderr for i in range(5)]
    assert warned == [not one for one in expected]


def test_many_images_and_classes_are_traced_once(run, files, monkeypatch):
    traces = []
    usual = METHODS["conservative"]

    def counting(*arguments):
        traces.append(1)
        return usual.function(*arguments)

    monkeypatch.setitem(METHODS, "conservative", replace(usual, function=counting))
    assert run(files / "photos", "-t", "top3", "-f", "json").exit_code == 0
    assert len(traces) == 1


def test_all_formats_and_together(run, files):
    formats = [word for name in command.FORMATS for word in ("-f", name)]
    result = run(photo(files), "-t", "top2", "--together", "--patches", *formats, "-o", "a/b")
    assert result.exit_code == 0, result.stderr
    found = sorted(path.name for path in Path("a/b").iterdir())
    assert found == [
        "p0-together.pdf",
        "p0-together.png",
        "p0-together.svg",
        "p0.json",
        "p0.npz",
    ]


def test_the_papers_colors(run, files):
    assert run(photo(files), "-t", "lynx", "--colors", "paper").exit_code == 0
    with Image.open("jaxattr-explain/p0-lynx.png") as picture:
        colors = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    for end in ([255, 0, 0], [0, 0, 255]):  # of the colour bar, over which no photo lies
        assert (np.abs(colors - end).max(axis=1) < 12).any()


def test_a_bad_image_among_good_ones(run, files, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    result = run(photo(files, 0), bad, photo(files, 1), "-t", "wolf", "--quiet")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert str(bad) in result.stderr
    assert "2 of 3 images are done" in result.stderr
    assert {path.name for path in Path("jaxattr-explain").iterdir()} == {
        "p0-wolf.png",
        "p1-wolf.png",
    }
    result = run(bad, tmp_path / "missing.png", "--quiet")
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["Warning", "Warning", "Error"]
    assert "bad.jpg" in lines[2]
    assert "missing.png" in lines[2]
    result = run(bad, "--quiet")
    assert (result.exit_code, result.stderr.count("\n"), result.stdout) == (2, 1, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-t", "wollf"], "wolf"),
        (["-t", "9"], "9"),
        (["-t", "top0"], "top0"),
        (["--against", "red foxx"], "red fox"),
        (["-t", "wolf", "--against", "WOLF"], "are the same class"),
        (["--loss", "ratio"], "add --against"),
        (["--loss", "logit", "--against", "wolf"], "one class"),
        (["-f", "gif"], "'gif' is not one of"),
        (["--method", "magic"], "'magic' is not one of"),
        (["--alpha", "3"], "is not in the range"),
        (["--image-size", "big"], "is not a size"),
    ],
)
def test_wrong_words(run, files, words, message):
    result = run(photo(files), *words)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
    assert result.stdout == ""


def test_wrong_places(run, files, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty")
    assert result.exit_code == 2
    assert "no image lies directly in this folder" in result.stderr
    (tmp_path / "file").write_text("")
    result = run(photo(files), "--output", tmp_path / "file" / "out")
    assert result.exit_code == 2
    assert "choose another --output" in result.stderr
    result = run(photo(files), model=tmp_path / "nowhere.safetensors")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_a_disk_that_fills_up_leaves_whole_files_only(run, files, monkeypatch):
    write_bytes, pictures = Path.write_bytes, []

    def failing(path, data):
        pictures.extend([path] if data.startswith(b"\x89PNG") else [])
        if len(pictures) == 2:
            write_bytes(path, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", failing)
    result = run(photo(files, 0), photo(files, 1), "-t", "wolf", "--quiet")
    assert result.exit_code == 2
    assert "no space is left on the disk (jaxattr-explain/p1-wolf.png)" in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in Path("jaxattr-explain").iterdir()] == ["p0-wolf.png"]


def test_names_of_files():
    assert output.slug("African elephant, Loxodonta/africana: $") == (
        "African_elephant_Loxodonta_africana"
    )
    assert output.slug("../..") == "unnamed"
    assert output.slug("斑馬") == "斑馬"
    paths = [Path(p) for p in ("a/x.png", "b/x.jpg", "c/X.png", "y.png", "d/x.png")]
    names = output.unique_names(paths)
    assert names == ["x.png", "x.jpg", "X.png-2", "y", "x.png-3"]


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing((64, 64)),
        Preprocessing(80, (64, 64)),
        Preprocessing(64, (64, 48)),
        Preprocessing((96, 80), (64, 64)),
        Preprocessing(64),
        Preprocessing(64, (96, 96)),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(150, 100), (100, 160)])
def test_the_photo_shown_is_what_the_model_sees(preprocessing, size):
    x, y = np.meshgrid(np.linspace(0, 6, size[0]), np.linspace(0, 5, size[1]))
    waves = np.stack([np.sin(x + y), np.cos(2 * y), np.sin(3 * x)], -1)
    image = Image.fromarray(np.rint(127 + 120 * waves).astype(np.uint8))
    seen = images.fit(image, preprocessing)
    shown = visible(image, preprocessing)
    shown = Image.fromarray(shown).resize(seen.shape[1::-1], Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(shown).astype(int) - seen).mean() < 3


@pytest.mark.outside
def test_the_real_model_on_the_demo_photos(tmp_path):
    """What the photos' first user measured: zebra on all five, bull mastiff .66, kite .84."""
    model, demo = outside("models", "vit-tiny-in1k"), outside("images", "demo")
    photos = [demo / f"{name}.png" for name in ("el1", "el2", "el3", "el4", "el5", "catdog")]
    photos.append(demo / "ILSVRC2012_val_00000073.jpeg")
    words = ["explain", *photos, "--model", model, "-f", "json", "-o", tmp_path]
    done = subprocess.run(
        [sys.executable, "-m", "jaxattr.cli", *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "mean 0.5 0.5 0.5" in done.stderr
    for path in photos:
        found = json.loads((tmp_path / f"{path.stem}.json").read_text())
        label = found["labels"][found["classes"][0]]
        powers = np.exp(np.array(found["logits"]))
        probability = powers.max() / powers.sum()
        if path.stem == "catdog":
            assert (label, round(probability, 2)) == ("bull mastiff", 0.66)
        elif path.stem.startswith("el"):
            assert label == "zebra"
        else:
            assert (label, round(probability, 2)) == ("kite", 0.84)
    shutil.rmtree(tmp_path)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that a command draws, as they are written."""
    found, encode = [], figures.encode

    def keep(figure, format):
        found.append(figure)
        return encode(figure, format)

    monkeypatch.setattr(figures, "encode", keep)
    return found


def test_the_picture_of_a_class_against_another_is_its_map_and_says_so(run, files, model, drawn):
    words = (
        "-t",
        "wolf",
        "--against",
        "lynx",
        "--alpha",
        0,
        "--patches",
        "-f",
        "png",
        "-f",
        "json",
    )
    assert run(photo(files), *words).exit_code == 0
    (content,) = (json.loads(one.read_text()) for one in Path("jaxattr-explain").glob("*.json"))
    seen = Seen(drawn[0])
    shown, picture = seen.pictures()
    one = np.array(content["maps"][0])
    found = values(seen.cells(picture, *one.shape), "diverging")
    np.testing.assert_allclose(found, one / np.abs(one).max(), atol=0.02)
    title, detail = (text for text, *_ in seen.words(picture)[:2])
    logits = by_hand(model, photo(files), losses.target_logit(0))[0]
    chances = np.asarray(jax.nn.softmax(jnp.asarray(logits)))
    assert title == "wolf against lynx"
    numbers = [float(one) for one in re.findall(r"-?\d+\.\d+", detail.replace("−", "-"))]
    expected = [chances[1], logits[1], chances[2], logits[2]]
    np.testing.assert_allclose(numbers, expected, rtol=0.01, atol=0.001)
    assert seen.legend(picture) == [("+", "orange", "for wolf"), ("−", "blue", "for lynx")]
    first, second = np.argsort(-logits)[:2]
    said = f"most probable: {SHORT[first]} {chances[first]:.2f}, {SHORT[second]} "
    assert seen.words(shown)[1][0] == f"{said}{chances[second]:.2f}"


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("complete", ["for wolf", "against wolf"]),
        ("positive", ["for wolf"]),
        ("absolute", ["for or against wolf"]),
        ("legrad", ["matters for wolf"]),
        ("rollout", ["where attention goes, whatever the class"]),
    ],
)
def test_the_legend_says_what_a_method_can_say(run, files, drawn, method, words):
    assert run(photo(files), "-t", "wolf", "--method", method).exit_code == 0
    seen = Seen(drawn[0])
    assert [text for *_, text in seen.legend(seen.pictures()[1])] == words
