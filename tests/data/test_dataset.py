"""Indexing labelled folders and label tables, and every way they can be wrong."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import outside

from jaxattr.data import dataset
from jaxattr.data.labels import LabelTable
from jaxattr.data.listing import unlooked_sentence
from jaxattr.errors import DatasetError, LabelError

LABELS = (
    *("n02123045 tabby, tabby cat", "n01443537 goldfish, Carassius auratus"),
    *("crane", "crane", "zebra"),
)


def fill(root: Path, *names: str) -> Path:
    """Empty files: indexing must not open them."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def listed(found: dataset.Dataset) -> list[tuple[str, int]]:
    return list(zip(found.files, found.targets.tolist(), strict=True))


def error(root: Path, labels=LABELS, **options) -> str:
    with pytest.raises(DatasetError) as caught:
        dataset.index(root, labels, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_class_folders_by_label_and_synonym(tmp_path):
    fill(tmp_path, "zebra/b.jpg", "zebra/a.PNG", "Tabby_Cat/x/deep/c.jpeg", "goldfish/d.webp")
    found = dataset.index(tmp_path, LABELS)
    assert listed(found) == [
        ("Tabby_Cat/x/deep/c.jpeg", 0),
        ("goldfish/d.webp", 1),
        ("zebra/a.PNG", 4),
        ("zebra/b.jpg", 4),
    ]
    assert found.targets.dtype == np.int32
    assert found.root == tmp_path
    assert found.origin == "class folders"


def test_class_folders_by_index(tmp_path):
    fill(tmp_path, "0/a.jpg", "02/b.jpg", "4/c.jpg")
    assert listed(dataset.index(tmp_path, LABELS)) == [
        ("0/a.jpg", 0),
        ("02/b.jpg", 2),
        ("4/c.jpg", 4),
    ]


def test_class_folders_by_wnid(tmp_path):
    fill(tmp_path, "n02123045/a.jpg", "n01443537/b.jpg")
    table = LabelTable(("n01443537", "n02123045 tabby, tabby cat"))
    assert listed(dataset.index(tmp_path, table)) == [
        ("n01443537/b.jpg", 0),
        ("n02123045/a.jpg", 1),
    ]


def test_several_folders_may_hold_one_class(tmp_path):
    fill(tmp_path, "tabby/a.jpg", "tabby cat/b.jpg")
    assert dataset.index(tmp_path, LABELS).targets.tolist() == [0, 0]


def test_what_is_left_out(tmp_path):
    fill(
        tmp_path,
        *("tabby/a.jpg", "tabby/.b.jpg", "tabby/notes.txt", "tabby/._a.jpg", ".hidden/c.jpg"),
        *("annotations/boxes.csv", "contact_sheet.jpg", "tabby/.thumbs/d.jpg"),
    )
    (tmp_path / "empty").mkdir()
    found = dataset.index(tmp_path, LABELS)
    assert found.files == ("tabby/a.jpg",)
    assert found.origin == "class folders (no image in 'annotations', 'empty')"
    assert found.unlooked == (("outside of class folders", 1),)


def test_order_is_that_of_the_bytes(tmp_path):
    names = [
        "é.jpg",
        "z.jpg",
        "Z.jpg",
        "a b.jpg",
        "a-b.jpg",
        "a/b.jpg",
        "\U0001f600.jpg",
        "\ufb01.jpg",
    ]
    fill(tmp_path, *(f"zebra/{name}" for name in names))
    files = dataset.index(tmp_path, LABELS).files
    assert list(files) == sorted(files, key=str.encode)
    assert len(files) == len(names)


def test_links_are_followed_but_not_in_circles(tmp_path):
    elsewhere = fill(tmp_path / "elsewhere", "b.jpg", "sub/c.jpg")
    root = fill(tmp_path / "root", "zebra/a.jpg")
    (root / "goldfish").symlink_to(elsewhere)
    (root / "zebra" / "self").symlink_to(root / "zebra")
    (root / "zebra" / "up").symlink_to(root)
    (root / "zebra" / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    files = dataset.index(root, LABELS).files
    # A dangling link is an image that cannot be read, which decoding will report.
    assert files == ("goldfish/b.jpg", "goldfish/sub/c.jpg", "zebra/a.jpg", "zebra/dangling.jpg")


def test_bad_folders(tmp_path):
    assert "no such folder" in error(tmp_path / "absent")
    fill(tmp_path, "file.jpg")
    assert "is a file, wanted a folder" in error(tmp_path / "file.jpg")
    assert "1 images lie in no class folder" in error(tmp_path)
    (tmp_path / "empty" / "tabby").mkdir(parents=True)
    assert "holds no image (.apng, " in error(tmp_path / "empty")


@pytest.mark.parametrize("where", ["", "tabby"])
def test_unreadable_folder(tmp_path, monkeypatch, where):
    fill(tmp_path, "tabby/a.jpg", "zebra/b.jpg")
    locked = tmp_path / where
    scandir = os.scandir

    def refuse(path):
        if Path(path) == locked:  # permissions do not bind root, so they are acted out
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    message = error(tmp_path)
    assert message.startswith(f"{locked}: folder cannot be read (Permission denied)")


def test_name_that_is_not_text(tmp_path):
    folder = os.fsencode(tmp_path / "zebra")
    os.mkdir(folder)
    with open(folder + b"/caf\xe9.jpg", "w"):
        pass
    assert "Not looked at: 1 with a name that is not UTF-8" in error(tmp_path)
    fill(tmp_path, "zebra/a.jpg")
    found = dataset.index(tmp_path, LABELS)
    assert found.files == ("zebra/a.jpg",)
    assert found.examples == (("with a name that is not UTF-8", r"'zebra/caf\udce9.jpg'"),)
    said = unlooked_sentence(found.unlooked, found.examples)
    assert said.startswith(
        r"Not looked at: 1 with a name that is not UTF-8 ('zebra/caf\udce9.jpg')"
    )


def test_some_folders_match_nothing(tmp_path):
    fill(tmp_path, "tabby/a.jpg", "goldfisch/b.jpg", "qqqq/c.jpg", "crane/d.jpg", "17/e.jpg")
    message = error(tmp_path)
    assert "4 of 5 folders match no class of the model" in message
    for part in ("'17' is a number among names", "'crane' is ambiguous (2 or 3)", "and 1 more"):
        assert part in message
    assert "'goldfisch' (nearest: 'goldfish')" in message


def test_no_folder_matches(tmp_path):
    fill(tmp_path, "tabbie/a.jpg", "zebras/b.jpg")
    message = error(tmp_path)
    assert "none of the 2 folders matches a class" in message
    assert "'tabbie' (nearest: 'tabby'" in message
    assert "'zebras' (nearest: 'zebra')" in message


def test_folder_above_the_splits(tmp_path):
    fill(tmp_path, "train/tabby/a.jpg", "val/tabby/b.jpg")
    assert "'train', 'val' are not classes of the model but look like parts" in error(tmp_path)


def test_numbers_out_of_range(tmp_path):
    fill(tmp_path, *(f"{one}/a.jpg" for one in range(1, 6)))
    message = error(tmp_path)
    assert "folders are numbers from 1 to 5, but the model's class indices are 0 to 4" in message
    # Also when a filter is given: counted from one, every class would be its neighbour.
    assert "0 to 4" in error(tmp_path, classes=["zebra"])


def test_numbers_that_are_labels(tmp_path):
    fill(tmp_path, "1/a.jpg", "0/b.jpg")
    assert listed(dataset.index(tmp_path, ("1", "0"))) == [("0/b.jpg", 1), ("1/a.jpg", 0)]


def test_model_without_labels(tmp_path):
    table = LabelTable((), 3)
    fill(tmp_path / "numbers", "0/a.jpg", "2/b.jpg")
    assert dataset.index(tmp_path / "numbers", table).targets.tolist() == [0, 2]
    fill(tmp_path / "names", *(f"{one}/a.jpg" for one in ("ant", "bee", "cat")))
    message = error(tmp_path / "names", table)
    assert "folders must be class indices 0 to 2, got 'ant', 'bee', 'cat'" in message
    assert "there are 3, as many as classes" in message


def test_class_filter(tmp_path):
    fill(tmp_path, "tabby/a.jpg", "zebra/b.jpg", "goldfish/c.jpg", "unicorn/d.jpg")
    found = dataset.index(tmp_path, LABELS, classes=["zebra", 0])
    assert listed(found) == [("tabby/a.jpg", 0), ("zebra/b.jpg", 4)]
    assert found.origin == "class folders (1 folders of unknown classes left out)"
    assert "holds no image of 'crane (3)'" in error(tmp_path, classes=["zebra", "3"])
    with pytest.raises(LabelError, match="did you mean 'zebra'"):
        dataset.index(tmp_path, LABELS, classes=["zebbra"])


def many(root: Path) -> Path:
    counts = {"tabby": 3, "goldfish": 40, "zebra": 40}
    return fill(
        root, *(f"{name}/{one}.jpg" for name, count in counts.items() for one in range(count))
    )


@pytest.mark.parametrize(
    ("limit", "counts"), [(3, [1, 1, 1]), (9, [3, 3, 3]), (23, [3, 10, 10]), (83, [3, 40, 40])]
)
def test_limit_is_even_over_classes(tmp_path, limit, counts):
    found = dataset.index(many(tmp_path), LABELS, limit=limit)
    assert sorted(Counter(found.targets.tolist()).values()) == counts
    assert list(found.files) == sorted(found.files)


def test_limit_is_seeded_and_grows(tmp_path):
    many(tmp_path)
    small, same, larger, other = (
        dataset.index(tmp_path, LABELS, limit=limit, seed=seed).files
        for limit, seed in [(20, 0), (20, 0), (31, 0), (20, 1)]
    )
    assert small == same
    assert set(small) < set(larger)
    assert small != other
    assert dataset.index(tmp_path, LABELS, limit=999).files == dataset.index(tmp_path, LABELS).files
    assert "limit 0 leaves no image" in error(tmp_path, limit=0)


def test_limit_does_not_depend_on_the_machine(tmp_path):
    """The choice is part of a report's meaning, so it is written down here."""
    assert dataset.index(many(tmp_path), LABELS, limit=4, seed=7).files == (
        "goldfish/20.jpg",
        "tabby/0.jpg",
        "zebra/17.jpg",
        "zebra/33.jpg",
    )


def write_csv(path: Path, *rows: tuple[str, ...], encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize(
    "rows",
    [
        [("file_name", "label"), ("b.jpg", "zebra"), ("sub/a.jpg", "Tabby Cat")],
        [
            ("Label", "width", "FILE"),
            ("zebra", "9", "b.jpg"),
            ("tabby, tabby cat", "9", "sub/a.jpg"),
        ],
        [("b.jpg", "zebra"), ("./sub//a.jpg", "tabby")],
        [("file", "label"), ("b.jpg", "4"), (), ("sub/a.jpg", " 0 ")],
    ],
    ids=["file_name", "columns in any order", "no header", "indices"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_labels_file(tmp_path, rows, encoding):
    root = fill(tmp_path / "root", "b.jpg", "sub/a.jpg", "not_listed.jpg")
    path = write_csv(tmp_path / "labels.csv", *rows, encoding=encoding)
    found = dataset.index(root, LABELS, labels_file=path)
    assert listed(found) == [("b.jpg", 4), ("sub/a.jpg", 0)]
    assert found.origin == "labels.csv"


def test_metadata_goes_before_folders(tmp_path):
    fill(tmp_path, "tabby/a.jpg", "tabby/b.jpg")
    write_csv(tmp_path / "metadata.csv", ("file_name", "label"), ("tabby/a.jpg", "zebra"))
    found = dataset.index(tmp_path, LABELS)
    assert listed(found) == [("tabby/a.jpg", 4)]
    assert found.origin == "metadata.csv"


def test_metadata_jsonl(tmp_path):
    fill(tmp_path, "a.jpg", "b.jpg")
    rows = [{"file_name": "b.jpg", "label": 1, "note": "x"}, {"label": "0", "file_name": "a.jpg"}]
    path = tmp_path / "metadata.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert listed(dataset.index(tmp_path, LABELS)) == [("a.jpg", 0), ("b.jpg", 1)]
    write_csv(tmp_path / "metadata.csv", ("file_name", "label"), ("a.jpg", "zebra"))
    assert "holds both metadata.csv and metadata.jsonl" in error(tmp_path)
    assert dataset.index(tmp_path, LABELS, labels_file=path).targets.tolist() == [0, 1]


def test_absolute_paths_inside_the_folder(tmp_path):
    root = fill(tmp_path / "root", "a.jpg")
    path = write_csv(tmp_path / "labels.csv", (str(root / "a.jpg"), "zebra"))
    assert dataset.index(root, LABELS, labels_file=path).files == ("a.jpg",)


BAD_TABLES = {
    "missing files": ("a.jpg,zebra\nx.jpg,zebra\ny.jpg,zebra\n", "2 of 3 files are not in"),
    "duplicate rows": ("a.jpg,zebra\n./a.jpg,zebra\n", "line 2: './a.jpg' is listed a second time"),
    "outside": ("../a.jpg,zebra\n", "'../a.jpg' is outside of the image folder"),
    "no label column": ("file_name,text\na.jpg,zebra\n", "columns are 'file_name, text', "),
    "no file column": ("photo,label\na.jpg,zebra\n", "columns are 'photo, label', of which none"),
    "short row": ("file,label\na.jpg\n", "line 2: 1 columns ('a.jpg')"),
    "empty label": ("file,label\na.jpg,\n", "line 2: the label is empty"),
    "empty file": ("file,label\n,zebra\n", "line 2: the file name is empty"),
    "nothing": ("", "lists no image"),
    "header only": ("file,label\n", "lists no image"),
    "open quote": ('a.jpg,"zebra\n', "is not valid CSV"),
    "unknown label": ("a.jpg,zebbra\nb.jpg,tabby\n", "1 of 2 labels match no class"),
    "unknown labels": ("a.jpg,zebbra\n", "'zebbra' (nearest: 'zebra')"),
    "numbers among names": ("a.jpg,zebra\nb.jpg,0\n", "'0' is a number among names"),
    "numbers out of range": ("a.jpg,0\nb.jpg,5\n", "labels are numbers from 0 to 5"),
}


@pytest.mark.parametrize("name", list(BAD_TABLES))
def test_bad_csv(tmp_path, name):
    text, said = BAD_TABLES[name]
    root = fill(tmp_path / "root", "a.jpg", "b.jpg")
    path = tmp_path / "labels.csv"
    path.write_text(text)
    assert said in error(root, labels_file=path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"file_name": "a.jpg", "label": 0}\n{"file_name":', "line 2: is not valid JSON"),
        ('["a.jpg", 0]\n', "line 1: is not a JSON object"),
        ('{"name": "a.jpg"}\n', "line 1: the keys are 'name', wanted"),
        ('{"file_name": "a.jpg"}\n', "metadata.jsonl has no column that is known to hold labels"),
        ('{"file_name": "a.jpg", "label": [1]}\n', "the label is [1], wanted one text"),
        ('{"file_name": "a.jpg", "label": true}\n', "the label is True, wanted one text"),
        ('{"file_name": "a.jpg", "label": -1}\n', "none of the 1 labels matches a class"),
        ("\n", "lists no image"),
    ],
)
def test_bad_jsonl(tmp_path, text, said):
    fill(tmp_path, "a.jpg")
    (tmp_path / "metadata.jsonl").write_text(text)
    assert said in error(tmp_path)


def test_bad_labels_files(tmp_path):
    root = fill(tmp_path / "root", "a.jpg")
    assert "no such labels file" in error(root, labels_file=tmp_path / "absent.csv")
    assert "cannot be read" in error(root, labels_file=tmp_path)
    path = tmp_path / "labels.csv"
    path.write_bytes("a.jpg,z\xe9bra\n".encode("latin-1"))
    assert "is not UTF-8 text" in error(root, labels_file=path)


@pytest.mark.outside
def test_real_photo_folders():
    photos = outside("images", "imagenet-photos")
    lines = outside("images", "labels", "synset_words.txt").read_text().splitlines()
    table = LabelTable(tuple(line.split(" ", 1)[1] for line in lines))
    found = dataset.index(photos, table)
    assert found.targets.tolist() == list(range(1000))
    assert all((photos / file).is_file() for file in found.files)
    picked = dataset.index(photos, table, classes=["zebra", "harp", "n03126707"])
    assert sorted(picked.targets.tolist()) == [340, 517, 594]

    val = outside("images", "tiny-imagenet", "val")
    labels = json.loads(outside("models", "vit-tiny-tinyimagenet200", "labels.json").read_text())
    tiny = dataset.index(val, labels)
    assert len(tiny.files) == 1500
    assert set(Counter(tiny.targets.tolist()).values()) == {50}
    for file, target in listed(tiny)[::100]:
        assert file.startswith(labels[target] + "/")
    limited = dataset.index(val, labels, limit=60)
    assert set(Counter(limited.targets.tolist()).values()) == {2}
