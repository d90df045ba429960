"""`jaxattr bench methods`: formats, figure, resumed, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from jaxattr import metrics
from jaxattr.checkpoints import native
from jaxattr.cli.bench import methods_table as methods_text
from jaxattr.cli.common import names, options
from jaxattr.cli.main import main
from jaxattr.vit import Preprocessing

LABELS = ("red fox", "wolf", "lynx", "brown bear", "beaver")
QUICK = ("-m", "rollout", "-m", "complete", "--metrics", "saco", "--metrics", "sparseness")


@pytest.fixture(scope="module")
def world(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("methods")
    model = replace(tiny_model, labels=LABELS, preprocessing=Preprocessing((8, 12)), name="tiny")
    native.save(model, folder / "model.safetensors")
    generator = np.random.default_rng(0)
    for label in LABELS:
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(2):
            pixels = generator.integers(0, 256, (8, 12, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{number}.png")
    return folder


@pytest.fixture
def run(world, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "prepare_jax", lambda dtype="float32": None)
    monkeypatch.chdir(tmp_path)
    line = ["bench", "methods", "--model", str(world / "model.safetensors")]
    line += ["--images", str(world / "photos")]
    return lambda *words: CliRunner().invoke(main, [*line, *map(str, words)])


def test_table_figure_and_other_formats_of_the_same_run(run, tmp_path):
    done = run(*QUICK, "--untrained", "complete", "--figure", "methods.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "methods.png").read_bytes().startswith(b"\x89PNG")
    assert "Metrics: saco, sparseness" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["FAITHFULNESS", lines[1]]
    assert lines[1].split() == ["method", "model", "saco-v1", "↑"]
    named = [line.split("  ")[0] for line in lines[2:7]]
    assert named == ["rollout", "complete", "random map", "centred blob", "complete"]
    assert "RANKS AND TIME" in lines
    assert lines[-1] == methods_text.NOTE

    # From the shards that are there: nothing is computed again.
    again = (*QUICK, "--untrained", "complete", "-q", "-f")
    content = json.loads(run(*again, "json").stdout)
    assert (content["images"], content["seed"]) == (10, 0)
    rows = list(csv.DictReader(io.StringIO(run(*again, "csv").stdout)))
    assert len(rows) == len(content["scores"]) == 2 * 5
    for row, one in zip(rows, content["scores"], strict=True):
        assert (row["metric"], row["method"]) == (one["metric"], one["method"])
        assert float(row["value"]) == one["value"]
        assert float(row["seconds"]) > 0
    markdown = run(*again, "md").stdout
    assert "| method | model | saco-v1 ↑ |" in markdown
    assert "### Ranks and time" in markdown


def one_line(result, part):
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1, result.stderr
    assert part in errors[0], errors[0]
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("-m", "magic"), "'magic' is not one of"),
        (("--metrics", "taste"), "'taste' is not one of"),
        (("--metrics", "pointing"), "pointing: compares maps with masks; give --masks FOLDER."),
        (("--masks", "nowhere"), "no such folder: nowhere"),
        (("--figure", "methods.gif"), "has no suffix of a picture"),
        (("--images", "nowhere"), "no such folder"),
    ],
)
def test_bad_input(run, words, part):
    one_line(run(*words), part)


def test_another_run_in_the_same_folder(run):
    quick = ("-m", "rollout", "--untrained", "none", "--metrics", "sparseness", "-q")
    assert run(*quick).exit_code == 0
    one_line(run(*quick, "-n", 5), "holds another run (different: index, ")


def test_the_words_of_the_options_are_the_librarys():
    assert set(names.METRICS_OR_GROUPS.choices) == {*metrics.METRICS, "cheap", "all"}
    help_ = CliRunner().invoke(main, ["bench", "methods", "--help"]).output
    for name, one in metrics.METRICS.items():
        cost = "" if one.cost == "0" else f" {one.cost}"
        assert f"{name}{cost}" in help_, name
