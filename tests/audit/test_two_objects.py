"""Two objects, one label: where the crops lie, whom they are asked about, what is proven."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from ledgers import make_ledger, make_rows

from jaxattr.audit.findings.two_objects import two_objects
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.probes import Subject, crops
from jaxattr.audit.probes.store import Answered, save
from jaxattr.vit import predict


def test_peaks_are_the_best_windows_apart() -> None:
    for seed in range(5):
        values = np.random.default_rng(seed).normal(size=(6, 9)).astype(np.float32)
        best, wanted = -np.inf, None
        boxes = [(top, left, top + 2, left + 3) for top in range(5) for left in range(7)]
        for first in boxes:
            for second in boxes:
                cells = np.zeros((2, 6, 9), bool)
                for mask, (top, left, bottom, right) in zip(cells, (first, second), strict=True):
                    mask[top:bottom, left:right] = True
                difference = values[cells[0]].sum() - values[cells[1]].sum()
                if not (cells[0] & cells[1]).any() and difference > best:
                    best, wanted = difference, (first, second)
        assert tuple(map(tuple, crops.peaks(values))) == wanted


def test_quarters_and_halves_are_apart() -> None:
    for grid in ((12, 12), (3, 4), (2, 3)):
        for pair in (crops.halves(grid)[:2], crops.halves(grid)[2:]):
            cells = np.zeros(grid, int)
            for top, left, bottom, right in pair:
                cells[top:bottom, left:right] += 1
            assert cells.max() == 1
            assert pair[1][2:] == grid
        cells = np.zeros(grid, int)
        for top, left, bottom, right in crops.quadrants(grid):
            cells[top:bottom, left:right] += 1
        assert cells.max() == 1


def test_a_crop_is_enlarged_as_jax_does_it() -> None:
    image = np.random.default_rng(0).normal(size=(12, 16, 3)).astype(np.float32)
    found = crops.crop(image, (1, 0, 3, 2), (3, 4))
    expected = jax.image.resize(image[4:12, 0:8], (12, 16, 3), "linear")
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-5)


@pytest.fixture
def rows():
    """Sure images of four classes, two that are doubted, three that are contradicted."""
    rows = make_rows(60, seed=1)
    rng = np.random.default_rng(0)
    for row in rows:
        logits = rng.normal(size=6).astype(np.float32) - 60
        rival = (row["label"] + 1) % 4
        logits[row["label"]], logits[rival] = 60, 0
        if row["index"] in (8, 9):
            logits[rival] = 50.5 + row["index"]
        if row["index"] in (4, 5, 6):
            logits[rival] = 60 + row["index"] / 8
        row |= {"logits": logits, "prediction": int(logits.argmax()), "rival": rival}
    return rows


def test_candidates_and_their_controls(tmp_path, rows) -> None:
    ledger = make_ledger(tmp_path, rows)
    asked = crops.questions(Analysis(ledger))
    candidates = [one["image"] for one in asked if one["role"] == "candidate"]
    assert candidates == [6, 5, 4, 9, 8]
    controls = [one for one in asked if one["role"] == "control"]
    assert len(controls) <= crops.CONTROLS * 3
    pairs = {frozenset((one["label"], one["rival"])) for one in asked if one["image"] in candidates}
    for one in controls:
        assert one["image"] not in candidates
        assert frozenset((one["label"], one["rival"])) in pairs
        assert rows[one["image"]]["prediction"] == one["label"]
    expected = crops.peaks(ledger.rows([6], "map_pair")[6]["map_pair"])
    assert asked[0]["boxes"] == expected.tolist()


def test_the_number_of_questions_is_bounded(tmp_path, rows, monkeypatch) -> None:
    for name, most in (
        ("CONTRADICTED", 2),
        ("DOUBTED", 1),
        ("CONTROLS", 4),
        ("CONTROLS_IN_ALL", 5),
    ):
        monkeypatch.setattr(crops, name, most)
    asked = crops.questions(Analysis(make_ledger(tmp_path, rows)))
    assert [one["image"] for one in asked[:3]] == [6, 5, 9]
    assert [one["role"] for one in asked] == ["candidate"] * 3 + ["control"] * 5


def test_a_model_that_knows_nothing_is_not_asked(tmp_path, rows) -> None:
    rng = np.random.default_rng(0)
    for row in rows:
        logits = rng.normal(size=6).astype(np.float32)
        row |= {"logits": logits, "prediction": int(logits.argmax())}
        row["rival"] = int(np.argsort(-logits)[int(logits.argmax() == row["label"])])
    assert crops.questions(Analysis(make_ledger(tmp_path, rows))) == []


def test_answers_are_calibrated_probabilities(tmp_path, tiny_model, tiny_images, monkeypatch):
    names = ("a", "b", "c", "d", "e")
    ledger = make_ledger(
        tmp_path, make_rows(24, labels=names, grid=(2, 3)), labels=names, grid=(2, 3)
    )
    image = np.asarray(tiny_images[0])
    monkeypatch.setattr(Subject, "image", lambda self, index: image)
    boxes = [[0, 1, 1, 2], [1, 0, 2, 1]]
    question = {"role": "candidate", "image": 0, "label": 2, "rival": 4, "boxes": boxes}
    answer = crops.answer(Subject(tiny_model, Analysis(ledger), Path()), question)
    temperature = Analysis(ledger).posterior.model.temperature
    look = jax.jit(predict)
    places = [*boxes, *crops.quadrants((2, 3)), *crops.halves((2, 3))]
    for box, seen in zip(places, answer["seen"], strict=True):
        part = crops.crop(image, tuple(box), (2, 3))
        logits = np.asarray(look(tiny_model, part)) / temperature
        expected = np.exp(logits - np.logaddexp.reduce(logits))[[2, 4]]
        assert seen == pytest.approx(expected.tolist(), abs=1e-4)


def test_proof_needs_both_crops_and_no_control_that_passes(tmp_path, rows) -> None:
    ledger = make_ledger(tmp_path, rows)
    assert two_objects(Analysis(ledger)) == []

    none = ((0.0, 0.0),) * 4

    def asked(role, image, label, rival, pointed, fixed=none, halves=none):
        boxes = [[0, 0, 1, 1], [2, 2, 3, 3]]
        question = {"role": role, "image": image, "label": label, "rival": rival, "boxes": boxes}
        return Answered(question, {"seen": [[pointed[0], 0.1], [0.1, pointed[1]], *fixed, *halves]})

    nothing = (0.0, 0.0)
    answered = [
        asked("candidate", 4, 0, 1, (0.9, 0.8)),
        asked("candidate", 5, 0, 1, (0.9, 0.7)),
        asked("candidate", 6, 2, 3, (0.9, 0.9)),
        # One quarter that is recognised as both proves nothing, two do.
        asked("candidate", 8, 0, 1, nothing, ((0.95, 0.95), *[nothing] * 3)),
        asked("candidate", 9, 1, 0, nothing, (nothing, (0.99, 0), nothing, (0, 0.93))),
        asked("candidate", 10, 1, 0, nothing, (nothing, (0.8, 0), nothing, (0, 0.93))),
        # Opposite halves prove two objects, overlapping ones nothing.
        asked("candidate", 16, 0, 1, nothing, none, (nothing, nothing, (0, 0.96), (0.97, 0))),
        asked("candidate", 20, 0, 1, nothing, none, (nothing, (0.99, 0), nothing, (0, 0.99))),
        asked("control", 12, 1, 0, (0.9, 0.1)),
        asked("control", 14, 3, 2, (0.9, 0.85)),
    ]
    save(ledger, "crops", 1, answered, complete=True)
    first, second, third = two_objects(Analysis(ledger))
    assert (first.images, first.classes, first.severity) == ((4,), (0, 1), "low")
    assert first.score == first.effect == 0.8
    assert first.extra["boxes"] == [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert "Two objects, one label: ant and bee" in first.title
    assert "28 images of these classes that the model gets right, 1 with" in first.detail
    assert "Keep it, or give it both labels" in first.action
    assert (second.images, second.score) == ((9,), 0.93)
    assert (third.images, third.score, third.extra["crops"]) == ((16,), 0.96, "halves")
    down = crops.halves(ledger.receipt.grid)[2:]
    assert third.extra["boxes"] == [list(down[1]), list(down[0])]
    few = make_ledger(tmp_path / "few", rows[:16])
    save(few, "crops", 1, answered[:1], complete=True)
    (found,) = two_objects(Analysis(few))
    assert "Perhaps two objects" in found.title
    assert "too few images" in found.detail
    places = crops.quadrants(ledger.receipt.grid)
    assert second.extra["boxes"] == [list(places[1]), list(places[3])]
