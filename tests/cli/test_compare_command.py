"""`jaxattr compare`: maps against the library called by hand, files, words, bad input."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from seen import Seen, values

from jaxattr import losses
from jaxattr.checkpoints import native
from jaxattr.cli.common import interrupt as waiting
from jaxattr.cli.common import names, options
from jaxattr.cli.compare import command as command
from jaxattr.cli.compare import run as comparing
from jaxattr.cli.main import main
from jaxattr.data import images
from jaxattr.methods import CHEAP, METHODS
from jaxattr.plot import figures
from jaxattr.vit import Model, Preprocessing

LABELS = ("n02119022 red fox, Vulpes vulpes", "wolf", "lynx", "brown bear", "beaver")
FEW = ("complete", "rollout")


@pytest.fixture(scope="module")
def files(tiny_model, tmp_path_factory):
    """A model file and two photos."""
    folder = tmp_path_factory.mktemp("compare")
    model = Model(tiny_model.parameters, tiny_model.config, LABELS, Preprocessing((8, 12)), "tiny")
    native.save(model, folder / "model.safetensors")
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = random.integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder, model


@pytest.fixture
def run(files, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "prepare_jax", lambda dtype="float32": None)
    monkeypatch.chdir(tmp_path)
    folder, _ = files

    def run(*arguments, methods=FEW):
        few = [word for name in methods for word in ("-m", name)]
        words = ["compare", "--model", str(folder / "model.safetensors"), *few]
        return CliRunner().invoke(main, [*words, *map(str, arguments)])

    return run


def test_maps_are_those_of_the_library(run, files, tmp_path):
    folder, model = files
    done = run(folder / "a.png", folder / "b.png", "-t", "lynx", "-t", "wolf", "--against", "3",
               "-f", "npz", "-f", "json", "-f", "svg")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = np.load(tmp_path / "jaxattr-compare" / "compare.npz")
    assert found["methods"].tolist() == list(FEW)
    assert found["classes"].tolist() == ["lynx", "wolf"] * 2
    assert found["against_indices"].tolist() == [3] * 4
    for place, name in enumerate(FEW):
        for row, (photo, class_) in enumerate((p, c) for p in "ab" for c in (2, 1)):
            image = jnp.asarray(images.preprocess(folder / f"{photo}.png", model.preprocessing))
            wanted = METHODS[name].function(model, image, losses.difference(class_, 3))
            got = found["maps"][place, row]
            np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-5 * np.abs(wanted).max())
    content = json.loads((tmp_path / "jaxattr-compare" / "compare.json").read_text())
    np.testing.assert_array_equal(content["maps"], found["maps"])
    assert all(one > 0 for one in content["seconds"] + content["compiling_seconds"])

    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["method", "signed", "cost", "ms"]
    rows = [line.split()[:3] for line in lines[1:3]]
    assert rows == [["complete", "yes", "1F"], ["rollout", "no", "1F"]]
    drawn = (tmp_path / "jaxattr-compare" / "compare.svg").read_text()
    assert "a.png: lynx (" in drawn
    assert "against brown bear" in drawn


def test_views_are_averaged_and_said(run, files, tmp_path):
    folder, model = files
    words = folder / "a.png", "-t", "lynx", "--views", "2", "-f", "json", "-f", "svg"
    done = run(*words, methods=("complete",))
    assert done.exit_code == 0, done.stderr
    content = json.loads((tmp_path / "jaxattr-compare" / "compare.json").read_text())
    assert content["views"] == 2
    image = jnp.asarray(images.preprocess(folder / "a.png", model.preprocessing))
    loss, function = losses.log_odds(2), METHODS["complete"].function
    both = function(model, image, loss), function(model, image[:, ::-1], loss)[:, ::-1]
    wanted = (both[0] + both[1]) / 2
    largest = np.abs(wanted).max()
    np.testing.assert_allclose(content["maps"][0][0], wanted, rtol=2e-4, atol=2e-5 * largest)
    assert "2 x (1F + 1B)" in done.stdout
    assert "mean of 2 views" in (tmp_path / "jaxattr-compare" / "compare.svg").read_text()
    assert run(folder / "a.png", "--views", "19").exit_code == 2


def test_groups_of_methods_are_their_members_once():
    def found(*words):
        return [one.name for one in names.methods(words)]

    assert found("cheap") == list(CHEAP)
    assert found("all") == list(METHODS)
    assert found("tis", "cheap", "tis") == ["tis", *CHEAP]


def test_a_constant_map_is_told_and_drawn(run, files, monkeypatch):
    folder, _ = files
    flat = replace(
        METHODS["rollout"], function=lambda model, image, loss: jnp.zeros(model.config.grid)
    )
    monkeypatch.setitem(METHODS, "rollout", flat)
    done = run(folder / "a.png", "-t", "lynx")
    assert done.exit_code == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("Warning"))
    assert line.startswith("Warning: rollout: the map of a.png: lynx (")
    assert line.endswith("is the same everywhere; it says nothing.")
    assert done.stdout.splitlines()[2].split()[-1] == "1"


def test_the_rival_is_each_photos_own(run, files, tmp_path):
    folder, _ = files
    done = run(folder / "a.png", "-t", "top2", "--against", "rival", "-f", "json", "-q")
    assert done.exit_code == 0
    assert done.stderr == ""
    content = json.loads((tmp_path / "jaxattr-compare" / "compare.json").read_text())
    assert content["class_indices"] == content["against_indices"][::-1]
    assert len(set(content["class_indices"])) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.png",), "missing.png"),
        (("a.png", "-t", "tiger"), "tiger"),
        (("a.png", "-m", "nonsense"), "'nonsense' is not one of"),
        (("a.png", "--loss", "ratio"), "add --against"),
        (("a.png", "-t", "lynx", "--against", "lynx"), "the same class, lynx"),
    ],
)
def test_bad_input_is_one_line(run, files, arguments, message, monkeypatch):
    folder, _ = files
    monkeypatch.chdir(folder)
    done = run(*arguments, "-o", str(folder / "out"))
    assert done.exit_code == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_bad_photo_among_good_ones_ends_in_2_with_the_others_done(run, files, tmp_path):
    folder, _ = files
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    done = run(folder / "a.png", tmp_path / "bad.jpg")
    assert done.exit_code == 2
    assert "bad.jpg" in done.stderr.splitlines()[-1]
    assert "1 of 2 images are done" in done.stderr
    assert (tmp_path / "jaxattr-compare" / "compare.png").is_file()


def test_ctrl_c_keeps_the_methods_that_are_finished(run, files, tmp_path, monkeypatch):
    folder, _ = files
    calls = []

    def interrupt(function):
        calls.append(function)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return waiting.interruptible(function)

    monkeypatch.setattr(comparing, "interruptible", interrupt)
    methods = ("rollout", "complete", "tis")
    done = run(folder / "a.png", "-t", "lynx", "-f", "json", "-f", "svg", methods=methods)
    assert done.exit_code == 2
    last = done.stderr.splitlines()[-1]
    assert last == "Error: interrupted; 1 of 3 methods are written, without complete, tis."
    rows = [line.split() for line in done.stdout.splitlines()[1:4]]
    assert [row[0] for row in rows] == list(methods)
    assert [row[-4:] for row in rows[1:]] == [["-"] * 4] * 2
    content = json.loads((tmp_path / "jaxattr-compare" / "compare.json").read_text())
    assert (content["methods"], content["missing"]) == (["rollout"], ["complete", "tis"])
    assert np.shape(content["maps"]) == (1, 1, 2, 3)
    drawn = (tmp_path / "jaxattr-compare" / "compare.svg").read_text()
    assert "interrupted, without complete" in drawn


def test_ctrl_c_before_any_method_is_finished(run, files, tmp_path, monkeypatch):
    folder, _ = files

    def interrupt(function):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparing, "interruptible", interrupt)
    done = run(folder / "a.png", "-t", "lynx")
    assert done.exit_code == 2
    assert done.stderr.endswith("Error: interrupted; files written so far are complete.\n")
    assert not list((tmp_path / "jaxattr-compare").iterdir())


def test_the_picture_and_the_table_say_what_was_asked(run, files, tmp_path, monkeypatch):
    folder, _ = files
    monkeypatch.setattr(comparing, "forward_seconds", lambda *_: 1e-4)
    drawn, encode = [], figures.encode
    monkeypatch.setattr(figures, "encode", lambda one, kind: drawn.append(one) or encode(one, kind))
    done = run(folder / "a.png", folder / "b.png", "-t", "lynx", "--against", "3", "--patches",
               "-f", "npz", "-f", "json", "-f", "png")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    with np.load(tmp_path / "jaxattr-compare" / "compare.npz") as found:
        maps = found["maps"]
    content = json.loads((tmp_path / "jaxattr-compare" / "compare.json").read_text())
    seen = Seen(drawn[0])
    texts = [text for text, *_ in seen.words()]
    titles = [text for text in texts if ".png: " in text]
    assert all(
        re.fullmatch(r"[ab]\.png: lynx \(0\.\d\d\) against brown bear", one) for one in titles
    )
    assert [one[:5] for one in titles] == ["a.png", "b.png"]
    pictures = seen.pictures()  # a photo and two maps in each of two rows
    for row in range(2):
        for column, (name, palette) in enumerate(
            zip(FEW, ("diverging", "sequential"), strict=True)
        ):
            one = maps[column, row]
            axis = pictures[3 * row + 1 + column]
            assert seen.under(name) in pictures[1 + column :: 3]
            at = np.unravel_index(np.abs(one).argmax(), one.shape)
            read = values(seen.cells(axis, *one.shape), palette)
            assert np.sign(read[at]) == np.sign(one[at])
    lines = {line.split()[0]: re.split(r"  +", line.strip()) for line in done.stdout.splitlines()}
    for name, signed, seconds in zip(FEW, ("yes", "no"), content["seconds"], strict=True):
        assert lines[name][1] == signed
        assert float(lines[name][3]) == pytest.approx(1000 * seconds, abs=0.06)
        assert float(lines[name][4]) == pytest.approx(1e4 * seconds, abs=0.06)
