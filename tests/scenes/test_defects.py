"""Defects as values: their text form, their share in folders and streams, their pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from jaxattr import scenes
from jaxattr.errors import DatasetError, LabelError
from jaxattr.scenes import sheet
from jaxattr.scenes.defects import ALL, DEFAULT, KINDS
from jaxattr.scenes.planting import CHANGES
from jaxattr.scenes.showing import change_copy

OTHERS = (
    scenes.SymmetricNoise(0.03),
    scenes.Watermark("sailing boat", 0.5, 0.0),
    scenes.BackgroundShortcut("fish", "water", 1.0, 0.0),
    scenes.Duplicates(0.015, 0.0),
)


@pytest.mark.parametrize("defect", [*ALL, *OTHERS], ids=str)
def test_the_text_form_says_everything(defect):
    assert scenes.parse([str(defect)]) == (defect,)


def test_forms_of_the_text_form():
    one = (scenes.Contamination("kite", "bald eagle", 0.12),)
    assert scenes.parse(["contamination:kite=bald eagle:12%"]) == one
    assert scenes.parse([" Contamination:KITE=Bald_Eagle:.12 "]) == one
    assert scenes.parse(["default"]) == DEFAULT
    assert scenes.parse(["default,watermark:zebra", "NOISE:1%"]) == (
        *DEFAULT,
        scenes.Watermark("zebra"),
    )
    assert scenes.parse(["none"]) == scenes.parse([]) == ()
    assert {type(one) for one in scenes.parse(["all"])} == set(KINDS.values())


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("blur:0.1", DatasetError, "blur:0.1: no such defect; choose from contamination, symmet"),
        ("", DatasetError, "nothing: no such defect; choose"),
        ("noise", DatasetError, "noise: has no share; write noise:SHARE."),
        ("noise:lots", DatasetError, "'lots' is not a share such as 12%; write noise:SHARE."),
        ("noise:nan", DatasetError, "share nan is out of range"),
        ("noise:cat:0.1", DatasetError, "noise:cat:0.1: cannot be read; write noise:SHARE."),
        ("contamination:kite:0.1", DatasetError, "cannot be read; write contamination:LABEL=SHOW"),
        ("contamination:kite=horse", DatasetError, "has no share"),
        ("contamination:kite=yeti:0.1", LabelError, "yeti: no such class of scenes; choose from"),
        ("contamination:kite=kite:0.1", DatasetError, "kite cannot hold itself"),
        ("contamination:kite=horse:27%", DatasetError, "share 0.27 is out of range; give 0.005"),
        ("contamination:kite=horse:0.004", DatasetError, "that is 0.5% to 26%"),
        ("contamination:kite=horse:-1", DatasetError, "share -1 is out of range"),
        ("symmetric:cat:0.1", DatasetError, "exchanged between different classes; name two"),
        ("watermark:cat:0.9:1.5", DatasetError, "others 1.5 is out of range; give 0 to 1"),
        ("background:cat=moon", LabelError, "moon: no such background; choose from sky"),
        ("missing:fish", LabelError, "fish: no one part tells it from others; choose from bald"),
        ("none,noise:0.1", DatasetError, "none stands alone"),
    ],
)
def test_what_cannot_be_planted_is_refused_in_one_line(text, error, message):
    with pytest.raises(error) as caught:
        scenes.parse([text])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def _counts(decisions):
    return Counter(d for images in decisions.values() for one in images for d in one.defects)


@pytest.mark.parametrize("share", [0.005, 0.03, 0.12, 0.26])
def test_contamination_has_its_share_in_one_direction_only(share):
    planted = scenes.assign([scenes.Contamination("kite", "bald eagle", share)], 400, 2)
    wrong = [(one.label, one.shown) for all_ in planted.values() for one in all_ if one.defects]
    assert abs(len(wrong) - 400 * share) < 1
    assert set(wrong) == {("kite", "bald eagle")}


def test_symmetric_noise_leaves_every_class_as_frequent_as_before():
    for classes in (scenes.CLASSES, ("cat", "rabbit"), ("fish", "kite", "snail")):
        planted = scenes.assign([scenes.SymmetricNoise(0.1, classes)], 50, 3)
        shown = Counter(one.shown for images in planted.values() for one in images)
        assert set(shown.values()) == {50}
        for label, images in planted.items():
            wrong = sum(one.shown != label for one in images)
            assert wrong == sum(bool(one.defects) for one in images) == 5 * (label in classes)


def test_random_noise_has_its_share():
    planted = scenes.assign([scenes.RandomNoise(0.1)], 200, 1)
    wrong = [one for images in planted.values() for one in images if one.defects]
    assert abs(len(wrong) - 240) <= 12
    assert all(one.shown != one.label for one in wrong)
    assert len({one.shown for one in wrong}) == 12


def test_a_larger_share_adds_to_a_smaller_one():
    for defect in (*DEFAULT, scenes.Watermark("horse"), scenes.SymmetricNoise(0.2)):
        small, large = (
            scenes.assign([replace(defect, share=share)], 60, 5) for share in (0.05, 0.2)
        )
        for label, images in small.items():
            for one, other in zip(images, large[label], strict=True):
                assert bool(other.defects) >= bool(one.defects)
                assert one.shown in (label, other.shown)


def test_defects_do_not_move_each_other():
    """Marks and backgrounds go where they would go alone; a label is wrong at most once."""
    together = scenes.assign(ALL[:-2], 40, 6)
    for kind, alone in (("watermark", ALL[3]), ("background", ALL[4])):
        for label, images in scenes.assign([alone], 40, 6).items():
            for one, other in zip(images, together[label], strict=True):
                assert getattr(one, kind) == getattr(other, kind)
    for images in scenes.assign(ALL, 40, 6).values():
        for one in images:
            kinds = [defect.kind for defect in one.defects]
            assert sum(kind in ("contamination", "symmetric", "noise") for kind in kinds) <= 1
            assert ("missing" in kinds) == (one.without == "wing cases")


def test_a_background_can_have_a_class_to_itself():
    defect = scenes.BackgroundShortcut("snail", "bricks", 0.9, 0.05)
    planted = scenes.assign([defect], 40, 7)
    found = Counter()
    for label, images in planted.items():
        for number, one in enumerate(images):
            by_lot = scenes.plan(scenes.image_seed(7, label, number), [label]).background
            found[label] += (one.background or by_lot) == "bricks"
            if one.background is not None and one.background != "bricks":
                assert by_lot == "bricks"
                assert label != "snail"
    assert 36 <= found.pop("snail") <= 40
    assert all(1 <= count <= 3 for count in found.values())
    alone = scenes.assign([scenes.BackgroundShortcut("snail", "bricks")], 40, 7)
    assert not any(one.defects for label in alone for one in alone[label] if label != "snail")


def test_copies_have_their_share_and_their_sources():
    planted = scenes.assign([scenes.Duplicates(0.1, 0.25)], 100, 8)
    copies = [one for images in planted.values() for one in images if one.copy_of]
    assert abs(len(copies) - 120) <= 1
    across = [one for one in copies if one.copy_of and one.copy_of[0] != one.label]
    assert 15 <= len(across) <= 45
    assert 40 <= sum(one.change == "exact" for one in copies) <= 80
    assert {one.change for one in copies} == {"exact", *CHANGES}
    for one in copies:
        assert one.copy_of is not None
        label, number = one.copy_of
        assert one.shown == label
        assert planted[label][number].copy_of is None
    assert len({one.copy_of for one in copies}) == 120
    none_left = scenes.assign([scenes.Duplicates(0.5)], 1, 0, ("cat",))
    assert none_left["cat"][0].copy_of is None


STREAM = (
    scenes.Contamination("kite", "bald eagle", 0.26),
    scenes.SymmetricNoise(0.2, ("cat", "rabbit")),
    scenes.Watermark("horse", 0.8, 0.1),
    scenes.BackgroundShortcut("snail", "bricks", 0.7, 0.0),
    scenes.MissingPart("ladybird", 0.6),
    scenes.RandomNoise(0.05),
)


def test_a_stream_has_the_same_shares():
    count = 400
    for label, share in (
        ("kite", lambda one: one.shown == "bald eagle"),
        ("cat", lambda one: one.shown == "rabbit"),
        ("horse", lambda one: one.watermark),
        ("snail", lambda one: one.background == "bricks"),
        ("ladybird", lambda one: one.without == "wing cases"),
    ):
        decisions = [scenes.decide(STREAM, label, (9, i)) for i in range(count)]
        expected = {"kite": 0.26, "cat": 0.2, "horse": 0.8, "snail": 0.7, "ladybird": 0.57}[label]
        found = np.mean([share(one) for one in decisions])
        assert abs(found - expected) < 4 * (expected * (1 - expected) / count) ** 0.5 + 0.005
        assert abs(np.mean([one.watermark for one in decisions]) - 0.1) < 0.04 or label == "horse"
        wrong = np.mean([one.shown != one.label for one in decisions])
        assert (wrong < 0.08) == (label not in ("kite", "cat"))
    assert scenes.decide(STREAM, "cat", (9, 4)) == scenes.decide(STREAM, "cat", (9, 4))
    for seed in range(100):
        one = scenes.decide([STREAM[3]], "fish", seed)
        assert scenes.show(one, seed, size=16, masks=False).scene.background != "bricks"
    with pytest.raises(LabelError, match="yeti: no such class"):
        scenes.decide((), "yeti", 0)


@pytest.mark.parametrize("size", [32, 96, 224])
def test_the_watermarks_mask_is_what_it_changes(size):
    changed = np.zeros((size, size), bool)
    for value in (0, 255):
        plain = np.full((size, size, 3), value, np.uint8)
        marked, mask = scenes.watermark(plain)
        assert (marked[~mask] == value).all()
        changed |= (marked != plain).any(-1)
    assert (changed == mask).all()
    rows, columns = np.nonzero(mask)
    assert rows.min() > 0.8 * size
    assert columns.min() > 0.6 * size
    assert 0.02 < mask.mean() < 0.08
    for seed in range(5):
        scene = scenes.draw(seed, 1, size=size)
        marked, mask = scenes.watermark(scene.image)
        changed = (marked != scene.image).any(-1)
        assert not (changed & ~mask).any()
        assert changed.sum() > 0.95 * mask.sum()
        assert np.abs(marked.astype(int) - scene.image)[mask].mean() > 15


def test_a_marked_scene_keeps_its_masks():
    """The mark is translucent: a part under it still has a share in the colour."""
    scene = scenes.draw(3, ["steamer"])
    _, mark = scenes.watermark(scene.image)
    under = [part for part, mask in scene.parts[0].items() if (mask & mark).any()]
    for part, mask in scene.parts[0].items():
        redrawn = scenes.render(scene.plan, without=[(0, part)]).image
        pair = [scenes.watermark(image)[0] for image in (scene.image, redrawn)]
        changed = (pair[0] != pair[1]).any(-1)
        assert not (changed & ~mask).any()
        assert (changed & mark).any() == (part in under)


def test_copies_that_are_nearly_exact():
    scene = scenes.draw(4, ["cat"])
    whole = scene.objects[0].astype(np.uint8)
    for change in CHANGES:
        for seed in range(6):
            copy = change_copy(scene.image, change, seed)
            again = change_copy(scene.image, change, seed)
            assert copy.dtype == np.uint8
            assert copy.shape == scene.image.shape
            assert (copy == again).all()
            assert (copy != scene.image).mean() > 0.5
            moved = change_copy(whole, change, seed, colours=False)
            if change == "shifted":
                offset = np.argwhere(moved).mean(0) - np.argwhere(whole).mean(0)
                assert (np.abs(offset) > 0.5).all()
                assert (np.abs(offset) < 4.5).all()
                assert (change_copy(scene.image[..., 0], change, seed) == copy[..., 0]).all()
            else:
                assert (moved == whole).all()
                assert 1 < np.abs(copy.astype(int) - scene.image).mean() < 30
    assert change_copy(scene.image, "exact", 0) is scene.image


def test_showing_draws_what_was_decided():
    plain = scenes.Decision("zebra", "zebra")
    shown = scenes.show(plain, 5)
    assert (shown.image == scenes.draw(5, ["zebra"]).image).all()
    assert not shown.watermark.any()
    bare = scenes.show(plain._replace(without="coat"), 5)
    assert "coat" not in bare.scene.parts[0]
    changed = (bare.image != shown.image).any(-1)
    assert not (changed & ~shown.scene.parts[0]["coat"]).any()
    wall = scenes.show(plain._replace(background="bricks", shown="horse"), 5)
    other = scenes.show(plain._replace(background="bricks"), 5)
    changed = (wall.image != other.image).any(-1)
    assert wall.scene.background == "bricks"
    assert not (changed & ~other.scene.objects[0]).any()


def test_the_contact_sheet_frames_what_was_planted():
    """For every kind: framed images differ from the twin above, the others do not."""
    cells = [cell for defect in ALL for cell in sheet._cells(defect, 7, 6)]
    assert len(cells) == 6 * len(ALL)
    for cell in cells:
        assert (cell.clean != cell.planted).any() == cell.touched
    assert sum(cell.touched for cell in cells) >= 4 * len(ALL) - 2
