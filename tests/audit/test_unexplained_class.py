"""Unexplained class: areas of the deletion probe, the verdict on a map, the finding."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from ledgers import make_ledger, make_rows
from scipy import stats

from jaxattr.audit.findings.unexplained_class import unexplained_class
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.probes import Subject, deletion
from jaxattr.audit.probes.store import Answered, save
from jaxattr.audit.statistics.faithfulness import USEFUL, judge
from jaxattr.vit import predict


def test_areas_agree_with_a_loop(tmp_path, tiny_model, tiny_images, monkeypatch) -> None:
    rows = make_rows(8, labels=("a", "b", "c", "d", "e"), grid=(2, 3), classes=1)
    look = jax.jit(predict)
    for row in rows:
        row["logits"] = np.asarray(look(tiny_model, tiny_images[0]))
    ledger = make_ledger(tmp_path, rows, labels=("a", "b", "c", "d", "e"), grid=(2, 3))
    image = tiny_images[0]
    monkeypatch.setattr(Subject, "image", lambda self, index: np.asarray(image))
    subject = Subject(tiny_model, Analysis(ledger), Path())
    question = deletion.raise_questions(Analysis(ledger), np.ones(8, bool))[0]
    answer = deletion.answer(subject, question)
    assert len(answer["random"]) == deletion.RANDOM
    pixels = np.asarray(image)
    mean = pixels.mean(axis=(0, 1))
    for name, index, column in (
        ("conservative", question["image"], "map_label"),
        ("positive", question["image"], "map_positive"),
        ("donor_conservative", question["donor"], "map_label"),
    ):
        scores = ledger.rows([index], column)[index][column].ravel()
        order = np.argsort(-scores, kind="stable")
        values = []
        for share in deletion.SHARES:
            covered = pixels.copy()
            for cell in order[: int(share * 6)]:
                top, left = 4 * (cell // 3), 4 * (cell % 3)
                covered[top : top + 4, left : left + 4] = mean
            seen = np.exp(np.asarray(look(tiny_model, covered)))
            values.append(seen[question["label"]] / seen.sum())
        expected = np.trapezoid(values, deletion.SHARES) / deletion.SHARES[-1]
        assert answer[name] == pytest.approx(expected, abs=2e-5)


def learned(rows):
    """Rows of a model that knows the classes, and errs on every eighth image."""
    for row in rows:
        if row["index"] % 8:
            row["logits"][row["label"]] += 8
            row["prediction"] = int(row["logits"].argmax())
    return rows


def test_questions_have_a_donor_of_the_class(tmp_path) -> None:
    rows = learned(make_rows(400, classes=6))
    ledger = make_ledger(tmp_path, rows)
    asked = deletion.questions(Analysis(ledger))
    assert len(asked) == 6 * 10
    for one in asked:
        assert rows[one["image"]]["label"] == rows[one["donor"]]["label"] == one["label"]
        assert one["image"] != one["donor"]
        # With that many to choose from, all drawn are right.
        assert rows[one["image"]]["prediction"] == one["label"]


def test_nothing_is_asked_without_maps_or_of_single_images(tmp_path) -> None:
    assert (
        deletion.questions(Analysis(make_ledger(tmp_path / "few", make_rows(6, classes=6)))) == []
    )
    rows = learned(make_rows(16))
    for row in rows:
        row |= dict.fromkeys(("map_label", "map_rival", "map_pair", "map_positive"))
    assert deletion.questions(Analysis(make_ledger(tmp_path / "none", rows))) == []


def test_a_model_that_knows_nothing_is_not_asked(tmp_path) -> None:
    rows = make_rows(64)
    for row in rows:
        row["logits"] = np.zeros(6, np.float32)
    ledger = make_ledger(tmp_path, rows)
    assert deletion.questions(Analysis(ledger)) == []
    assert len(deletion.raise_questions(Analysis(ledger), np.ones(64, bool))) == 40


def test_a_verdict_is_two_t_tests() -> None:
    rng = np.random.default_rng(0)
    own, chance = rng.random(6), rng.random((6, 2)) + 0.1
    donor = rng.random(6) + 0.2
    verdict = judge(own, chance, donor)
    over_chance = stats.ttest_rel(chance.mean(axis=1), own, alternative="greater")[1]
    over_donor = stats.ttest_rel(donor, own, alternative="greater")[1]
    assert verdict.p_better == pytest.approx(max(over_chance, over_donor))
    small = stats.ttest_1samp(donor - own, USEFUL, alternative="less")
    assert verdict.gains[1].p_useless == pytest.approx(small[1])
    assert verdict.gains[1].interval == pytest.approx(
        stats.ttest_rel(donor, own).confidence_interval()
    )


def _answered(generator, class_, kind, count=8) -> list[Answered]:
    """Areas of maps that are useless, good, or too few to tell."""
    found = []
    for number in range(count):
        null = generator.normal(0.6, 0.01, 4)
        gain = {"useless": 0.0, "good": 0.3, "positive": 0.3, "unclear": 0.0}[kind]
        noise = generator.normal(0, 0.4 if kind == "unclear" else 0.01, 2)
        answer = {
            "conservative": null[0] - (0 if kind == "positive" else gain) + noise[0],
            "positive": null[1] - gain + noise[1],
            "donor_conservative": null[2],
            "donor_positive": null[2],
            "random": [null[3], 0.6],
        }
        question = {"label": class_, "image": 4 * number + class_, "donor": 0}
        found.append(Answered(question, answer))
    return found


def test_the_finding(tmp_path) -> None:
    ledger = make_ledger(tmp_path, make_rows(40))
    assert unexplained_class(Analysis(ledger)) == []
    rng = np.random.default_rng(0)
    kinds = ("useless", "good", "positive", "unclear")
    answered = [one for at, kind in enumerate(kinds) for one in _answered(rng, at, kind)]
    save(ledger, "deletion", 1, answered, complete=True)
    first, second = unexplained_class(Analysis(ledger))
    assert (first.classes, first.severity, first.extra["maps"]) == (
        (0,),
        "medium",
        ["conservative", "positive"],
    )
    assert first.q_value is not None
    assert first.q_value <= 0.05
    assert (second.classes, second.severity, second.extra["maps"]) == (
        (2,),
        "low",
        ["conservative"],
    )
    assert "Do not read the conservative maps of cat" in second.title
    assert "Read the positive maps" in second.action


def test_a_model_without_maps_worth_reading_is_one_finding(tmp_path) -> None:
    ledger = make_ledger(tmp_path, make_rows(40))
    rng = np.random.default_rng(0)
    answered = [one for at in range(4) for one in _answered(rng, at, "useless")]
    save(ledger, "deletion", 1, answered, complete=True)
    (found,) = unexplained_class(Analysis(ledger))
    assert found.classes == (0, 1, 2, 3)
    assert "any map of this model" in found.title


def test_good_maps_are_seldom_reported(tmp_path) -> None:
    ledger = make_ledger(tmp_path, make_rows(40))
    rng = np.random.default_rng(5)
    answered = [one for at in range(4) for one in _answered(rng, at, "good")]
    save(ledger, "deletion", 1, answered, complete=True)
    assert unexplained_class(Analysis(ledger)) == []
