"""The labelled folder: its layout, its truth, its clean twin, its refusals."""

from __future__ import annotations

import csv
import filecmp

import numpy as np
import pytest
from PIL import Image

from jaxattr import scenes
from jaxattr.audit.dataset import index
from jaxattr.errors import DatasetError, LabelError

CLASSES = ("kite", "bald eagle", "zebra")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes")
    rows = scenes.write_folder(path, 25, seed=3, classes=CLASSES)
    return path, rows


def test_layout_and_truth(folder):
    path, rows = folder
    with (path / "truth.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [tuple(row.values()) for row in read] == [tuple(row) for row in rows]
    assert sorted(p.name for p in path.iterdir()) == ["bald_eagle", "kite", "truth.csv", "zebra"]
    files = sorted(p.relative_to(path).as_posix() for p in path.glob("*/*.png"))
    assert files == sorted(row.file for row in rows)
    assert len(files) == 75
    for row in rows:
        assert row.file.startswith(row.label.replace(" ", "_") + "/")
        assert (row.label != row.true_label) == bool(row.defect)
    planted = [row for row in rows if row.defect == "contamination"]
    assert [(row.label, row.true_label) for row in planted] == [("kite", "bald eagle")] * 3
    number = int(planted[0].file[-8:-4])
    seed = (3, scenes.CLASSES.index("kite"), number)
    with Image.open(path / planted[0].file) as image:
        assert (np.asarray(image) == scenes.draw(seed, ["bald eagle"]).image).all()


def test_the_folder_is_a_dataset(folder):
    path, rows = folder
    dataset = index(path, scenes.CLASSES)
    given = {row.file: scenes.CLASSES.index(row.label) for row in rows}
    assert dict(zip(dataset.files, dataset.targets.tolist(), strict=True)) == given


def test_the_clean_twin_differs_in_planted_images_only(folder, tmp_path):
    path, rows = folder
    clean = scenes.write_folder(tmp_path / "a", 25, seed=3, classes=CLASSES, mislabelled=None)
    assert not any(row.defect for row in clean)
    for row in rows:
        assert filecmp.cmp(path / row.file, tmp_path / "a" / row.file, False) == (not row.defect)
    scenes.write_folder(tmp_path / "b", 25, seed=3, classes=CLASSES)
    for row in rows:
        assert filecmp.cmp(path / row.file, tmp_path / "b" / row.file, False)
    assert filecmp.cmp(path / "truth.csv", tmp_path / "b" / "truth.csv", False)


def test_random_labels_have_their_share():
    shown = scenes.plant(200, 1, scenes.Mislabelled((), 0.1))
    wrong = [defect for images in shown.values() for _, defect in images if defect]
    assert set(wrong) == {"random"}
    assert 225 <= len(wrong) <= 255
    assert all(name != label for label in shown for name, defect in shown[label] if defect)


def test_jpeg_and_size(tmp_path):
    scenes.write_folder(tmp_path, 1, classes=("fish",), size=48, suffix=".jpg")
    with Image.open(tmp_path / "fish" / "0000.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (48, 48))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"images_per_class": 0}, DatasetError, "0 images per class: give at least 1"),
        ({"size": 4}, DatasetError, "size 4: too small"),
        ({"suffix": ".gif"}, DatasetError, "suffix .gif: cannot be written; choose .png or .jpg"),
        ({"mislabelled": scenes.Mislabelled((), 1.5)}, DatasetError, "share 1.5: out of range"),
        ({"classes": ("kite", "yeti")}, LabelError, "yeti: no such class of scenes; choose"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        scenes.write_folder(tmp_path, **options)
    assert not any(tmp_path.iterdir())


def test_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(DatasetError, match="is not an empty folder; name a new one"):
        scenes.write_folder(tmp_path)
    assert (tmp_path / "mine").read_text() == "precious"
