"""`jaxattr audit` end to end: what it computes; killed, interrupted, on a full disk; options."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import random
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from audit_world import (
    LABELS,
    arguments,
    contents,
    finished,
    model,
    one_line,
    run,
    run_process,
    world,
)
from click.testing import CliRunner

from jaxattr import losses
from jaxattr.audit.evidence import gather
from jaxattr.audit.evidence.compute import evidence
from jaxattr.audit.ledger import Ledger, read_ledger, unpack
from jaxattr.audit.probes import lots
from jaxattr.checkpoints import native
from jaxattr.cli.audit import command as command
from jaxattr.cli.main import main
from jaxattr.data.images import preprocess
from jaxattr.methods import token_relevance
from jaxattr.scenes import read_truth


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


def test_the_ledger_holds_any_class_against_any_other(finished, world, model) -> None:
    ledger = read_ledger(finished)
    names = ("file", "label", "rival", "classes", "map_class", "weight_class")
    against = jax.jit(
        lambda model, image, first, second: token_relevance(
            model, image, losses.difference(first, second)
        )
    )
    for row in ledger.rows([0, 77, 154], *names).values():
        image = preprocess(world / "photos" / row["file"], model.preprocessing)
        assert row["classes"].tolist()[:2] == [row["label"], row["rival"]]
        maps = row["weight_class"][:, None, None] * row["map_class"]
        for x, y in ((0, 1), (1, 2), (3, 0)):
            fresh = np.asarray(against(model, image, row["classes"][x], row["classes"][y]))
            largest = max(np.abs(maps[x]).max(), np.abs(maps[y]).max())
            np.testing.assert_allclose(maps[x] - maps[y], fresh, rtol=1e-3, atol=1e-4 * largest)


def test_results(finished) -> None:
    found = json.loads((finished / "findings.json").read_text(encoding="utf-8"))
    with (finished / "findings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found["findings"])
    assert "<html" in (finished / "report.html").read_text(encoding="utf-8")


def test_batch_size_and_threads_change_no_byte(run, finished, tmp_path) -> None:
    result = run("--output", tmp_path / "again", "--batch-size", 7, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert contents(tmp_path / "again") == contents(finished)


def test_a_finished_audit_is_only_reported_again(run, finished, tmp_path, monkeypatch) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.setattr(gather, "evidence_batch", None)  # would fail if it were called
    result = run("--output", tmp_path / "copy")
    assert result.exit_code == 0, result.output
    assert "155 images are done" in result.stderr
    assert "Report: " in result.stdout
    assert contents(tmp_path / "copy") == contents(finished)


def test_kill_9_at_ten_moments(world, finished, tmp_path) -> None:
    """Ten kills, most of them just after a shard was written; then the same bytes as without."""
    output, moments = tmp_path / "killed", random.Random(0)
    killed = 0
    for number in range(10):
        process = subprocess.Popen(
            arguments(world, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = _progress(output)
        # The first two die while starting; later ones after the next step that can be seen.
        deadline = time.monotonic() + (moments.uniform(0.1, 3) if number < 2 else 60)
        while time.monotonic() < deadline and process.poll() is None:
            if number >= 2 and _progress(output) != before:
                break
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.05))
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in (output / "ledger").glob("shard-*"):
            assert path.read_bytes() == (finished / "ledger" / path.name).read_bytes()
    assert killed >= 5
    done = run_process(world, output)
    assert done.returncode == 0, done.stderr
    assert _contents_of_results(output) == _contents_of_results(finished)


def _progress(output: Path) -> set[tuple[str, int]]:
    """What has been written so far, and when: any change is a moment to kill at."""
    found = set()
    for path in output.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # renamed just now
            found.add((path.name, path.stat().st_mtime_ns))
    return found


def _contents_of_results(folder: Path) -> dict[str, bytes]:
    # A killed process may leave a temporary file; it is never read.
    return {k: v for k, v in contents(folder).items() if not k.rpartition("/")[2].startswith(".")}


def test_ctrl_c_is_one_line_and_loses_nothing(world, finished, tmp_path) -> None:
    output = tmp_path / "interrupted"
    process = subprocess.Popen(arguments(world, output), stderr=subprocess.PIPE, text=True)
    while not (output / "ledger").exists() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    if process.returncode != 0:  # it may have been faster than the signal
        assert process.returncode == 2
        assert [line for line in error.splitlines() if line.startswith("Error: interrupted")]
        assert "Traceback" not in error
    done = run_process(world, output)
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
        done = run_process(world, disk / "out")
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


def test_limit_classes_and_partial(run, tmp_path) -> None:
    result = run("--output", tmp_path / "out", "--limit", 10, "--seed", 3)
    assert "10 images (PARTIAL: 10 of 155), 5 classes" in result.stdout
    assert (
        "PARTIAL: 10 of the folder's 155 images" in (tmp_path / "out" / "report.html").read_text()
    )
    result = run("--output", tmp_path / "two", "--classes", "wolf", "--classes", "2")
    assert "62 images, 2 classes (PARTIAL: of 155 images and 5 classes)" in result.stdout
    assert "folder's classes" not in result.stdout


def test_a_training_folder(run, finished, tmp_path) -> None:
    words = ("--limit", 10, "--no-probes", "--output", tmp_path / "out", "--training")
    result = run(*words, finished)
    assert result.exit_code == 0, result.output
    assert "Training: 155 images" in result.stderr
    content = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert content["training"]["count"] == 155
    leaks = [one for one in content["findings"] if "training" in one["extra"]]
    assert len(leaks) == 10  # every one of them is there, too
    for one in leaks:
        assert one["images"][0]["file"] == one["extra"]["training"][0]["file"]
    one_line(run(*words, tmp_path / "none"), "holds no ledger")
    whole = run("--output", tmp_path / "whole", "--training", finished)
    one_line(whole, "holds the audited images themselves")
    assert not (tmp_path / "whole").exists()


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
    monkeypatch.setattr(lots, "IMAGES", 12)  # the probes' bound, for speed
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["audit"])
    assert result.exit_code == 0, result.output
    assert "96 images, 12 classes" in result.stdout
    ledger = read_ledger(tmp_path / "jaxattr-audit")
    truth = read_truth((tmp_path / "jaxattr-audit" / "scenes" / "truth.parquet").read_bytes())
    planted = {row.file.removeprefix("images/") for row in truth if row.defect}
    findings = json.loads((ledger.folder / "findings.json").read_text(encoding="utf-8"))["findings"]
    flagged = {image["file"] for finding in findings for image in finding["images"]}
    assert len(planted & flagged) >= 0.7 * len(planted)
