"""Class names against the outside lists of ImageNet's and Tiny-ImageNet's labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import outside

from jaxattr.data.labels import LabelTable, imagenet_wnids
from jaxattr.errors import LabelError

# The real strings of those positions; the rest stands in for them.
REAL = {
    0: "tench, Tinca tinca",
    1: "goldfish, Carassius auratus",
    130: "flamingo",
    134: "crane",
    281: "tabby, tabby cat",
    340: "zebra",
    407: "ambulance",
    517: "crane",
    593: "harmonica, mouth organ, harp, mouth harp",
    594: "harp",
    620: "laptop, laptop computer",
    638: "maillot",
    639: "maillot, tank suit",
    817: "sports car, sport car",
    954: "banana",
    999: "toilet tissue, toilet paper, bathroom tissue",
}


@pytest.fixture(scope="module")
def imagenet():
    return LabelTable(tuple(REAL.get(index, f"thing {index}") for index in range(1000)))


def test_wnids_are_a_thousand_and_sorted():
    wnids = imagenet_wnids()
    assert len(set(wnids)) == 1000
    assert list(wnids) == sorted(wnids)
    assert wnids[0] == "n01440764"  # tench, by WordNet
    assert wnids[999] == "n15075141"  # toilet tissue


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("tabby, tabby cat", 281),
        ("tabby", 281),
        ("Tabby_Cat", 281),
        ("  tabby   cat ", 281),
        ("n02123045", 281),
        ("N02123045", 281),
        ("281", 281),
        ("0281", 281),
        (281, 281),
        (np.int32(281), 281),
        ("maillot, tank suit", 639),
        ("tank suit", 639),
        ("n03126707", 517),
        ("134", 134),
        ("harp", 594),
        ("mouth harp", 593),
    ],
)
def test_resolves(imagenet, name, index):
    assert imagenet.resolve(name) == index


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("crane", "134 (crane, n02012849)", "517 (crane, n03126707)"),
        ("maillot", "638 (maillot, n03710637)", "639 (maillot, tank suit, n03710721)"),
    ],
)
def test_ambiguous_names_both(imagenet, name, first, second):
    with pytest.raises(LabelError) as error:
        imagenet.resolve(name)
    message = str(error.value)
    assert "ambiguous" in message
    assert f"{first} or {second}" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tabbie cat", "'tabby cat'"),
        ("sprots car", "'sports car'"),
        ("qqqqqqqqqq", "index below 1000"),
        ("n99999999", "index below 1000"),
        ("1000", "between 0 and 999"),
        (-1, "between 0 and 999"),
        ("", "index below 1000"),
    ],
)
def test_unknown(imagenet, name, said):
    with pytest.raises(LabelError) as error:
        imagenet.resolve(name)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_short_labels_come_back(imagenet):
    assert imagenet.short(281) == "tabby"
    assert imagenet.short(134) == "crane (134)"
    assert imagenet.short(639) == "maillot (639)"
    shorts = [imagenet.short(index) for index in range(1000)]
    assert len(set(shorts)) == 1000
    assert [imagenet.resolve(short) for short in shorts] == list(range(1000))


def test_wnids_only_for_imagenets_order(imagenet):
    assert imagenet.wnid(281) == "n02123045"
    backwards = LabelTable(tuple(reversed(imagenet.labels)))
    assert backwards.wnid(281) is None
    with pytest.raises(LabelError, match="unknown class 'n02123045'"):
        backwards.resolve("n02123045")


def test_labels_that_are_wnids_or_begin_with_them():
    table = LabelTable(("n02124075", "n02123045 tabby, tabby cat", "other"))
    assert [table.wnid(index) for index in range(3)] == ["n02124075", "n02123045", None]
    assert [table.short(index) for index in range(3)] == ["n02124075", "tabby", "other"]
    for name in ("n02123045", "tabby cat", "n02123045 tabby, tabby cat"):
        assert table.resolve(name) == 1


def test_numbers_as_labels_are_labels_first():
    table = LabelTable(("1", "0", "seven"))
    assert table.resolve("1") == 0
    assert table.resolve(1) == 1
    assert table.resolve("2") == 2


def test_without_labels_only_indices():
    table = LabelTable((), 5)
    assert table.resolve("4") == 4
    assert table.short(3) == "class 3"
    assert table.resolve("class 3") == 3
    assert table.wnid(3) is None
    with pytest.raises(LabelError, match="no labels, only indices 0 to 4"):
        table.resolve("cat")
    with pytest.raises(LabelError, match="between 0 and 4"):
        table.resolve(5)


def test_one_label_for_each_class():
    with pytest.raises(LabelError, match="got 2 labels for 3 classes"):
        LabelTable(("a", "b"), 3)


def test_repeated_and_empty_labels_stay_reachable():
    table = LabelTable(("cat", "cat", "dog", ""))
    assert [table.short(index) for index in range(4)] == ["cat (0)", "cat (1)", "dog", "(3)"]
    assert [table.resolve(table.short(index)) for index in range(4)] == [0, 1, 2, 3]


@pytest.mark.outside
def test_against_the_published_lists():
    lines = outside("images", "labels", "synset_words.txt").read_text().splitlines()
    published = [line.split(" ", 1) for line in lines]
    table = LabelTable(tuple(label for _, label in published))
    assert [table.wnid(index) for index in range(1000)] == [wnid for wnid, _ in published]
    assert [table.resolve(table.short(index)) for index in range(1000)] == list(range(1000))
    shared = set()
    short_names = json.loads(outside("images", "labels", "imagenet_class_index.json").read_text())
    for index, (wnid, name) in short_names.items():
        assert table.resolve(wnid) == int(index)
        try:
            assert table.resolve(name) == int(index)
        except LabelError:
            shared.add(name.lower())
    assert shared == {"crane", "maillot", "cardigan"}


@pytest.mark.outside
def test_against_real_models():
    config = json.loads(outside("models", "vit-tiny-in1k", "config.json").read_text())
    table = LabelTable(tuple(config["id2label"][str(index)] for index in range(1000)))
    assert table.wnid(340) == "n02391049"
    wnids = json.loads(outside("models", "vit-tiny-tinyimagenet200", "labels.json").read_text())
    tiny = LabelTable(tuple(wnids))
    assert [tiny.resolve(wnid) for wnid in wnids] == list(range(200))
    assert [tiny.wnid(index) for index in range(200)] == wnids
