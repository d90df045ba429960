"""A ledger whose folder has changed, was copied, or was left by a killed run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxattr.audit.evidence import gather as gathering
from jaxattr.audit.evidence.freshness import content_hash, refresh
from jaxattr.audit.evidence.gather import gather, make_receipt
from jaxattr.audit.ledger import Ledger, open_ledger, read_ledger
from jaxattr.audit.ledger.training import read_training
from jaxattr.bench.store import Receipt as StoreReceipt
from jaxattr.bench.store import open_store
from jaxattr.data import writing
from jaxattr.data.dataset import index
from jaxattr.errors import ImageError, LedgerError

LABELS = ("a", "b", "c", "d", "e")
COUNT = 70  # two shards
EVERY = [f"{label}/{number:02d}.bmp" for label in LABELS for number in range(COUNT // 5)]


def paint(path: Path, seed: int) -> None:
    """A BMP: all have one length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    root = tmp_path_factory.mktemp("original")
    for seed, name in enumerate(EVERY):
        paint(root / name, seed)
    return root


@pytest.fixture
def root(original, tmp_path):
    shutil.copytree(original, tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def looked_at(monkeypatch):
    """The files that are read, in order; the model says something of each without running."""
    files: list[str] = []
    read = gathering.read

    def noted(root, file, preprocessing):
        files.append(file)
        return read(root, file, preprocessing)

    def glance(model, batch, labels):
        means: Any = np.asarray(batch).mean(axis=(1, 2))
        logits: Any = np.concatenate([means, means[:, :2]], axis=1)
        feature: Any = np.tile(means, 4)
        rival: Any = (np.asarray(labels) + 1) % 5
        return gathering.Glance(logits, feature, logits, feature, rival)

    monkeypatch.setattr(gathering, "read", noted)
    monkeypatch.setattr(gathering, "glance_batch", glance)
    return files


def audited(model, root, output, looked_at, **asked) -> Ledger:
    """What the command does of it; `looked_at` then holds what this call has read."""
    looked_at.clear()
    data = index(root, LABELS, **asked)
    settings = {name: str(value) for name, value in asked.items()}
    receipt = make_receipt(model, data, total=len(data.files), **settings)
    ledger = open_ledger(output, receipt)
    gather(model, data, ledger, maps=False, workers=1)
    looked_at.sort()
    return ledger


def shards(output: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in (output / "ledger").iterdir()}


def put_answer(output: Path) -> Path:
    (output / "probes").mkdir(exist_ok=True)
    (output / "probes" / "crops.json").write_text("{}")
    return output / "probes" / "crops.json"


def test_other_content_of_the_same_length(tiny_model, root, tmp_path, looked_at):
    output = tmp_path / "out"
    audited(tiny_model, root, output, looked_at)
    assert looked_at == sorted(EVERY)
    before, answer = shards(output), put_answer(output)
    audited(tiny_model, root, output, looked_at)
    assert looked_at == []
    assert (shards(output), answer.exists()) == (before, True)
    stat = (root / "e/13.bmp").stat()
    paint(root / "e/13.bmp", 1000)
    os.utime(root / "e/13.bmp", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as `cp -p` may do
    ledger = audited(tiny_model, root, output, looked_at)
    assert looked_at == ["e/13.bmp"]
    assert not answer.exists()  # it may rest on the image
    after = shards(output)
    assert after["shard-000000.parquet"] == before["shard-000000.parquet"]
    assert after["shard-000001.parquet"] != before["shard-000001.parquet"]
    audited(tiny_model, root, tmp_path / "anew", looked_at)
    assert after == shards(tmp_path / "anew")
    assert sorted(one.name for one in output.iterdir()) == ["ledger", "run.json", "seen"]
    assert ledger.missing() == []


def test_files_added_removed_and_relabelled(tiny_model, root, tmp_path, looked_at):
    output = tmp_path / "out"
    audited(tiny_model, root, output, looked_at)
    paint(root / "a" / "00a.bmp", 2000)
    (root / "b" / "03.bmp").unlink()
    (root / "c" / "05.bmp").rename(root / "d" / "c05.bmp")
    data = index(root, LABELS)
    ledger = open_ledger(output, make_receipt(tiny_model, data, total=len(data.files)))
    kept = refresh(ledger, data)
    assert (kept.changed, kept.relabelled, kept.gone) == (0, 0, 2)
    assert "the folder has changed since the ledger was made (2 files gone)" in kept.sentence
    audited(tiny_model, root, output, looked_at)
    assert looked_at == ["a/00a.bmp", "d/c05.bmp"]
    audited(tiny_model, root, tmp_path / "anew", looked_at)
    assert shards(output) == shards(tmp_path / "anew")
    assert (output / "run.json").read_text() == (tmp_path / "anew" / "run.json").read_text()


def test_a_table_of_labels_that_changed(tiny_model, root, tmp_path, looked_at):
    table = root / "metadata.csv"
    rows = [f"{name},{name[0]}" for name in EVERY]
    table.write_text("\n".join(["file_name,label", *rows]))
    audited(tiny_model, root, tmp_path / "out", looked_at)
    table.write_text("\n".join(["file_name,label", *rows]).replace("c/01.bmp,c", "c/01.bmp,e"))
    ledger = audited(tiny_model, root, tmp_path / "out", looked_at)
    assert looked_at == ["c/01.bmp"]
    assert ledger.read("label")["label"][EVERY.index("c/01.bmp")] == 4


def test_a_copied_folder_is_hashed_and_not_looked_at(tiny_model, root, tmp_path, looked_at):
    audited(tiny_model, root, tmp_path / "out", looked_at)
    before = shards(tmp_path / "out")
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    audited(tiny_model, tmp_path / "copy", tmp_path / "out", looked_at)
    assert (looked_at, shards(tmp_path / "out")) == ([], before)
    assert read_ledger(tmp_path / "out").receipt.images == str(tmp_path / "copy")
    # Another folder is not taken for a changed one, and other choices are another run.
    paint(tmp_path / "copy" / "a" / "new.bmp", 1)
    audited(tiny_model, root, tmp_path / "out", looked_at)
    with pytest.raises(LedgerError, match=r"another run's ledger \(different: .*images"):
        audited(tiny_model, tmp_path / "copy", tmp_path / "out", looked_at)
    with pytest.raises(LedgerError, match=r"different: .*--limit"):
        audited(tiny_model, root, tmp_path / "out", looked_at, limit=10)
    assert shards(tmp_path / "out") == before


def test_killed_while_a_changed_folder_is_looked_at_again(
    tiny_model, root, tmp_path, looked_at, monkeypatch
):
    output = tmp_path / "out"
    audited(tiny_model, root, output, looked_at)
    paint(root / "a" / "00a.bmp", 2000)
    paint(root / "b" / "03.bmp", 2001)
    write, moments = Ledger.write, iter(range(3))

    def killed(self, number, rows):
        if next(moments) == 1:
            raise KeyboardInterrupt
        write(self, number, rows)

    monkeypatch.setattr(Ledger, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        audited(tiny_model, root, output, looked_at)
    with pytest.raises(LedgerError, match=r"1 of 2 shards .* are missing"):
        read_ledger(output)
    monkeypatch.setattr(Ledger, "write", write)
    audited(tiny_model, root, output, looked_at)
    assert looked_at == []  # both were in the first shard
    audited(tiny_model, root, tmp_path / "anew", looked_at)
    assert shards(output) == shards(tmp_path / "anew")


def test_killed_at_any_rename_of_an_update(tiny_model, root, tmp_path, looked_at, monkeypatch):
    output, replace_file = tmp_path / "out", os.replace
    audited(tiny_model, root, output, looked_at)
    for moment in range(8):
        paint(root / "a" / f"new{moment}.bmp", 2000 + moment)
        left = [moment]

        def killed(*arguments, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            replace_file(*arguments)

        monkeypatch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            audited(tiny_model, root, output, looked_at)
        seen = [*looked_at]
        monkeypatch.setattr(os, "replace", replace_file)
        audited(tiny_model, root, output, looked_at)
        assert {*seen, *looked_at} == {f"a/new{moment}.bmp"}
    audited(tiny_model, root, tmp_path / "anew", looked_at)
    assert shards(output) == shards(tmp_path / "anew")
    assert not (output / "earlier").exists()


def test_a_file_that_could_not_be_read_is_tried_again_when_it_changes(
    tiny_model, root, tmp_path, looked_at
):
    whole = (root / "a/00.bmp").read_bytes()
    (root / "a/00.bmp").write_bytes(whole[:20] + bytes(len(whole) - 20))
    ledger = audited(tiny_model, root, tmp_path / "out", looked_at)
    assert [file for file, _ in ledger.skipped()] == ["a/00.bmp"]
    audited(tiny_model, root, tmp_path / "out", looked_at)
    assert looked_at == []
    (root / "a/00.bmp").write_bytes(whole)
    ledger = audited(tiny_model, root, tmp_path / "out", looked_at)
    assert (looked_at, ledger.skipped()) == (["a/00.bmp"], [])


BAD_RECEIPTS = (b"", b"{", b"\xff\xfe\0", b"[1]", b"null", b"[" * 100_000, b'"x"')


@pytest.mark.parametrize("content", BAD_RECEIPTS)
def test_damaged_receipts(tiny_model, root, tmp_path, looked_at, content):
    output = tmp_path / "out"
    data = index(root, LABELS, limit=3)
    receipt = make_receipt(tiny_model, data, total=3)
    open_ledger(output, receipt)
    (output / "run.json").write_bytes(content)
    for call in (
        lambda: open_ledger(output, receipt),
        lambda: read_ledger(output),
        lambda: read_training(output, receipt),
    ):
        with pytest.raises(LedgerError, match=r"run\.json .*delete that file") as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 99}, "format is 99, wanted 3"),
        ({"format": None}, "format is None, wanted 3"),
        ({"labels": None}, "'labels' is missing"),
        ({"labels": [1, 2]}, "'labels' is missing, or not"),
        ({"grid": "2x2"}, "'grid' is missing, or not"),
        ({"count": True}, "'count' is missing, or not"),
        ({"shard_size": 0}, "out of range"),
    ],
)
def test_foreign_receipts(tiny_model, root, tmp_path, changes, said):
    data = index(root, LABELS, limit=3)
    receipt = make_receipt(tiny_model, data, total=3)
    open_ledger(tmp_path, receipt)
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(LedgerError, match=said):
        read_training(tmp_path, receipt)


def test_a_lost_receipt_loses_nothing_and_mixes_nothing(tiny_model, root, tmp_path, looked_at):
    output = tmp_path / "out"
    audited(tiny_model, root, output, looked_at)
    (output / "run.json").unlink()
    audited(tiny_model, root, output, looked_at)
    assert looked_at == []
    (output / "run.json").unlink()
    from dataclasses import replace

    with pytest.raises(LedgerError, match=r"shard-000000\.parquet in .* is of another run"):
        audited(replace(tiny_model, name="another"), root, output, looked_at)


def test_what_killed_runs_left_is_cleaned_and_nothing_else(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine, own = writing.replacing(tmp_path / "run.json"), tmp_path / ".scenes.part"
    left = [
        tmp_path / mine.temporary.name.replace(str(os.getpid()), str(dead.pid)),
        tmp_path / f".report.html.{dead.pid}.part",
    ]
    for path in (*left, mine.temporary, own, tmp_path / "photo.part"):
        path.write_text("x")
    writing.clean(tmp_path)
    assert set(tmp_path.iterdir()) == {mine.temporary, own, tmp_path / "photo.part"}


def test_two_first_audits_at_once_both_finish(tiny_model, root, tmp_path, looked_at):
    errors = []

    def run():
        try:
            data = index(root, LABELS)
            receipt = make_receipt(tiny_model, data, total=len(data.files))
            gather(tiny_model, data, open_ledger(tmp_path / "out", receipt), maps=False)
        except BaseException as error:
            errors.append(error)

    both = [threading.Thread(target=run) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert errors == []
    audited(tiny_model, root, tmp_path / "anew", looked_at)
    assert shards(tmp_path / "out") == shards(tmp_path / "anew")


def test_benchmarks_refuse_images_that_changed(root, tmp_path):
    data = index(root, LABELS, limit=3)

    def receipt():
        of = content_hash(data)
        return StoreReceipt(1, "0", "m", "p", {}, "photos", of, 3, ["complete"], 0, None)

    open_store(tmp_path / "out", receipt())
    open_store(tmp_path / "out", receipt())
    paint(root / data.files[1], 3000)
    with pytest.raises(LedgerError, match=r"different: index"):
        open_store(tmp_path / "out", receipt())
    (tmp_path / "out" / "run.json").write_text("[1]")
    with pytest.raises(LedgerError, match=r"run\.json cannot be read"):
        open_store(tmp_path / "out", receipt())


def test_strict_stops_at_what_an_earlier_run_skipped(root, tmp_path, tiny_model, looked_at):
    (root / EVERY[3]).write_bytes(b"broken")
    out = tmp_path / "out"
    ledger = audited(tiny_model, root, out, looked_at)
    assert [file for file, _ in ledger.skipped()] == [EVERY[3]]
    with pytest.raises(ImageError, match=EVERY[3]):
        gather(tiny_model, index(root, LABELS), ledger, maps=False, workers=1, strict=True)
