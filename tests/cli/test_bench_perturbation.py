"""`jaxattr bench perturbation`: formats, figure, killed and resumed, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from jaxattr.bench.perturbation.protocols import PROTOCOLS
from jaxattr.checkpoints import native
from jaxattr.cli.bench import perturbation as bench_perturbation
from jaxattr.cli.bench import perturbation_table as perturbation_text
from jaxattr.cli.common import options
from jaxattr.cli.main import main
from jaxattr.metrics import perturbation as perturbing
from jaxattr.vit import Preprocessing

LABELS = ("red fox", "wolf", "lynx", "brown bear", "beaver")
SHARE = ("--fractions", "0,0.34,0.67")


@pytest.fixture(scope="module")
def world(tiny_model, tmp_path_factory):
    """A model file, and a folder of 5 x 8 photos: three shards."""
    folder = tmp_path_factory.mktemp("perturbation")
    model = replace(tiny_model, labels=LABELS, preprocessing=Preprocessing((8, 12)), name="tiny")
    native.save(model, folder / "model.safetensors")
    generator = np.random.default_rng(0)
    for label in LABELS:
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(0, 256, (16, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{number}.png")
    return folder


def arguments(world, *words):
    line = ["bench", "perturbation", "--model", world / "model.safetensors"]
    return [*map(str, line), "--images", str(world / "photos"), *map(str, words)]


@pytest.fixture
def run(world, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "prepare_jax", lambda dtype="float32": None)
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, arguments(world, *words))


def test_table_figure_and_other_formats_of_the_same_run(run, tmp_path):
    done = run("-n", 10, *SHARE, "--figure", "curves.png", "--measure", "probability")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("tattr-perturb-v1+fractions=0,0.34,0.67: 10 images; pixels masked")
    assert lines[2] == "AREA UNDER THE CURVE"
    assert lines[3].split()[:3] == ["explained", "measure", "method"]
    assert any(line.startswith("predicted  accuracy     random map") for line in lines)
    assert any("complete - positive" in line for line in lines)
    assert "Images: 10 of 40" in done.stderr

    # From the shards that are there: nothing is computed again.
    content = json.loads(run("-n", 10, *SHARE, "-f", "json", "-q").stdout)
    assert content["protocol"]["unit"] == "pixel"
    assert (content["images"], content["left_out"], content["guide"]) == (10, 0, None)
    table = list(csv.DictReader(io.StringIO(run("-n", 10, *SHARE, "-f", "csv", "-q").stdout)))
    rows = [row for row in table if row["kind"] != "curve"]
    for row, one in zip(rows, content["scores"], strict=True):
        assert (row["method"], row["against"]) == (one["method"], one["against"])
        assert float(row["value"]) == one["value"]
        assert row["kind"] == ("difference" if one["against"] else "area")
    assert len(table) - len(rows) == len(content["curves"])
    markdown = run("-n", 10, *SHARE, "-f", "md", "-q").stdout
    assert "| explained | measure | method | positive (lower is better) |" in markdown


def test_the_papers_protocol(run, tmp_path):
    words = ("--protocol", "cui-guided-perturb-v1", "--guide", "lynx", *SHARE, "-m", "rollout")
    done = run(*words, "-n", 15, "--side", "top", "--figure", "fig12.svg")
    assert done.exit_code == 0, done.output
    assert "12 images, image top of the guide lynx/" in done.stdout
    assert "3 of them of the guide's class and left out" in done.stderr
    assert (tmp_path / "fig12.svg").stat().st_size > 1000
    found = json.loads((tmp_path / "jaxattr-perturbation" / "run.json").read_text())
    assert found["methods"] == ["rollout", "raw_attention", "random map"]
    assert found["guide"]["side"] == "top"


def test_kill_9_and_going_on(world, tmp_path):
    """What is there after a kill is whole, stays, and is not made again."""
    command = [sys.executable, "-m", "jaxattr.cli"]
    words = arguments(world, *SHARE, "-q", "-f", "csv", "-m", "rollout")
    output = tmp_path / "killed"
    process = subprocess.Popen(
        [*command, *words, "--output", str(output)], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if list(output.glob("curves/*/shard-000000.npz")):
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in output.rglob("shard-*.npz")}
    assert kept
    done = [
        subprocess.run([*command, *words, "--output", str(one)], capture_output=True, text=True)
        for one in (output, tmp_path / "whole")
    ]
    assert [one.returncode for one in done] == [0, 0], done[0].stderr
    assert done[0].stdout == done[1].stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    for path in (tmp_path / "whole").rglob("shard-*.npz"):
        again = output / path.relative_to(tmp_path / "whole")
        assert again.read_bytes() == path.read_bytes()


def test_photos_without_labels(run, world, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(3):
        source = world / "photos" / "wolf" / f"{number}.png"
        (flat / f"{number}.png").write_bytes(source.read_bytes())
    (flat / "damaged.png").write_bytes(b"nothing")
    done = run("--images", flat, "--class", "predicted", *SHARE)
    assert done.exit_code == 0, done.output
    assert "3 images" in done.stdout
    assert "Warning: skipped damaged.png" in done.stderr
    accuracy = [one for one in done.stdout.splitlines() if one.startswith("predicted  accuracy")]
    assert all("–" in one for one in accuracy)
    one_line(run("--images", flat), "4 images lie in no class folder")


def one_line(result, part):
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1, result.stderr
    assert part in errors[0], errors[0]
    assert "Traceback" not in result.output
    assert result.stdout == ""


PAPER = ("--protocol", "cui-guided-perturb-v1")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--protocol", "deletion"), "'deletion' is not one of"),
        (("--fill", "grey"), "'grey' is not one of"),
        (
            ("--fractions", "0,half"),
            "'0,half' is not a list of at most 200 fractions up to 1; write 0,0.25,0.5.",
        ),
        (("--fractions", "0,1.5"), "'0,1.5' is not a list of at most 200 fractions up to 1"),
        (("--fractions", "0.5,0.6"), "rise from 0"),
        (PAPER, "cui-guided-perturb-v1 stitches every image with a guide; add --guide IMAGE"),
        ((*PAPER, "--guide", "zebra"), "zebra"),
        (("--guide", "lynx"), "tattr-perturb-v1 uses no guide; leave it out."),
        (("--figure", "curves.gif"), "has no suffix of a picture"),
        (("--figure", "nowhere/curves.png"), "the folder nowhere does not exist"),
        (("--images", "nowhere"), "no such folder"),
    ],
)
def test_bad_input(run, words, part):
    one_line(run(*words), part)


def test_the_guides_own_class_alone(run, world, tmp_path):
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "lynx").symlink_to(world / "photos" / "lynx")
    done = run("--images", tmp_path / "only", *PAPER, "--guide", "lynx")
    one_line(done, "all 8 images are of the guide's own class; take a guide of another class.")


def test_another_run_in_the_same_folder(run):
    assert run("-n", 5, *SHARE, "-m", "rollout", "-q").exit_code == 0
    one_line(run("-n", 6, *SHARE, "-m", "rollout", "-q"), "holds another run (different: index, ")


def test_the_words_of_the_options_are_the_librarys():
    assert set(bench_perturbation.PROTOCOLS) == set(PROTOCOLS)
    assert bench_perturbation.FILLS == perturbing.FILLS
    from jaxattr.bench.perturbation.table import MEASURES

    assert bench_perturbation.MEASURES == MEASURES
    assert set(perturbation_text.HEADS) == set(perturbing.ORDERS)
