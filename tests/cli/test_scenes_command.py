"""`jaxattr scenes`: what it writes and says, and one line for everything that goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from jaxattr import scenes as drawn
from jaxattr.audit.run import images_of
from jaxattr.cli import scenes as command
from jaxattr.cli.main import main
from jaxattr.scenes import defects


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments):
        return CliRunner().invoke(main, ["scenes", *map(str, arguments)])

    return invoke


def one_line(result, *texts: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    for text in texts:
        assert text in result.stderr.splitlines()[-1]


def test_the_folder_is_the_librarys(run, tmp_path):
    result = run(
        *("out", "-n", 6, "--size", 48, "--seed", 4),
        *("--defects", "default", "--defects", "watermark:zebra:0.5:0,missing:cat"),
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith("out: 72 images of 12 classes, ")
    assert "  3  watermark:zebra:0.5:0" in result.stdout.splitlines()
    assert "Truth:  out/truth.parquet" in result.stdout.splitlines()
    planted = (*defects.DEFAULT, drawn.Watermark("zebra", 0.5, 0.0), drawn.MissingPart("cat"))
    rows = drawn.write_folder(tmp_path / "same", 6, size=48, seed=4, defects=planted)
    assert f"{sum(bool(row.defect) for row in rows)} with a defect" in result.stdout
    assert f"{sum(row.label != row.true_label for row in rows)} labelled wrongly" in result.stdout
    assert images_of(tmp_path / "same") == tmp_path / "same" / "images"
    assert images_of(tmp_path) == tmp_path
    for path in (tmp_path / "same").rglob("*.p*"):
        written = tmp_path / "out" / path.relative_to(tmp_path / "same")
        assert written.read_bytes() == path.read_bytes(), path


def test_a_clean_twin_without_masks(run, tmp_path):
    result = run("out", "-n", 1, "--size", 16, "--defects", "none", "--no-masks", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "12 images of 12 classes, 0 with a defect, 0 labelled wrongly" in result.stdout
    assert "no defects: the clean twin of this seed" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images", "truth.parquet"]


def test_a_defect_too_rare_for_the_folder_is_said(run):
    result = run("out", "-n", 2, "--size", 16, "--defects", "contamination:cat=rabbit:0.5%")
    assert result.exit_code == 0
    assert "  0  contamination:cat=rabbit:0.005" in result.stdout
    assert result.stderr.startswith("Warning: contamination:cat=rabbit:0.005: so small a share of")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--defects", "blur:0.1"], "blur:0.1: no such defect; choose from contamination, symmetr"),
        (["--defects", "contamination:kite=bald eagle:30%"], "share 0.3 is out of range; give 0.0"),
        (["--defects", "watermark:yeti"], "yeti: no such class of scenes; choose from bald eagle"),
        (["--size", "100"], "size 100: does not divide into the model's patches of 8 x 8; give 96"),
        (["--size", "0"], "0 is not in the range 16<=x<=2048"),
        (["--size", "big"], "'--size'"),
        (["--images-per-class", "0"], "'--images-per-class'"),
        (["--seed", "-1"], "'--seed'"),
    ],
)
def test_bad_options_are_one_line(run, tmp_path, arguments, text):
    one_line(run("out", *arguments), text)
    assert not any(tmp_path.iterdir())


def test_bad_folders_are_one_line(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("precious")
    one_line(run("full"), "full: is not an empty folder; name a new one.")
    one_line(run("full/mine"), "full/mine: is not an empty folder")
    one_line(run("full/mine/below"), "Not a directory (full/mine/below); choose another OUT_DIR.")
    assert (tmp_path / "full" / "mine").read_text() == "precious"
    one_line(run(), "Missing argument 'OUT_DIR'")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_one_line(run, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    one_line(run("locked/out"), "not permitted", "OUT_DIR")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "no space is left on the disk"),
        (errno.EACCES, "not permitted"),
        (errno.EROFS, "not permitted"),
    ],
)
def test_a_disk_that_refuses_leaves_nothing(run, tmp_path, monkeypatch, number, text):
    write_bytes = Path.write_bytes

    def failing(path, data):
        if path.name == "0001.png":
            raise OSError(number, os.strerror(number), str(path))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", failing)
    one_line(run("out", "-n", 2, "--size", 16), text, "OUT_DIR", "0001.png")
    assert not any(tmp_path.iterdir())


def test_ctrl_c_is_one_line_and_leaves_nothing(tmp_path):
    arguments = [sys.executable, "-m", "jaxattr.cli", "scenes", "out", "-n", "2000"]
    process = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("out/.*/images/*/0003.png")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert [one.name for one in (tmp_path / "out").iterdir() if one.name[0] != "."] == []
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2
    assert stderr.strip() == "Error: interrupted; nothing was left behind."
    assert not any(tmp_path.iterdir())


def test_explain_draws_scenes_where_no_file_has_that_name(tmp_path, monkeypatch):
    """`jaxattr explain scenes`: the rest of that command has tests of its own."""
    monkeypatch.chdir(tmp_path)
    named = [Path("a.png"), Path("scenes"), Path("b.png")]
    found = command.draw_named(named, Path("out"))
    assert (found[0], found[-1]) == (named[0], named[-1])
    assert len(found) == 6
    for path in found[1:-1]:
        with Image.open(path) as image:
            assert np.asarray(image).shape == (96, 96, 3)
    assert command.draw_named(named[:1], Path("other")) == named[:1]
    Path("scenes").mkdir()
    assert command.draw_named(named, Path("other")) == named
    assert not Path("other").exists()
