"""What an audit of a part of a folder says of the rest: nothing false, and nothing destructive."""

from __future__ import annotations

import json
import re

import pytest
from drawn_ledger import ledger, rows

from jaxattr.audit.findings import find
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.report import render
from jaxattr.audit.report.export import findings_json
from jaxattr.audit.report.limits import SizePower, limits
from jaxattr.audit.report.limits_text import partial_sentence, power_sentence, sentences
from jaxattr.audit.report.summary import summarize
from jaxattr.cli.audit.overview import overview

CAT, DOG, BIRD, FISH, HORSE = range(5)
EACH = 12
SEEN = [(class_, class_) for class_ in (CAT, DOG, BIRD) for _ in range(EACH)]
AS_FISH = [*SEEN, (CAT, FISH), (DOG, FISH)]
AS_HORSE = [*SEEN, (CAT, HORSE), (DOG, HORSE)]
IN_FOLDER = {CAT: 50, DOG: 50, BIRD: 50, FISH: 50}
WHOLE = {CAT: 13, DOG: 13, BIRD: 12}


def made(folder, predicted, sizes=None, total=None, **changes):
    sizes = tuple(sorted((sizes or {}).items()))
    return ledger(folder, rows(predicted), sizes=sizes, total=total, **changes)


def found_in(of):
    """All findings."""
    return find(Analysis(of))


def texts(of):
    """All that the audit says, in the findings, the limits and the terminal."""
    found = found_in(of)
    every = [text for one in found for text in (one.title, one.detail, one.action, one.caveat)]
    return [*every, *sentences(limits(Analysis(of)), Analysis(of)), overview(Analysis(of), found)]


def about(of, class_):
    """The findings that name a class as what an image looks like."""
    found = [
        one for one in found_in(of) if one.kind == "mislabelled_image" and one.classes[1] == class_
    ]
    assert len(found) == 2
    return found


PARTS = {
    "--limit": {"sizes": IN_FOLDER, "total": 200},
    "--classes": {"sizes": IN_FOLDER, "settings": {"classes": ["cat", "dog", "bird"]}},
    "a ledger without sizes": {"total": 200},
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_class_that_was_left_out_is_not_called_missing(tmp_path, part):
    of = made(tmp_path, AS_FISH, **part)
    for one in about(of, FISH):
        assert "fish is not among the sampled classes" in one.action
        assert one.extra["rival_audited"] is False
        assert one.extra["rival_in_folder"] is (True if "sizes" in part else None)
    said = " ".join(texts(of)).lower()
    for false in ("no class of this folder", "remove", "delete", "this folder's classes"):
        assert false not in said, false
    assert "of the sampled classes" in said


def test_what_a_part_lacks_and_the_folder_too_is_said_without_removing_anything(tmp_path):
    of = made(tmp_path, AS_HORSE, sizes=IN_FOLDER, total=200)
    for one in about(of, HORSE):
        assert "No image of the folder is labelled horse" in one.action
        assert "remove" not in one.action
        assert one.extra["rival_in_folder"] is False


def test_the_whole_folder_is_spoken_of_as_such(tmp_path):
    of = made(tmp_path, AS_HORSE, sizes=WHOLE)
    for one in about(of, HORSE):
        assert "No image of this folder is labelled horse" in one.action
    assert partial_sentence(Analysis(of)) == ""
    assert json.loads(findings_json([], Analysis(of)))["partial"] is False
    assert "sample" not in " ".join(texts(of))
    assert "PARTIAL" not in overview(Analysis(of), [])


def test_a_class_without_a_readable_image_is_in_the_folder_nevertheless(tmp_path):
    given = rows([*AS_FISH, (FISH, FISH)], unreadable={len(AS_FISH)})
    of = ledger(tmp_path, given, sizes=((CAT, 13), (DOG, 13), (BIRD, 12), (FISH, 1)))
    for one in about(of, FISH):
        assert one.action.startswith("Look at it. fish has no readable image here, but is in the")
    assert any("Of these classes no image could be read: fish." in one for one in texts(of))


def test_the_sample_is_too_small_not_the_folder(tmp_path):
    labels = [f"class {i}" for i in range(150)]
    predicted = [(class_, class_) for class_ in range(150)]
    given = rows(predicted, classes=150, certain=9.0)
    sizes = tuple((class_, 500) for class_ in range(150))
    sampled = ledger(tmp_path / "a", given, labels=labels, sizes=sizes, total=75_000)
    said = " ".join(sentences(limits(Analysis(sampled)), Analysis(sampled)))
    assert "In classes of 1 audited image no contaminated pair can be certified" in said
    assert "audit more of each, with a larger --limit or without one" in said
    assert "folder is too small" not in said
    assert "folder has too few" not in said
    whole = ledger(tmp_path / "b", given, labels=labels, sizes=tuple((i, 1) for i in range(150)))
    said = " ".join(sentences(limits(Analysis(whole)), Analysis(whole)))
    assert "In classes of 1 image no contaminated pair can be certified" in said
    assert "--limit" not in said


@pytest.mark.parametrize(
    ("sizes", "total", "sentence", "line"),
    [
        ({CAT: 30, DOG: 20, BIRD: 10}, 60, "PARTIAL: 38 of the folder's 60 images were audited.",
         "38 images (PARTIAL: 38 of 60), 3 classes;"),
        (IN_FOLDER, None, "PARTIAL: 38 of the folder's 200 images were audited, in 3 of its 4 "
         "classes.", "38 images, 3 classes (PARTIAL: of 200 images and 4 classes);"),
    ],
)  # fmt: skip
def test_what_was_audited_is_said_alike_everywhere(tmp_path, sizes, total, sentence, line):
    of = made(tmp_path, AS_HORSE, sizes=sizes, total=total)
    assert partial_sentence(Analysis(of)).startswith(sentence)
    assert line in overview(Analysis(of), [])
    content = json.loads(findings_json([], Analysis(of)))
    assert (content["count"], content["total"], content["partial"]) == (
        38,
        sum(sizes.values()),
        True,
    )
    html = render(Analysis(of), summarize(of), [])
    assert sentence.replace("'", "&#39;") in html
    data = json.loads(re.findall(r'id="data">(.*?)</script>', html, re.S)[0])
    assert data["overall"]["partial"] is True
    assert data["overall"]["leftOut"] == len(sizes) - 3
    assert data["names"]["0"][3:] == [sizes[CAT], 1]
    if FISH in sizes:
        assert data["names"]["3"][3:] == [50, 0]


def test_copies_among_what_was_left_out_are_not_counted(tmp_path):
    given = rows(SEEN)
    given[1]["sha256"] = given[0]["sha256"]
    for row in given:
        row["hash"] = bytes(8)
    part = ledger(tmp_path, given, sizes=tuple(IN_FOLDER.items()), total=200)
    (copies,) = (one for one in found_in(part) if one.kind == "duplicate_image")
    assert not re.search("remove|keep one|keep the one", copies.action.lower())
    assert "The audit of the whole folder says which to keep" in copies.action
    assert copies.caveat.endswith("Copies among the images that were left out are not counted.")
    assert any("copies among the images that were left out" in one for one in texts(part))


def test_the_extent_of_an_audit(tmp_path):
    of = Analysis(made(tmp_path, AS_FISH, sizes=IN_FOLDER, total=150)).extent
    assert (of.partial, of.limited, of.left_out) == (True, True, frozenset({FISH}))
    assert [of.standing(class_) for class_ in (CAT, FISH, HORSE)] == [
        "audited", "left out", "absent",
    ]  # fmt: skip


def test_every_skipped_file_is_listed_and_no_file_is_called_readable_that_nobody_looked_at(
    tmp_path,
):
    given = rows([*SEEN, *[(CAT, CAT)] * 500], unreadable=range(len(SEEN), len(SEEN) + 500))
    unlooked = ((".heic", 7), ("of no known suffix", 2))
    of = ledger(tmp_path, given, sizes=((CAT, 512), (DOG, 12), (BIRD, 12)), unlooked=unlooked)
    html = render(Analysis(of), summarize(of), [])
    data = json.loads(re.findall(r'id="data">(.*?)</script>', html, re.S)[0])
    assert len(data["skipped"]) == data["overall"]["skipped"] == 500
    assert data["overall"]["unlooked"] == [list(one) for one in unlooked]
    assert "every file was readable" not in html
    said = " ".join(data["limits"]["sentences"])
    assert "500 images could not be read" in said
    assert "7 .heic" in said
    assert "7 .heic" in overview(Analysis(of), [])
    assert sorted(
        one["file"] for one in json.loads(findings_json([], Analysis(of)))["skipped"]
    ) == [f"0/{i:03d}.png" for i in range(len(SEEN), len(SEEN) + 500)]


def test_a_share_of_the_images_is_not_rounded_up_to_what_a_test_could_certify(tmp_path):
    part = Analysis(made(tmp_path, AS_HORSE, sizes=WHOLE)).extent
    size = SizePower(30, 30, 3, 0.1, 0.1, ((1.0, 1.0),) * 3, least=2)
    said = power_sentence(size, 3, part)
    assert "Fewer than 2 moved images are never certified: 5 % of 30 is 1.5 images" in said
