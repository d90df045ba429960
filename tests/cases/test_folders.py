"""Folders as people have them: what is an image, what is a class, and what is said of the rest."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxattr.cli.common import output
from jaxattr.data import listing
from jaxattr.data.dataset import index
from jaxattr.data.labels import LabelTable
from jaxattr.errors import DatasetError

LABELS = ("cat", "dog", "bird", "fish", "horse")
HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(40)
JXL = b"\xff\x0a" + bytes(40)
RAW = b"II*\0\x08\0\0\0" + bytes(40)


def picture(path: Path, kind: str = "JPEG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(path, kind)
    return path


def put(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def pairs(found) -> dict[str, int]:
    return dict(zip(found.files, found.targets.tolist(), strict=True))


NAMES = {
    "a.jpg": "JPEG",
    "noextension": "PNG",
    "IMG_1.HEIC": "JPEG",
    "raw.dng": "JPEG",
    "photo.jxl": "WEBP",
    "scan.tga": "TGA",
    "old.jpg.bak": "JPEG",
    "squash.jpg?w=300&h=200": "JPEG",
    "b.jpg!d": "GIF",
    "c.1": "BMP",
    "d.image": "TIFF",
}


def test_images_are_known_by_their_content(tmp_path):
    for name, kind in NAMES.items():
        picture(tmp_path / "cat" / name, kind)
    found = index(tmp_path, LABELS)
    assert [Path(file).name for file in found.files] == sorted(NAMES)
    assert found.unlooked == ()
    assert "of 9 files the content is an image, but not the suffix" in found.notes[0]


def test_what_nobody_looks_at_is_counted_by_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "reads_heic", lambda: False)
    picture(tmp_path / "cat" / "a.jpg")
    for number in range(3):
        put(tmp_path / "cat" / f"{number}.HEIC", HEIC)
    put(tmp_path / "cat" / "e", HEIC)
    put(tmp_path / "dog" / "b.jxl", JXL)
    put(tmp_path / "dog" / "c.dng", RAW)  # its first picture is a thumbnail
    put(tmp_path / "dog" / "page.jpg?w=1", b"<html>not found</html>")
    put(tmp_path / "dog" / "data.npy", b"\x93NUMPY\1\0" + bytes(9))
    for name in ("notes.txt", "boxes.xml", "LICENSE"):
        put(tmp_path / "dog" / name, b"text")
    found = index(tmp_path, LABELS)
    assert found.files == ("cat/a.jpg",)
    kinds = {".heic": 4, ".jxl": 1, ".dng": 1, ".jpg": 1, ".npy": 1}
    assert dict(found.unlooked) == kinds
    said = listing.unlooked_sentence(found.unlooked)
    assert said.startswith("Not looked at: 4 .heic, 1 .dng, 1 .jpg, 1 .jxl, 1 .npy (")
    assert 'pip install "jaxattr[heic]"' in said
    monkeypatch.setattr(listing, "reads_heic", lambda: True)
    assert len(index(tmp_path, LABELS).files) == 5


def test_a_folder_with_nothing_that_can_be_read_says_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "reads_heic", lambda: False)
    put(tmp_path / "cat" / "a.heic", HEIC)
    with pytest.raises(DatasetError, match=r"holds no image .*Not looked at: 1 \.heic"):
        index(tmp_path, LABELS)


DROPPINGS = (
    *("@eaDir/a.jpg", "cat/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/cat/._a.jpg"),
    *("$RECYCLE.BIN/x.jpg", "#recycle/y.jpg", "@Recycle/z.jpg", "lost+found/1.jpg", "@tmp/t.jpg"),
    *("cat/._a.jpg", "cat/.thumbnails/a.png", ".ipynb_checkpoints/a-checkpoint.png"),
    *("cat/Thumbs.db", "cat/desktop.ini", "cat/.DS_Store", "System Volume Information/a.jpg"),
)


def test_droppings_of_storage_systems_are_passed_over_everywhere(tmp_path, capsys):
    picture(tmp_path / "cat" / "a.jpg")
    for name in DROPPINGS:
        put(tmp_path / name, b"\0\5\x16\7")
    found = index(tmp_path, LABELS)
    assert (found.files, found.unlooked, found.notes) == (("cat/a.jpg",), (), ())
    put(tmp_path / "cat" / "new.heif", HEIC[:8] + b"mif1\0\0\0\0mif1" + bytes(9))
    assert output.find_images([tmp_path / "cat"]) == [tmp_path / "cat" / "a.jpg"]
    assert "Not looked at: 1 .heic" in capsys.readouterr().err
    # What a table lists stays.
    put(tmp_path / "metadata.csv", b"file_name,label\ncat/._a.jpg,dog\n")
    assert pairs(index(tmp_path, LABELS)) == {"cat/._a.jpg": 1}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_compared_whatever_their_unicode_form(tmp_path, form):
    labels = ("Caf\xe9", unicodedata.normalize("NFD", "Cr\xe8me br\xfbl\xe9e"), "Stra\xdfe", "fish")
    for name in ("Caf\xe9", "CR\xc8ME\xa0BR\xdbL\xc9E", "STRASSE", " Fish\u200b "):
        picture(tmp_path / unicodedata.normalize(form, name) / "a.jpg")
    found = pairs(index(tmp_path, labels))
    assert sorted(found.values()) == [0, 1, 2, 3]
    table = LabelTable(labels)
    assert table.resolve(unicodedata.normalize("NFD", "caf\xe9")) == 0
    chosen = index(tmp_path, labels, classes=[unicodedata.normalize(form, "CAF\xc9")])
    assert chosen.targets.tolist() == [0]


def test_labels_that_differ_in_case_only(tmp_path):
    table = LabelTable(("A", "a", "b"))
    assert [table.resolve("a"), table.resolve("A"), table.resolve("B")] == [1, 0, 2]
    with pytest.raises(ValueError, match="ambiguous"):
        LabelTable(("Straße", "STRASSE")).resolve("strasse")


def test_folders_of_one_class_are_merged_and_said(tmp_path):
    for name in ("Caf\xe9", "Cafe\u0301", "fish"):
        picture(tmp_path / name / "a.jpg")
    found = index(tmp_path, ("caf\xe9", "fish"))
    assert found.sizes == ((0, 2), (1, 1))
    assert "folders of several names are taken for one class: 'Cafe" in found.notes[0]


def test_commas_are_part_of_a_label():
    labels = ("Pepper,_bell___Bacterial_spot", "Pepper,_bell___healthy", "Tomato, late blight")
    table = LabelTable(labels)
    assert [table.short(one) for one in range(3)] == list(labels)
    assert table.resolve("pepper, bell   healthy") == 1
    with pytest.raises(ValueError, match=r"unknown class 'tomato': did you mean 'Tomato, late"):
        table.resolve("tomato")
    # Behind a wnid they are WordNet's synonyms.
    assert LabelTable(("n02123045 tabby, tabby cat",)).resolve("tabby cat") == 0


def test_folders_named_by_wnid_and_name(tmp_path):
    for name in ("n02085620-Chihuahua", "n02085782_Japanese_spaniel"):
        picture(tmp_path / name / "a.jpg")
    for labels in (
        ("n02085620", "n02085782"),
        ("Chihuahua", "Japanese spaniel"),
        ("n02085620-Chihuahua", "n02085782-Japanese_spaniel"),
    ):
        assert index(tmp_path, labels).targets.tolist() == [0, 1], labels


def test_numbers_before_names(tmp_path):
    for name in ("001.Black_footed_Albatross", "002.Laysan_Albatross"):
        picture(tmp_path / "cub" / name / "a.jpg")
    found = index(tmp_path / "cub", ("Laysan Albatross", "Black-footed", "black footed albatross"))
    assert found.targets.tolist() == [2, 0]
    assert "are not the model's class indices" in found.notes[0]
    for number, name in enumerate(LABELS):
        picture(tmp_path / "plain" / f"{number}_{name}" / "a.jpg")
    found = index(tmp_path / "plain", LABELS)
    assert (found.targets.tolist(), found.notes) == ([0, 1, 2, 3, 4], ())
    numbered = ("3 dog", "4 cat")  # numbers that are part of the labels
    for name in numbered:
        picture(tmp_path / "numbered" / name / "a.jpg")
    assert index(tmp_path / "numbered", numbered).notes == ()
    picture(tmp_path / "plain" / "horse" / "a.jpg")  # now not every folder has a number
    with pytest.raises(DatasetError, match="5 of 6 folders match no class"):
        index(tmp_path / "plain", LABELS)


def test_folders_of_no_class_are_told_the_labels_that_there_are(tmp_path):
    for name in ("good", "bad"):
        picture(tmp_path / name / "a.jpg")
    with pytest.raises(DatasetError) as found:
        index(tmp_path, ("not defect", "defect"))
    assert str(found.value).endswith(
        "name them by the model's own labels ('not defect', 'defect'), or their indices; or use a "
        "model of these classes"
    )
    with pytest.raises(DatasetError, match=r"\('cat', 'dog', 'bird' and 2 more\), or"):
        index(tmp_path, LABELS)
    with pytest.raises(DatasetError, match="or their indices or wnids; or"):
        index(tmp_path, ("n02085620 Chihuahua", "n02085782 Japanese spaniel"))


def test_one_image_is_one(tmp_path):
    for name in ("cat", "dog", "unknown"):
        picture(tmp_path / name / "a.jpg")
    found = index(tmp_path, LABELS, exclude=["unknown"])
    assert found.origin == "class folders (1 image left out by exclude)"


def test_exclude_leaves_out_what_is_no_class(tmp_path):
    for name in ("cat", "dog", "unknown", "unsure"):
        picture(tmp_path / name / "a.jpg")
    picture(tmp_path / "dog" / "Drafts" / "b.jpg")
    picture(tmp_path / "dog" / "[old]" / "b.jpg")
    with pytest.raises(DatasetError, match=r"leave them out \(--exclude 'unknown'\)"):
        index(tmp_path, LABELS)
    found = index(tmp_path, LABELS, exclude=["UN*", "drafts", "[old]"])
    assert pairs(found) == {"cat/a.jpg": 0, "dog/a.jpg": 1}
    assert found.origin == "class folders (4 images left out by exclude)"
    assert found.sizes == ((0, 1), (1, 3))
    assert index(tmp_path, LABELS, exclude=["un*", "dog/*"]).files == ("cat/a.jpg",)
    with pytest.raises(DatasetError, match="no folder is named 'nothing', to be excluded"):
        index(tmp_path, LABELS, exclude=["nothing"])
    with pytest.raises(DatasetError, match="all 6 images are excluded"):
        index(tmp_path, LABELS, exclude=["*"])
    with pytest.raises(DatasetError, match="no image of 'dog' is left by exclude"):
        index(tmp_path, LABELS, exclude=["unknown", "dog"], classes=["dog"])
    with pytest.raises(DatasetError, match="holds no image of 'fish'"):
        index(tmp_path, LABELS, exclude=["unknown"], classes=["fish"])


def test_sizes_are_those_of_the_whole_folder(tmp_path):
    for name, count in (("cat", 4), ("dog", 2), ("bird", 3)):
        for number in range(count):
            picture(tmp_path / name / f"{number}.jpg")
    whole = ((0, 4), (1, 2), (2, 3))
    assert index(tmp_path, LABELS, limit=2).sizes == whole
    assert index(tmp_path, LABELS, classes=["dog"]).sizes == whole


def test_links_pipes_and_names_that_are_not_text(tmp_path):
    picture(tmp_path / "cat" / "a.jpg")
    (tmp_path / "cat" / "loop.png").symlink_to("loop.png")
    (tmp_path / "cat" / "loop").symlink_to("loop")
    (tmp_path / "loops").symlink_to("loops")
    (tmp_path / "cat" / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "cat" / "pipe")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    put(Path(os.fsdecode(os.fsencode(tmp_path / "cat") + b"/caf\xe9.jpg")))
    found = index(tmp_path, LABELS)
    # Those named as images are listed, and named as skipped when they cannot be read.
    names = ["cat/a.jpg", "cat/gone.jpg", "cat/loop.png", "cat/pipe.png"]
    assert list(found.files) == names
    assert dict(found.unlooked)["with a name that is not UTF-8"] == 1
    assert dict(found.examples)["with a name that is not UTF-8"] == r"'cat/caf\udce9.jpg'"


@pytest.mark.parametrize("count", [4, 12])
def test_numbers_that_are_labels_of_other_classes(tmp_path, count):
    """Classes called 1 to N: a folder `1` is the first class, and `0` none."""
    labels = tuple(str(number) for number in range(1, count + 1))
    for number in range(count):
        picture(tmp_path / "from0" / str(number) / "a.jpg")
        picture(tmp_path / "from1" / str(number + 1) / "a.jpg")
        picture(tmp_path / "padded" / f"{number:02d}" / "a.jpg")
    with pytest.raises(DatasetError, match=r"some are labels of the model \('1', .*none \('0'\)"):
        index(tmp_path / "from0", labels)
    found = pairs(index(tmp_path / "from1", labels))
    assert found == {f"{number + 1}/a.jpg": number for number in range(count)}
    put(tmp_path / "from1" / "x.csv", b"file,label\n1/a.jpg,1.0\n2/a.jpg,2.0\n")
    found = index(tmp_path / "from1", labels, labels_file=tmp_path / "from1" / "x.csv")
    assert pairs(found) == {"1/a.jpg": 0, "2/a.jpg": 1}
    nameless = tuple(str(number) for number in range(count))
    found = pairs(index(tmp_path / "padded", nameless))
    assert found == {f"{number:02d}/a.jpg": number for number in range(count)}
