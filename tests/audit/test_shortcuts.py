"""Shortcuts in a world of few pixels, where every image's class is a sum over its channels."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from ledgers import make_ledger, make_rows
from PIL import Image
from scipy import special, stats

from jaxattr.audit.findings._shortcuts import verdicts
from jaxattr.audit.findings.shortcut_background import shortcut_background
from jaxattr.audit.findings.shortcut_place import NULL, shortcut_place, whereabouts
from jaxattr.audit.inference import places
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import pack
from jaxattr.audit.ledger.columns import unit_maps
from jaxattr.audit.probes import Probe, Subject, ask, background, objects, pasting
from jaxattr.audit.probes.store import answers
from jaxattr.audit.report.export import findings_json
from jaxattr.audit.statistics import paired
from jaxattr.vit import Model, Preprocessing

GRID, PATCH, CLASSES, EACH = (12, 12), 2, 5, 20
SIDE = GRID[0] * PATCH
LABELS = ("ant", "bee", "cat", "dog", "eel")
MARKED, HOME = 2, 3
PROBES = {one.NAME: Probe(one.VERSION, one.questions, one.answer) for one in (pasting, background)}


def draw(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Images `[image, row, column, class]` and the boxes of their objects, in cells.

    An object fills 4 x 4 cells of its class's channel, unevenly. `mark`: most cats have a strong
    mark at the bottom right, and dogs often lie at the top left; `faint`: a weaker mark. `wall`:
    cats have their channel in all cells but the object's, which are a dog's.
    """
    strength = {"mark": 6, "faint": 1.5, "wall": 0}[kind]
    rng = np.random.default_rng(4)
    images = rng.uniform(0, 0.02, (CLASSES * EACH, SIDE, SIDE, CLASSES)).astype(np.float32)
    boxes = np.zeros((len(images), 4), int)
    for number, image in enumerate(images):
        label = number % CLASSES
        place = rng.integers(1, 7, 2)
        if strength and label == HOME and rng.random() < 0.5:
            place = np.array([0, 0])
        boxes[number] = (*place, *(place + 4))
        top, left, bottom, right = boxes[number] * PATCH
        wall = kind == "wall" and label == MARKED
        if wall:
            image[..., label] += 0.4
        uneven = rng.uniform(0.8, 1.2, (bottom - top, right - left))
        image[top:bottom, left:right, label] = 0 if wall else uneven
        image[top:bottom, left:right, HOME] += wall
        if strength and label == MARKED and rng.random() < 0.8:
            image[-2 * PATCH :, -2 * PATCH :] = np.eye(CLASSES)[label] * strength
    return images, boxes


def logits_of(images: np.ndarray) -> np.ndarray:
    """A whole object adds 9 to its class."""
    return images.sum(axis=(1, 2)) * 9 / (16 * PATCH**2)


def cells(images: np.ndarray) -> np.ndarray:
    """The evidence for the label by cell."""
    own = images[np.arange(len(images)), ..., np.arange(len(images)) % CLASSES]
    return own.reshape(len(images), GRID[0], PATCH, GRID[1], PATCH).mean(axis=(2, 4))


class InMemory(Subject):
    """A subject whose images are arrays."""

    images: np.ndarray

    def image(self, index: int) -> np.ndarray:
        return self.images[index]


class World:
    """Images, their ledger, and a subject without a network."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.images, self.boxes = draw(kind)
        rows = make_rows(len(self.images), labels=LABELS, grid=GRID, classes=CLASSES)
        rng = np.random.default_rng(1)
        every = zip(rows, logits_of(self.images), cells(self.images), strict=True)
        for row, logits, values in every:
            others = np.where(np.arange(CLASSES) == row["label"], -np.inf, logits)
            row |= {"logits": logits, "prediction": int(logits.argmax())}
            row["rival"] = int(others.argmax())
            row["feature"] = rng.normal(size=6).astype(np.float32)
            row["map_positive"], row["scale_positive"] = pack(values.ravel())
        self.ledger = make_ledger(folder / "ledger", rows, labels=LABELS, grid=GRID, shard_size=32)
        self.root = folder / "images"
        config = SimpleNamespace(patch_size=(PATCH, PATCH), image_size=(SIDE, SIDE))
        preprocessing = Preprocessing(resize=(SIDE, SIDE))
        model = SimpleNamespace(config=config, preprocessing=preprocessing)
        self.subject = InMemory(cast(Model, model), Analysis(self.ledger), self.root)
        self.subject.images = self.images

    def mark_boxes(self) -> None:
        """A table of boxes beside the images."""
        lines = ["file,xmin,ymin,xmax,ymax"]
        for index, (top, left, bottom, right) in enumerate(self.boxes * PATCH):
            path = self.root / f"{index % CLASSES}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (SIDE, SIDE)).save(path)
            name = path.relative_to(self.root.parent).as_posix()
            lines.append(f"{name},{left},{top},{right - 1},{bottom - 1}")
        (self.root.parent / "boxes.csv").write_text("\n".join(lines))


@pytest.fixture
def adding(monkeypatch) -> None:
    def predict(subject, pictures):
        return logits_of(np.stack(pictures))

    monkeypatch.setattr(pasting, "predict", predict)
    monkeypatch.setattr(background, "predict", predict)


def test_the_scan_is_its_formula_and_boxes_the_mark(tmp_path) -> None:
    world = World(tmp_path, "mark")
    of = Analysis(world.ledger).places
    label = np.arange(len(world.images)) % CLASSES
    packed = np.stack([pack(one.ravel())[0] for one in cells(world.images)])
    unit = unit_maps(packed) * GRID[0] * GRID[1]
    mean = np.stack([unit[label == one].mean(axis=0) for one in range(CLASSES)])
    error = np.stack([stats.sem(unit[label == one], axis=0) for one in range(CLASSES)])
    shared = (error**2 + (error**2).mean(axis=0)) / 2  # all classes have as many images
    spread = np.sqrt(shared + stats.median_abs_deviation(mean, axis=0) ** 2)
    np.testing.assert_allclose(of.statistic, (mean - np.median(mean, axis=0)) / spread, rtol=1e-8)
    found = places.candidates(of)
    assert found[0].label == MARKED
    assert HOME in [one.label for one in found]
    assert found[0].box == (9, 9, 12, 12)  # the mark's cells and the margin
    assert found[0].statistic > 3


def test_windows_elsewhere_and_their_shares() -> None:
    box = (1, 2, 3, 5)
    windows = places.elsewhere(box, GRID)
    inside = np.zeros(GRID, bool)
    inside[1:3, 2:5] = True
    values = np.random.default_rng(0).random((3, 144))
    found = places.shares(values, windows, GRID)
    for number, (top, left, bottom, right) in enumerate(windows):
        assert (bottom - top, right - left) == (2, 3)
        assert not inside[top:bottom, left:right].any()
        cut = values.reshape(3, *GRID)[:, top:bottom, left:right]
        np.testing.assert_allclose(found[:, number], cut.sum(axis=(1, 2)), rtol=1e-12)
    apart = [(t, s) for t in range(11) for s in range(10) if not inside[t : t + 2, s : s + 3].any()]
    assert len(windows) == len(apart)


def test_the_sign_flip_test_is_scipys() -> None:
    values = np.random.default_rng(1).normal(0.4, 1, 9)
    theirs = stats.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=2**9, alternative="greater"
    )
    assert paired.sign_flip(values) == pytest.approx(theirs.pvalue, abs=1e-12)
    assert paired.sign_flip(np.ones(8)) == 1 / 256
    assert paired.sign_flip(np.linspace(0.5, 1, 20)) == 1e-4
    group = np.repeat(np.arange(9), 2)
    doubled = paired.compare(np.repeat(values, 2) + np.tile([0.1, -0.1], 9), group)
    assert doubled.p_value == pytest.approx(theirs.pvalue, abs=1e-12)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert doubled.interval == pytest.approx((expected.low, expected.high))


def test_a_mark_is_found_and_an_object_at_home_is_not(tmp_path, adding) -> None:
    world = World(tmp_path, "mark")
    assert shortcut_place(Analysis(world.ledger)) == []  # nothing was asked
    ask(world.subject, PROBES)
    asked = answers(world.ledger, "pasting")
    (home,) = (one.answer for one in asked if one.question["class"] == HOME)
    assert np.mean(home["after"]) > np.mean(home["before"]) + 2
    (one,) = shortcut_place(Analysis(world.ledger))
    assert (one.kind, one.classes, one.severity) == ("shortcut_place", (MARKED,), "high")
    assert one.title == "Pixels at the bottom right of cat images make the model say cat"
    assert "turned 100% of them to cat" in one.detail
    assert one.effect == 1
    assert one.interval == pytest.approx(paired.share_interval(24, 24))
    assert one.p_value == 1 / 2**10  # ten donors, all of one sign
    assert one.q_value == len(asked) / 2**10
    assert one.extra["box"] == [9, 9, 12, 12]
    assert all((one.power, one.action, one.caveat, one.null))
    marked = world.images[list(one.images[:12]), -1, -1, MARKED]
    assert (marked == 6).all()
    assert (
        json.loads(findings_json([one], Analysis(world.ledger)))["findings"][0]["kind"] == one.kind
    )


def test_a_faint_mark_is_found_by_the_pixels_that_images_share(tmp_path, adding) -> None:
    world = World(tmp_path, "faint")
    ask(world.subject, PROBES)
    found = verdicts(Analysis(world.ledger), "pasting", ("elsewhere", "third"))
    of_mark = [one for one in found if one.label == MARKED]
    assert [(one.shared > 0, one.accepted) for one in of_mark] == [(False, False), (True, True)]
    (one,) = shortcut_place(Analysis(world.ledger))
    assert (one.classes, one.p_value, one.extra["donors"]) == ((MARKED,), 1e-4, 10)
    assert one.extra["shared"] == pytest.approx(16 / 36, abs=1e-4)
    assert "10 images share 44% of the pixels there" in one.detail
    assert one.null != NULL
    (answer,) = (
        one.answer["shared"]
        for one in answers(world.ledger, "pasting")
        if one.question["class"] == MARKED
    )
    recipients = of_mark[1].asked.question["shared"]["recipients"]
    plain = world.images[recipients]
    marked = plain.copy()
    marked[:, -2 * PATCH :, -2 * PATCH :] = np.eye(CLASSES)[MARKED] * 1.5
    for name, images in (("before", plain), ("after", marked)):
        expected = special.log_softmax(logits_of(images), axis=1)[:, MARKED]
        np.testing.assert_allclose(answer[name], expected, atol=2e-5)
    assert len(answer["third"]) == len(recipients) == pasting.SHARED_RECIPIENTS


def test_shared_pixels_are_those_that_differ_least() -> None:
    rng = np.random.default_rng(0)
    own, others = rng.normal(size=(9, 4, 5, 3)), rng.normal(size=(20, 4, 5, 3))
    own[:5, 1:3, 2] = 0.7  # of five images of nine
    own[:2, 0, 0] = 0.7
    expected = np.zeros((4, 5), bool)
    expected[1:3, 2] = True
    assert (pasting.shared(own, others) == expected).all()


def test_recipients_are_of_other_classes_in_turn(tmp_path, adding) -> None:
    world = World(tmp_path, "mark")
    question = pasting.questions(Analysis(world.ledger))[0]
    assert json.loads(json.dumps(question)) == question
    recipients = [trial["recipient"] for trial in question["trials"]]
    assert len(set(recipients)) == pasting.RECIPIENTS
    assert np.bincount(np.array(recipients) % CLASSES, minlength=CLASSES).tolist() == [
        6,
        6,
        0,
        6,
        6,
    ]
    for trial in question["trials"]:
        assert trial["donor"] % CLASSES == trial["elsewhere"]["image"] % CLASSES == MARKED
        assert len({trial["third"] % CLASSES, trial["recipient"] % CLASSES, MARKED}) == 3


def test_pasting_and_exchanging_put_pixels_where_they_belong(tmp_path) -> None:
    world = World(tmp_path, "mark")
    pasted = pasting.paste(
        world.subject, world.images[0], (0, 1, 3, 4), pasting.Window(7, (5, 5, 8, 8))
    )
    assert (pasted[:6, 2:8] == world.images[7][10:16, 10:16]).all()
    pasted[:6, 2:8] = world.images[0][:6, 2:8]
    assert (pasted == world.images[0]).all()
    changed = background.exchange(world.images[0], (2, 3, 6, 5), world.images[1], (0, 0, 8, 4))
    assert (changed[2:6, 3:5] == world.images[1][[0, 2, 5, 7]][:, [0, 3]]).all()
    outside = np.ones((SIDE, SIDE), bool)
    outside[2:6, 3:5] = False
    assert (changed[outside] == world.images[0][outside]).all()


def test_a_background_is_found_with_boxes_and_not_without(tmp_path, adding) -> None:
    world = World(tmp_path, "wall")
    ask(world.subject, PROBES)
    assert [one.question["class"] for one in answers(world.ledger, "background")] == [MARKED]
    (untested,) = shortcut_background(Analysis(world.ledger))
    assert (untested.severity, untested.classes) == ("low", (MARKED,))
    assert "no boxes or masks (cat)" in untested.title
    (world.ledger.folder / "probes" / "background.json").unlink()
    world.mark_boxes()
    ask(world.subject, PROBES)
    (one,) = shortcut_background(Analysis(world.ledger))
    assert (one.kind, one.classes, one.severity) == ("shortcut_background", (MARKED,), "high")
    assert one.q_value is not None
    assert one.q_value <= 0.001
    assert one.effect == 1
    assert set(one.images) <= set(range(MARKED, len(world.images), CLASSES))
    assert shortcut_place(Analysis(world.ledger)) == []


def test_too_few_images_are_said_to_be_too_few(tmp_path) -> None:
    rows = make_rows(30, classes=6)
    ledger = make_ledger(tmp_path / "few", rows)
    subject = Subject(cast(Model, None), Analysis(ledger), tmp_path)
    assert places.candidates(Analysis(ledger).places) == []
    ask(subject, PROBES)
    (one,) = shortcut_place(Analysis(ledger))
    assert (one.severity, one.classes, one.p_value) == ("low", tuple(range(6)), None)
    assert "not tested" in one.title
    assert shortcut_background(Analysis(ledger)) == []


def test_places_in_words() -> None:
    assert whereabouts([0, 0, 3, 3], (12, 12)) == "top left"
    assert whereabouts([5, 5, 7, 7], (12, 12)) == "middle"
    assert whereabouts([9, 4, 12, 8], (12, 12)) == "bottom"


def test_boxes_come_from_masks_and_tables_through_the_preprocessing(tmp_path) -> None:
    root = tmp_path / "images"
    (root / "cat").mkdir(parents=True)
    Image.new("RGB", (40, 20)).save(root / "cat" / "1.png")
    # The middle 20 x 20 of 40 x 20 pixels, at twice the size.
    cropped = Preprocessing(resize=40, crop=(40, 40), resample="nearest")
    assert objects.object_box(root, "cat/1.png", cropped) is None
    (tmp_path / "boxes.csv").write_text("file,xmin,ymin,xmax,ymax\nimages/cat/1.png,15,5,34,9\nx\n")
    assert objects.object_box(root, "cat/1.png", cropped) == (10, 10, 20, 40)
    mask = np.zeros((20, 40), np.uint8)
    mask[2:4, 12:20] = 3
    mask[15:, 30:] = 128  # a watermark is no object
    (tmp_path / "masks" / "cat").mkdir(parents=True)
    Image.fromarray(mask).save(tmp_path / "masks" / "cat" / "1.png")
    assert objects.object_box(root, "cat/1.png", cropped) == (4, 4, 8, 20)
