"""Copies: found on scenes whose every copy is known, and told from pictures that are alike."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from ledgers import make_ledger, make_rows
from PIL import Image

from jaxattr.audit.copies import duplicates
from jaxattr.audit.copies.alignment import correlations, picture
from jaxattr.audit.findings.duplicate_image import duplicate_image, split_of
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger.hashing import hashes, packed_hash, perceptual_hash, unpacked
from jaxattr.data.images import thumbnail
from jaxattr.scenes import CLASSES, Duplicates, write_folder


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Drawn scenes with copies, in a ledger whose features are small grey pictures."""
    folder = tmp_path_factory.mktemp("copies")
    classes = CLASSES[:4]
    truth = write_folder(
        folder / "s", 20, seed=5, defects=[Duplicates(0.2, 0.5)], classes=classes, masks=False
    )
    rows = make_rows(len(truth), labels=classes, classes=4)
    for row, one in zip(rows, truth, strict=True):
        content = (folder / "s" / one.file).read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("RGB"))
            small = np.asarray(image.convert("L").resize((4, 4)), np.float32).ravel()
        row |= {"file": one.file, "label": classes.index(one.label), "feature": small}
        row |= {"thumbnail": thumbnail(pixels), "sha256": f"{hash(content):x}"}
    ledger = make_ledger(folder / "l", rows, labels=classes)
    return ledger, truth, rows


def test_planted_copies_are_found_and_nothing_else(planted):
    ledger, truth, _ = planted
    place = {one.file: i for i, one in enumerate(truth)}
    copies = {frozenset((place[one.file], place[one.copy_of])) for one in truth if one.copy_of}
    assert len(copies) >= 12
    found = duplicate_image(Analysis(ledger))
    seen = {frozenset(one.images) for one in found}
    assert len(seen & copies) >= len(copies) - 1
    assert seen <= copies
    for one in found:
        first, second = (truth[i] for i in one.images)
        change = first.change or second.change
        assert one.extra["exact"] == (change == "exact")
        across = first.label != second.label
        expected = {(True, True): "high", (True, False): "medium"}
        assert one.severity == expected.get((across, one.extra["exact"]), "low")
        assert len(one.classes) == 1 + across
        assert one.effect is not None
        assert one.effect >= duplicates.ALIGNED
        assert one.p_value is None


def test_without_the_copies_nothing_is_found(tmp_path, planted):
    ledger, truth, rows = planted
    left = [row for row, one in zip(rows, truth, strict=True) if not one.copy_of]
    left = [{**row, "index": i} for i, row in enumerate(left)]
    assert len(left) < len(rows)
    assert (
        duplicate_image(Analysis(make_ledger(tmp_path, left, labels=ledger.receipt.labels))) == []
    )


def aligned(first: bytes, second: bytes) -> float:
    return float(correlations(picture(first)[None], picture(second)[None])[0])


def test_the_hash_forgets_brightness_and_size_and_knows_other_pictures():
    rng = np.random.default_rng(0)
    pictures = [
        np.asarray(Image.fromarray(one).resize((64, 64), Image.Resampling.BICUBIC), np.float64)
        for one in rng.integers(0, 256, (6, 7, 7), np.uint8)
    ]

    def encoded(values, side=64):
        file = io.BytesIO()
        grey = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).resize((side, side))
        grey.convert("RGB").save(file, "WEBP", quality=75)
        return file.getvalue()

    found = [perceptual_hash(encoded(one)) for one in pictures]
    assert all(set(one.tolist()) == {-1, 1} for one in found)
    for one, own in zip(pictures, found, strict=True):
        for other in (encoded(0.8 * one + 20), encoded(one, 96)):
            assert (perceptual_hash(other) != own).sum() <= 6
            assert aligned(encoded(one), other) > 0.98
        shifted = encoded(np.roll(one, (2, -3), (0, 1)))
        assert aligned(encoded(one), shifted) > 0.95
    assert aligned(encoded(pictures[0]), encoded(pictures[1])) < 0.8
    flat = encoded(np.full((64, 64), 90.0))
    assert not perceptual_hash(flat).any()
    assert not perceptual_hash(b"no image").any()
    assert aligned(flat, b"no image") == 0.0
    whole = [encoded(pictures[0]), flat, encoded(pictures[1]), b"no image"]
    packed = [packed_hash(one) for one in whole]
    assert [len(one) for one in packed] == [8, 0, 8, 0]
    np.testing.assert_array_equal(unpacked(packed), hashes(whole))


def test_kept_hashes_and_old_ledgers_give_the_same(tmp_path, planted):
    ledger, _, rows = planted
    kept = [{**row, "hash": packed_hash(row["thumbnail"])} for row in rows]
    new = make_ledger(tmp_path / "new", kept, labels=ledger.receipt.labels)
    assert duplicate_image(Analysis(new)) == duplicate_image(Analysis(ledger))
    before = make_ledger(tmp_path / "old", kept, labels=ledger.receipt.labels)
    for number in range(before.receipt.shards):  # as it was written before there were hashes
        table = pq.read_table(before.shard(number))
        pq.write_table(table.drop_columns("hash"), before.shard(number))
    assert duplicate_image(Analysis(before)) == duplicate_image(Analysis(ledger))
    before.write(1, kept[7:14])  # begun before, finished since
    assert duplicate_image(Analysis(before)) == duplicate_image(Analysis(ledger))


def test_splits_and_groups(tmp_path):
    rows = make_rows(8)
    for i, name in enumerate(("train/a/0.png", "val/a/1.png", "b/2.png")):
        rows[i] |= {"file": name, "label": 0, "sha256": "same"}
    ledger = make_ledger(tmp_path, rows)
    (one,) = duplicate_image(Analysis(ledger))
    assert one.images == (0, 1, 2)
    assert one.severity == "high"
    assert one.extra["splits"] == ["", "train", "val"]
    assert "in the splits none and train and val" in one.title
    assert "too high" in one.action
    assert split_of("x/Test/y.png") == "test"
    assert split_of("train.png") == ""


def test_no_candidate_is_lost_to_blocks_or_to_principal_parts(monkeypatch):
    monkeypatch.setattr(duplicates, "_ROWS", 7)
    monkeypatch.setattr(duplicates, "_COLUMNS", 16)
    monkeypatch.setattr(duplicates, "_PARTS", 3)
    rng = np.random.default_rng(1)
    count, size = 90, 12
    kind = rng.integers(0, 9, count)
    bits = np.where(rng.random((9, 63)) < 0.5, 1, -1)[kind]
    bits = np.where(rng.random(bits.shape) < 0.12, -bits, bits).astype(np.int8)
    bits[4] = 0  # nothing to hash
    feature = (rng.normal(size=(9, size))[kind] + 0.4 * rng.normal(size=(count, size))).astype("f4")
    mean = feature.mean(axis=0)
    axes = np.linalg.eigh(np.cov(feature.T))[1][:, ::-1][:, :3].astype(np.float32)
    each = np.arange(count)
    file = np.where(each == 60, 8, each)  # a file that is there twice is compared once
    direction = duplicates._directions(feature - mean, axes)
    of = duplicates.Signatures(each, kind, file, bits, direction, mean)
    unit = (feature - mean) / np.linalg.norm(feature - mean, axis=1, keepdims=True)
    slow = {
        (i, j)
        for i in range(count)
        for j in range(i + 1, count)
        if 60 not in (i, j) and 4 not in (i, j)
        if (apart := (bits[i] != bits[j]).sum()) <= duplicates.NEAR
        if unit[i] @ unit[j] >= (0.5 if apart <= 16 else 0.8)
    }
    given = duplicates.candidates(of, lambda positions: feature[positions])
    found = [pair[:2] for pair in given]
    assert all(need == (0.88 if unit[i] @ unit[j] >= 0.8 else 0.95) for i, j, need in given)
    assert len(slow) > 30
    assert set(found) == slow
    distances = [(bits[i] != bits[j]).sum() for i, j in found]
    assert distances == sorted(distances)
    part = duplicates.candidates(of, lambda positions: feature[positions], first_in=40)
    assert {pair for pair in slow if pair[0] < 40} <= {pair[:2] for pair in part} < slow


def test_a_group_is_tied_together_once(tmp_path):
    rows = make_rows(6)
    for row in rows[:4]:
        picture = np.random.default_rng(3).integers(0, 256, (8, 8, 3), np.uint8)
        row["thumbnail"] = thumbnail(np.asarray(Image.fromarray(picture).resize((64, 64))))
        row["feature"] = np.array([5.0, row["index"] / 100], np.float32)
    rows[1]["sha256"] = rows[0]["sha256"]
    rows[4]["feature"] = rows[5]["feature"] = np.array([-5.0, 0.0], np.float32)
    ledger = make_ledger(tmp_path, rows)
    found = duplicates.matches(ledger, duplicates.signatures(ledger))
    assert len(found) == 3
    assert found[0] == duplicates.Match(0, 1, True, 1.0)
    assert not any(one.exact for one in found[1:])
    (one,) = duplicate_image(Analysis(ledger))
    assert one.images == (0, 1, 2, 3)
