"""The labelled folder: its layout, its truth against the pixels, its clean twin, its refusals."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from PIL import Image

from jaxattr import scenes
from jaxattr.data.dataset import index
from jaxattr.errors import DatasetError, LabelError
from jaxattr.scenes.defects import ALL, KINDS

COUNT, SEED, SIZE = 24, 3, 48
DEFECTS = (*ALL[:-2], scenes.Duplicates(0.06), ALL[-1])


def _hash(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        total.update(str(path.relative_to(folder)).encode())
        total.update(path.read_bytes() if path.is_file() else b"")
    return total.hexdigest()


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    path = tmp_path_factory.mktemp("planted")
    return path, scenes.write_folder(path, COUNT, seed=SEED, size=SIZE, defects=DEFECTS)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    path = tmp_path_factory.mktemp("clean") / "twin"
    return path, scenes.write_folder(path, COUNT, seed=SEED, size=SIZE, defects=())


def test_layout(planted):
    path, rows = planted
    assert sorted(p.name for p in path.iterdir()) == ["images", "masks", "truth.parquet"]
    folders = [name.replace(" ", "_") for name in scenes.CLASSES]
    for kind in ("images", "masks"):
        assert sorted(p.name for p in (path / kind).iterdir()) == sorted(folders)
        files = sorted(p.relative_to(path).as_posix() for p in (path / kind).glob("*/*"))
        assert files == sorted(row.file if kind == "images" else row.mask for row in rows)
    assert len(rows) == 12 * COUNT
    for row in rows:
        assert row.file.startswith(f"images/{row.label.replace(' ', '_')}/")
        assert Path(row.file).name == Path(row.mask).name


def test_the_truth_is_an_ordinary_parquet_file(planted):
    path, rows = planted
    table = pq.read_table(path / "truth.parquet")
    assert table.column_names == list(scenes.Truth._fields)
    assert table["file"].to_pylist() == [row.file for row in rows]
    assert table["seed"].to_pylist() == [list(row.seed) for row in rows]
    assert table.schema.metadata[b"defects"].decode().split(",") == [str(one) for one in DEFECTS]
    assert scenes.read_truth((path / "truth.parquet").read_bytes()) == rows


def test_the_images_are_a_dataset(planted):
    path, rows = planted
    dataset = index(path / "images", scenes.CLASSES)
    given = {row.file.removeprefix("images/"): scenes.CLASSES.index(row.label) for row in rows}
    assert dict(zip(dataset.files, dataset.targets.tolist(), strict=True)) == given


def test_two_runs_are_byte_identical(planted, tmp_path):
    path, rows = planted
    lines = []
    again = scenes.write_folder(
        tmp_path, COUNT, seed=SEED, size=SIZE, defects=DEFECTS, progress=lines.append
    )
    assert again == rows
    assert _hash(tmp_path) == _hash(path)
    assert sum(lines) == len(rows)
    other = scenes.write_folder(tmp_path / "b", 1, seed=SEED + 1, size=SIZE, classes=("cat",))
    assert not filecmp.cmp(tmp_path / "b" / other[0].file, path / other[0].file, False)


def test_the_clean_twin_differs_in_planted_images_only(planted, clean):
    path, rows = planted
    twin, truth = clean
    assert not any(row.defect for row in truth)
    assert all(row.label == row.true_label for row in truth)
    assert [row.file for row in truth] == [row.file for row in rows]
    for row, original in zip(rows, truth, strict=True):
        same = filecmp.cmp(path / row.file, twin / row.file, False)
        if row.defect == "background" and original.background == row.background:
            assert same  # it had that background at random
        else:
            assert same == (not row.defect), row
        if not row.defect:
            assert row == original
            assert filecmp.cmp(path / row.mask, twin / row.mask, False)


def test_every_row_redraws_its_image_and_its_masks(planted):
    path, rows = planted
    for row in rows:
        if row.change not in ("", "exact"):
            continue
        without = [(0, row.missing_part)] if row.missing_part else []
        options = {"size": SIZE, "background": row.background, "without": without}
        scene = scenes.draw(row.seed, [row.true_label], **options)
        image = scenes.watermark(scene.image)[0] if row.watermark else scene.image
        assert (_pixels(path / row.file) == image).all()
        masks = scenes.unpack_masks(_pixels(path / row.mask), row.parts)
        assert masks.pop("watermark").any() == row.watermark
        for part, mask in masks.items():
            drawn = scene.parts[0].get(part, np.zeros((SIZE, SIZE), bool))
            assert (mask == drawn).all(), (row.file, part)
        assert not masks.get(row.missing_part, np.zeros(1)).any()


def test_a_watermark_changes_its_mask_exactly(planted, clean):
    path, rows = planted
    marked = [row for row in rows if row.defect == "watermark" and row.watermark]
    assert 20 <= sum(row.label == "horse" for row in marked) <= COUNT
    for row in marked:
        plain, image = _pixels(clean[0] / row.file), _pixels(path / row.file)
        mask = scenes.unpack_masks(_pixels(path / row.mask), row.parts)["watermark"]
        assert (image[~mask] == plain[~mask]).all()
        assert (image != plain).any(-1).sum() > 0.95 * mask.sum()
        assert (image == scenes.watermark(plain)[0]).all()


def test_other_defects_are_in_the_pixels(planted, clean):
    path, rows = planted
    originals = {row.file: row for row in clean[1]}
    for row in rows:
        original = originals[row.file]
        plain, image = _pixels(clean[0] / row.file), _pixels(path / row.file)
        changed = (image != plain).any(-1)
        if row.defect in ("contamination", "symmetric"):  # twins: one part differs
            assert scenes.twin(row.label) == row.true_label
            masks = [_pixels(folder / row.mask) for folder in (path, clean[0])]
            (name,) = [part for *pair, part in scenes.PAIRS if row.label in pair]
            part = 1 << row.parts.index(name)
            assert not (changed & ((masks[0] | masks[1]) & part == 0)).any()
        elif row.defect == "missing":
            mask = _pixels(clean[0] / row.mask) >> row.parts.index(row.missing_part) & 1
            assert not (changed & (mask == 0)).any()
            assert changed.sum() > 0.9 * mask.sum()
        elif row.defect == "background" and row.background != original.background:
            object_ = _pixels(path / row.mask) > 0
            assert changed[~object_].mean() > 0.9


def test_copies_are_copies(planted):
    path, rows = planted
    by_file = {row.file: row for row in rows}
    copies = [row for row in rows if row.copy_of]
    assert len(copies) == round(0.06 * len(rows))
    assert any(row.label != row.true_label for row in copies)
    for row in copies:
        source = by_file[row.copy_of]
        assert "duplicates" in row.defect.split("+")
        assert (row.true_label, row.seed, row.watermark) == (
            source.true_label,
            source.seed,
            source.watermark,
        )
        assert filecmp.cmp(path / row.file, path / source.file, False) == (row.change == "exact")
        shifted = row.change == "shifted"
        assert filecmp.cmp(path / row.mask, path / source.mask, False) != shifted
        difference = _pixels(path / row.file).astype(int) - _pixels(path / source.file)
        assert np.abs(difference).mean() < 40


def test_jpeg_size_and_no_masks(tmp_path):
    rows = scenes.write_folder(tmp_path, 1, classes=("fish",), size=64, suffix=".jpg", masks=False)
    with Image.open(tmp_path / "images" / "fish" / "0000.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (64, 64))
    assert rows[0].mask == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "truth.parquet"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"images_per_class": 0}, DatasetError, "0 images per class: give at least 1"),
        ({"size": 8}, DatasetError, "size 8: too small"),
        ({"size": 100}, DatasetError, "patches of 8 x 8; give 96 or 104"),
        ({"suffix": ".gif"}, DatasetError, "suffix .gif: cannot be written; choose .png or .jpg"),
        ({"classes": ("kite", "yeti")}, LabelError, "yeti: no such class of scenes; choose"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        scenes.write_folder(tmp_path / "new", **options)
    assert not any(tmp_path.iterdir())


def test_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "mine").write_text("precious")
    for path in (tmp_path, tmp_path / "mine"):
        with pytest.raises(DatasetError, match="is not an empty folder; name a new one"):
            scenes.write_folder(path)
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space"), KeyboardInterrupt()])
def test_what_cannot_be_finished_is_removed(tmp_path, new, error):
    def stop(count):
        raise error

    path = tmp_path / "new" if new else tmp_path
    with pytest.raises(type(error)):
        scenes.write_folder(path, 2, progress=stop)
    assert not any(tmp_path.iterdir())


def test_the_pages_code_runs(tmp_path, monkeypatch):
    """`docs/guide/scenes.md`, from top to bottom."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "guide" / "scenes.md").read_text(encoding="utf-8")
    names: dict = {}
    for code in re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE):
        exec(compile(code, "scenes.md", "exec"), names)
    assert (names["shown"].watermark == 0).all()
    assert names["mask"].any()
    assert set(names["masks"]) == {*names["row"].parts, "watermark"}
    for column in scenes.Truth._fields:
        assert f"`{column}`" in page
    for kind in KINDS:
        assert f"`{kind}:" in page
