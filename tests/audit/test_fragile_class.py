"""Fragile class: the border's distance, the comparison of classes, the finding."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from ledgers import make_ledger, make_rows
from scipy import stats

from jaxattr.audit.findings.fragile_class import fragile_class
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.probes import pictures, rewriting
from jaxattr.audit.probes.lots import IMAGES, lots
from jaxattr.audit.probes.store import Answered, save
from jaxattr.audit.statistics.fragility import compare_budgets, smallest_ratio
from jaxattr.vit import Preprocessing, predict

FIND = jax.jit(rewriting.border)
SIGNS = np.array([1, -1], np.float32)


@pytest.fixture(scope="module")
def model(tiny_model):
    return replace(tiny_model, preprocessing=Preprocessing(None, std=(0.5, 0.25, 1.0)))


def test_the_border_is_crossed_by_a_change_of_that_length(model, tiny_images) -> None:
    look = jax.jit(predict)
    logits = [np.asarray(look(model, image)) for image in tiny_images]
    for image, seen in zip(tiny_images, logits, strict=True):
        found = FIND(model, image, int(seen.argmax()))
        assert bool(found.crossed)
        assert int(found.to) != int(seen.argmax())
        assert 1 <= int(found.steps) <= rewriting.STEPS
        assert float(found.budget) > 0


def test_the_forecast_is_the_margin_over_the_slope(model, tiny_images) -> None:
    image = tiny_images[0]
    look = jax.jit(predict)
    logits = np.asarray(look(model, image))
    label, rival = (int(one) for one in np.argsort(-logits)[:2])
    found = FIND(model, image, label)
    scale = np.array([1 / 255 / 0.5, 1 / 255 / 0.25, 1 / 255], np.float32)
    slopes = jax.jit(
        jax.grad(lambda image: predict(model, image)[np.array([label, rival])] @ SIGNS)
    )
    gradient = np.asarray(slopes(image)) * scale
    length = np.sqrt((gradient**2).sum())
    expected = (logits[label] - logits[rival]) / length / np.sqrt(image.size)
    assert float(found.linear) == pytest.approx(expected, rel=1e-3)
    # One grey level along the gradient changes the margin by its length.
    ahead = np.asarray(look(model, image + gradient / length * scale))
    gained = ahead[label] - ahead[rival] - logits[label] + logits[rival]
    assert gained == pytest.approx(length, rel=0.1)


def test_an_image_of_another_class_needs_no_change(model, tiny_images) -> None:
    worst = int(np.asarray(jax.jit(predict)(model, tiny_images[0])).argmin())
    found = FIND(model, tiny_images[0], worst)
    assert (int(found.steps), float(found.budget), bool(found.crossed)) == (0, 0, True)


def learned(rows):
    """Rows of a model that knows the classes, and errs on every eighth image."""
    for row in rows:
        if row["index"] % 8:
            row["logits"][row["label"]] += 8
            row["prediction"] = int(row["logits"].argmax())
    return rows


def test_questions_are_right_images_and_bounded(tmp_path) -> None:
    rows = learned(make_rows(400, classes=6))
    ledger = make_ledger(tmp_path, rows)
    asked = rewriting.questions(Analysis(ledger))
    assert len(asked) == 6 * 10
    for one in asked:
        row = rows[one["image"]]
        assert row["label"] == row["prediction"] == one["label"]
    assert asked == rewriting.questions(Analysis(ledger))


def test_two_classes_are_not_compared(tmp_path) -> None:
    assert (
        rewriting.questions(Analysis(make_ledger(tmp_path, learned(make_rows(100, classes=2)))))
        == []
    )


@pytest.mark.parametrize(("classes", "each"), [(1, 3), (3, 50), (40, 5), (500, 4), (1000, 1)])
def test_lots_are_bounded_and_fair(classes, each) -> None:
    drawn = lots(np.tile(np.arange(classes), each))
    sizes = [len(members) for _, members in drawn]
    assert sum(sizes) <= IMAGES
    assert len(drawn) == (min(classes, 30) if each >= 4 else 0)
    assert len(set(sizes)) <= 1
    for class_, members in drawn:
        assert set(members % classes) == {class_}
        assert len(set(members.tolist())) == len(members)


def test_p_values_agree_with_an_exact_test() -> None:
    rng = np.random.default_rng(3)
    label = np.repeat(np.arange(4), 5)
    budget = np.exp(rng.normal(size=20)) * np.where(label == 2, 0.2, 1.0)
    found = compare_budgets(budget, label)
    for at in range(4):
        exact = stats.permutation_test(
            (np.log(budget[label == at]), np.log(budget[label != at])),
            lambda own, others: own.mean() - others.mean(),
            alternative="less",
            n_resamples=100_000,
        )
        assert found.p_value[at] == pytest.approx(exact.pvalue, abs=0.02)
    assert found.fragile == [2]
    expected = np.median(budget[label == 2]) / np.median(budget[label != 2])
    assert found.ratio[2] == pytest.approx(expected)
    assert found.low[2] <= found.ratio[2] <= found.high[2]
    np.testing.assert_allclose(found.q_value, stats.false_discovery_control(found.p_value))


def test_power_is_what_simulation_gives() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(6), 8)
    logs = rng.normal(size=48) * 0.5
    ratio = smallest_ratio(logs, np.flatnonzero(label == 0), 6)
    hits = 0
    for _ in range(60):
        budget = np.exp(rng.normal(size=48) * 0.5) * np.where(label == 0, ratio, 1.0)
        hits += compare_budgets(budget, label).q_value[0] <= 0.05
    assert 0.6 <= hits / 60 <= 0.95


def test_equal_classes_are_seldom_reported() -> None:
    rng = np.random.default_rng(1)
    label = np.repeat(np.arange(6), 8)
    alarms = [len(compare_budgets(np.exp(rng.normal(size=48)), label).fragile) for _ in range(40)]
    assert sum(alarms) <= 5


def test_the_finding(tmp_path) -> None:
    ledger = make_ledger(tmp_path, make_rows(40))
    assert fragile_class(Analysis(ledger)) == []
    rng = np.random.default_rng(0)
    answered = [
        Answered(
            {"label": class_, "image": 4 * number + class_},
            {"budget": float(np.exp(rng.normal() / 3)) * (0.2 if class_ == 1 else 1), "to": 3},
        )
        for class_ in range(4)
        for number in range(8)
    ]
    save(ledger, "rewriting", 1, answered, complete=False)
    assert fragile_class(Analysis(ledger)) == []
    save(ledger, "rewriting", 1, answered, complete=True)
    (found,) = fragile_class(Analysis(ledger))
    assert found.classes == (1, 3)
    assert "bee" in found.title
    assert "8 of 8 become dog" in found.detail
    assert found.severity == "medium"
    assert found.effect is not None
    assert found.effect < 0.4
    assert (
        found.images[0]
        == min(
            (one for one in answered if one.question["label"] == 1),
            key=lambda one: one.answer["budget"],
        ).question["image"]
    )


def test_pictures_confirm_or_deny(tmp_path) -> None:
    ledger = make_ledger(tmp_path, make_rows(40))
    assert pictures.questions(Analysis(ledger)) == []
    rng = np.random.default_rng(0)
    answered = [
        Answered(
            {"label": class_, "image": 4 * number + class_},
            {"budget": float(np.exp(rng.normal() / 3)) * (0.2 if class_ == 1 else 1), "to": 3},
        )
        for class_ in range(4)
        for number in range(8)
    ]
    save(ledger, "rewriting", 1, answered, complete=True)
    asked = pictures.questions(Analysis(ledger))
    assert [one["label"] == 1 for one in asked] == [True] * 3 + [False] * 3
    assert {one["for"] for one in asked} == {1}
    for levels, severity in ((1, "medium"), (5, "low")):
        told = [
            Answered(one, {"levels": levels if one["label"] == 1 else 3, "reached": True})
            for one in asked
        ]
        save(ledger, "pictures", 1, told, complete=True)
        (found,) = fragile_class(Analysis(ledger))
        assert found.severity == severity
        assert f"largest change was {levels} (median of 3), of other classes 3 (3)" in found.detail
