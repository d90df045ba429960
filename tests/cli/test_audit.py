"""`jaxattr audit`: end to end, killed and resumed, interrupted, and given bad input."""

from __future__ import annotations

import csv
import errno
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import save_file

from jaxattr.audit import gather
from jaxattr.audit.evidence import evidence
from jaxattr.audit.ledger import Ledger, read_ledger, unpack
from jaxattr.cli import audit as command
from jaxattr.cli import options
from jaxattr.cli.main import main
from jaxattr.images import preprocess
from jaxattr.models import native
from jaxattr.types import Preprocessing

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
        arguments = ["audit", "--model", str(model), "--images", str(images), *map(str, words)]
        return CliRunner().invoke(main, arguments)

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
    done = _run_process(world, world / "whole")
    assert done.returncode == 0, done.stderr
    return world / "whole"


def _arguments(world: Path, output: Path) -> list[str]:
    words = ["--model", world / "model.safetensors", "--images", world / "photos"]
    return [*COMMAND, *map(str, words), "--output", str(output), "--batch-size", "4"]


def _run_process(world: Path, output: Path, **options):
    return subprocess.run(_arguments(world, output), capture_output=True, text=True, **options)


def _contents(folder: Path) -> dict[str, bytes]:
    files = [folder / name for name in RESULTS] + sorted((folder / "ledger").iterdir())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_the_ledger_holds_what_the_library_computes(finished, world, model) -> None:
    ledger = read_ledger(finished)
    assert ledger.receipt.count == 155
    columns = ledger.read("label", "rival", "prediction", "logits", "feature")
    files = ledger.read("file", "map_pair", "scale_pair", "map_positive", "scale_positive")
    assert files["file"].tolist() == sorted(files["file"])
    for row in (0, 77, 154):
        image = preprocess(world / "photos" / files["file"][row], model.preprocessing)
        label = np.int32(columns["label"][row])
        assert LABELS[label] == Path(files["file"][row]).parent.name
        one = jax.jit(evidence)(model, jax.numpy.asarray(image), jax.numpy.asarray(label))
        np.testing.assert_allclose(columns["logits"][row], one.logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(columns["feature"][row], one.feature, rtol=1e-3, atol=1e-4)
        others = np.delete(np.arange(5), label)
        assert columns["rival"][row] == others[np.argmax(one.logits[others])]
        for name in ("pair", "positive"):
            packed = unpack(files[f"map_{name}"][row], files[f"scale_{name}"][row])
            exact = np.asarray(getattr(one, f"map_{name}")).ravel()
            np.testing.assert_allclose(packed, exact, atol=np.abs(exact).max() / 250)
    predicted = np.asarray(columns["logits"]).argmax(axis=1)
    np.testing.assert_array_equal(columns["prediction"], predicted)


def test_results(finished) -> None:
    found = json.loads((finished / "findings.json").read_text(encoding="utf-8"))
    with (finished / "findings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found["findings"])
    assert "<html" in (finished / "report.html").read_text(encoding="utf-8")


def test_batch_size_and_threads_change_no_byte(run, finished, tmp_path) -> None:
    result = run("--output", tmp_path / "again", "--batch-size", 7, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert _contents(tmp_path / "again") == _contents(finished)


def test_a_finished_audit_is_only_reported_again(run, finished, tmp_path, monkeypatch) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.setattr(gather, "evidence_batch", None)  # would fail if it were called
    result = run("--output", tmp_path / "copy")
    assert result.exit_code == 0, result.output
    assert "155 images are done" in result.stderr
    assert "Report: " in result.stdout
    assert _contents(tmp_path / "copy") == _contents(finished)


def test_kill_9_at_ten_moments(world, finished, tmp_path) -> None:
    """Ten kills, most of them just after a shard was written; then the same bytes as without."""
    output, moments = tmp_path / "killed", random.Random(0)
    killed = 0
    for number in range(10):
        process = subprocess.Popen(
            _arguments(world, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = _shards(output)
        # The first two die while starting; later ones after the next step that can be seen.
        deadline = time.monotonic() + (moments.uniform(0.1, 3) if number < 2 else 60)
        while time.monotonic() < deadline and process.poll() is None:
            if number >= 2 and _shards(output) != before:
                break
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.05))
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in (output / "ledger").glob("shard-*"):
            assert path.read_bytes() == (finished / "ledger" / path.name).read_bytes()
    assert killed >= 5
    done = _run_process(world, output)
    assert done.returncode == 0, done.stderr
    assert _contents_of_results(output) == _contents_of_results(finished)


def _shards(output: Path) -> int:
    """How far an audit is: whole files, so that a kill falls between and within them."""
    return len([path for path in output.rglob("*") if path.is_file()]) if output.exists() else 0


def _contents_of_results(folder: Path) -> dict[str, bytes]:
    # A killed process may leave a temporary file; it is never read.
    return {k: v for k, v in _contents(folder).items() if not k.rpartition("/")[2].startswith(".")}


def test_ctrl_c_is_one_line_and_loses_nothing(world, finished, tmp_path) -> None:
    output = tmp_path / "interrupted"
    process = subprocess.Popen(_arguments(world, output), stderr=subprocess.PIPE, text=True)
    while not (output / "ledger").exists() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    if process.returncode != 0:  # it may have been faster than the signal
        assert process.returncode == 2
        assert [line for line in error.splitlines() if line.startswith("Error: interrupted")]
        assert "Traceback" not in error
    done = _run_process(world, output)
    assert done.returncode == 0
    assert _contents_of_results(output) == _contents_of_results(finished)


def test_a_full_disk_is_one_line_and_loses_nothing(world, finished, tmp_path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs more rights than this user has")
    try:
        done = _run_process(world, disk / "out")
        assert done.returncode == 2, done.stderr
        errors = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
        assert len(errors) == 1
        assert "no space is left" in errors[0]
        for path in (disk / "out" / "ledger").glob("shard-*"):
            assert path.read_bytes() == (finished / "ledger" / path.name).read_bytes()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_without_a_disk(run, tmp_path, monkeypatch) -> None:
    """The same by pretending, for users who cannot mount; the first shard stays."""
    write = Ledger.write

    def full(self, number, rows):
        if number:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, number, rows)

    monkeypatch.setattr(Ledger, "write", full)
    one_line(run("--output", tmp_path / "out"), "no space is left")
    assert [path.name for path in (tmp_path / "out" / "ledger").iterdir()] == [
        "shard-000000.parquet"
    ]
    monkeypatch.undo()


BAD_IMAGES = {
    "truncated.jpg": "truncated",
    "empty.jpg": "0 bytes",
    "text.jpg": "text.jpg",
    "bomb.png": "2500000000 pixels",
}


def _bad_image(path: Path) -> None:
    if path.name == "truncated.jpg":
        Image.effect_noise((64, 64), 80).convert("RGB").save(path, "JPEG")
        path.write_bytes(path.read_bytes()[:900])
    elif path.name == "text.jpg":
        path.write_text("not a picture")
    elif path.name == "bomb.png":
        header = (50_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
        chunks = {b"IHDR": header, b"IDAT": zlib.compress(b""), b"IEND": b""}
        content = b"\x89PNG\r\n\x1a\n"
        for name, body in chunks.items():
            checksum = zlib.crc32(name + body).to_bytes(4, "big")
            content += len(body).to_bytes(4, "big") + name + body + checksum
        path.write_bytes(content)
    else:
        path.write_bytes(b"")


@pytest.fixture
def mixed(world, tmp_path):
    """Some good photos, and one bad one of each kind."""
    shutil.copytree(world / "photos" / "wolf", tmp_path / "mixed" / "wolf")
    for name in BAD_IMAGES:
        _bad_image(tmp_path / "mixed" / "wolf" / name)
    return tmp_path / "mixed"


def test_bad_images_among_good_ones_are_skipped_and_counted(run, mixed, tmp_path) -> None:
    result = run("--output", tmp_path / "out", images=mixed)
    assert result.exit_code == 0, result.output
    assert "31 images" in result.stdout
    skipped = dict(read_ledger(tmp_path / "out").skipped())
    assert {Path(file).name for file in skipped} == set(BAD_IMAGES)
    for file, reason in skipped.items():
        name = Path(file).name
        assert BAD_IMAGES[name] in reason
        assert f"Warning: skipped {reason}" in result.stderr
        assert name in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_strict_stops_at_a_bad_image(run, mixed, tmp_path) -> None:
    result = run("--output", tmp_path / "out", "--strict", images=mixed)
    one_line(result, "wolf/bomb.png")


def test_only_bad_images(run, mixed, tmp_path) -> None:
    for path in (mixed / "wolf").glob("0*.png"):
        path.unlink()
    one_line(run("--output", tmp_path / "out", images=mixed), "none of the 4 images")


def test_bad_folders(run, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    one_line(run(images=tmp_path / "empty"), "empty")
    one_line(run(images=tmp_path / "nowhere"), "nowhere")
    (tmp_path / "other" / "red foxx").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "other" / "red foxx" / "a.png")
    one_line(run(images=tmp_path / "other"), "red foxx", "red fox")
    assert not (tmp_path / "jaxattr-audit").exists()


def test_an_unknown_class(run) -> None:
    one_line(run("--classes", "brown bare"), "brown bare", "brown bear")


def test_an_unwritable_output(run, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    one_line(run("--output", tmp_path / "file" / "out"), "file")


def test_another_runs_output(run, finished, tmp_path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    one_line(run("--output", tmp_path / "copy", "--limit", 10), "another run", "count")
    assert _contents(tmp_path / "copy") == _contents(finished)


def test_a_damaged_shard(run, finished, tmp_path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    shard = tmp_path / "copy" / "ledger" / "shard-000001.parquet"
    shard.write_bytes(shard.read_bytes()[:100])
    one_line(run("--output", tmp_path / "copy"), "shard-000001.parquet", "delete")


def test_bad_checkpoints(run, world, model, tmp_path) -> None:
    flat = native_tensors(world)
    cases = {
        "missing": ({k: v for k, v in flat.items() if k != "norm/scale"}, "norm/scale"),
        "extra": (flat | {"extra/kernel": np.zeros(3, np.float32)}, "extra/kernel"),
        "misshapen": (flat | {"head/bias": np.zeros(9, np.float32)}, "head/bias"),
    }
    metadata = native_metadata(world)
    for name, (tensors, part) in cases.items():
        save_file(tensors, tmp_path / f"{name}.safetensors", metadata)
        one_line(run(model=tmp_path / f"{name}.safetensors"), part)
    resnet = {
        "conv1.weight": np.zeros((4, 3, 7, 7), np.float32),
        "fc.bias": np.zeros(4, np.float32),
    }
    save_file(resnet, tmp_path / "resnet.safetensors")
    one_line(run(model=tmp_path / "resnet.safetensors"), "resnet.safetensors")
    (tmp_path / "model.pth").write_bytes(pickle.dumps({}))
    one_line(run(model=tmp_path / "model.pth"), "pickle")
    one_line(run(model="vit-bose"), "vit-bose", "vit-base")


def native_tensors(world: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(world / "model.safetensors")


def native_metadata(world: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(world / "model.safetensors", "np") as file:
        return file.metadata()


def test_limit_classes_and_partial(run, tmp_path) -> None:
    result = run("--output", tmp_path / "out", "--limit", 10, "--seed", 3)
    assert "10 images (PARTIAL: 10 of 155), 5 classes" in result.stdout
    assert "10 of 155 images" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    result = run("--output", tmp_path / "two", "--classes", "wolf", "--classes", "2")
    assert "62 images, 2 classes" in result.stdout


def test_labels_file(run, world, tmp_path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\nwolf/0000.png,lynx\nlynx/0001.png,wolf\n")
    result = run("--output", tmp_path / "out", "--labels", tmp_path / "labels.csv")
    assert "2 images, 2 classes" in result.stdout, result.output
    assert read_ledger(tmp_path / "out").read("label")["label"].tolist() == [1, 2]


def test_wnids_get_their_names_from_words_txt(run, world, model, tmp_path) -> None:
    wnids = tuple(f"n0000000{number}" for number in range(5))
    native.save(replace(model, labels=wnids), tmp_path / "wnids.safetensors")
    for wnid, label in zip(wnids, LABELS, strict=True):
        shutil.copytree(world / "photos" / label, tmp_path / "set" / "val" / wnid)
    lines = [f"{wnid}\t{name}, beast" for wnid, name in zip(wnids, LABELS, strict=True)]
    (tmp_path / "set" / "words.txt").write_text("\n".join(lines))
    result = run(
        "--output",
        tmp_path / "out",
        model=tmp_path / "wnids.safetensors",
        images=tmp_path / "set/val",
    )
    assert result.exit_code == 0, result.output
    assert read_ledger(tmp_path / "out").receipt.labels[1] == "n00000001 wolf, beast"
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert '"wolf"' in page


def test_quiet_and_exit_codes(run, finished, tmp_path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    result = run("--output", tmp_path / "copy", "--quiet", "--fail-on", "low")
    findings = json.loads((finished / "findings.json").read_text(encoding="utf-8"))["findings"]
    assert findings  # random labels: some are contradicted
    assert result.stderr == ""
    assert result.exit_code == 1
    worst = {finding["severity"] for finding in findings}
    result = run("--output", tmp_path / "copy", "--quiet", "--fail-on", "high")
    assert result.exit_code == int("high" in worst)


def test_the_embedded_scenes(tmp_path, monkeypatch) -> None:
    """The README's first command: planted errors are found."""
    monkeypatch.setattr(command, "SCENES_PER_CLASS", 8)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["audit"])
    assert result.exit_code == 0, result.output
    assert "96 images, 12 classes" in result.stdout
    ledger = read_ledger(tmp_path / "jaxattr-audit")
    with (tmp_path / "jaxattr-audit" / "images" / "truth.csv").open(newline="") as file:
        planted = {row["file"] for row in csv.DictReader(file) if row["defect"]}
    findings = json.loads((ledger.folder / "findings.json").read_text(encoding="utf-8"))["findings"]
    flagged = {image["file"] for finding in findings for image in finding["images"]}
    assert len(planted & flagged) >= 0.7 * len(planted)


def test_unreadable_folder(run, world, tmp_path, monkeypatch) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    shutil.copytree(world / "photos", tmp_path / "locked")
    (tmp_path / "locked").chmod(0)
    try:
        one_line(run(images=tmp_path / "locked"), "locked")
    finally:
        (tmp_path / "locked").chmod(0o755)
