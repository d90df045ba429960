"""The protocols of FunnyBirds against sets of names, SciPy's correlation, and cases by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jaxattr.metrics import funnybirds

RNG = np.random.default_rng(0)
PARTS = ("beak", "wing", "tail", "foot")
THRESHOLDS = np.array([0.0, 0.1, 0.3])


def as_sets(chosen):
    return [{part for part, yes in zip(PARTS, row, strict=True) if yes} for row in chosen]


def test_parts_count_pixels_and_are_compared_with_the_whole():
    map_ = np.array([[4.0, -1.0], [0.0, 3.0]])
    regions = np.array([[[0.5, 0.0], [0, 0]], [[0, 1], [0, 0]], [[0, 0.0], [1, 1]]])
    importance = funnybirds.part_importance(map_, regions)
    assert importance.tolist() == [2, -1, 3]
    chosen = funnybirds.important(importance, 6.0, np.array([0.1, 0.4, 0.5]))
    assert chosen.tolist() == [[True, False, True], [False, False, True], [False, False, False]]
    # Of a negative sum the least negative parts are chosen, as in the authors' formula.
    assert funnybirds.important(importance, -20.0, np.array([0.1])).tolist() == [[True] * 3]
    assert funnybirds.THRESHOLDS[[0, -1]].tolist() == [0.01, 0.5]


def test_checks_are_those_of_sets():
    sufficient = [{"beak"}, {"wing", "tail"}]
    table = np.array([[part in one for part in PARTS] for one in sufficient])
    predicted = RNG.integers(0, 3, 16)
    said = {
        frozenset(part for k, part in enumerate(PARTS) if place >> k & 1): value
        for place, value in enumerate(predicted.tolist())
    }
    whole = frozenset(PARTS)
    for _ in range(20):
        chosen = funnybirds.important(RNG.normal(size=4), 1.0, THRESHOLDS)
        check, kept, lost = (
            funnybirds.data_check(chosen, table),
            funnybirds.preservation_check(chosen, predicted),
            funnybirds.deletion_check(chosen, predicted),
        )
        for k, found in enumerate(as_sets(chosen)):
            assert check[k] == max(len(one & found) / len(one) for one in sufficient)
            assert kept[k] == (said[frozenset(found)] == said[whole])
            assert lost[k] == (said[whole - found] != said[whole])


def test_distractibility_asks_for_what_does_not_matter():
    matters = funnybirds.unimportant(np.array([9.6, 9.4, 12.0, 2.0]), 10.0)
    assert matters.tolist() == [True, False, True, False]
    assert funnybirds.unimportant(np.array([-9.6, -12.0, 3.0]), -10.0).tolist() == [
        True,
        False,
        True,
    ]
    chosen = np.array([[True, True, False, False], [False, True, False, True], [True] * 4])
    assert funnybirds.distractibility(chosen, matters).tolist() == [0.5, 1, 0]
    assert np.isnan(funnybirds.distractibility(chosen, np.zeros(4, bool))).all()


def test_single_deletion_is_scipys_correlation():
    for size in (3, 5):
        importance, drop = np.round(RNG.normal(size=(2, size)), 1)
        expected = np.asarray(stats.spearmanr(importance, drop))[0]
        found = funnybirds.single_deletion(importance, drop)
        assert found == pytest.approx((expected + 1) / 2, abs=1e-12)
    assert funnybirds.single_deletion(np.arange(4.0), np.exp(np.arange(4))) == pytest.approx(1)
    assert np.isnan(funnybirds.single_deletion(np.ones(4), np.arange(4.0)))


def test_target_sensitivity_by_hand():
    assert funnybirds.target_sensitivity(np.array([[3.0, 1.0], [2.0, 2.0]])) == 1
    assert funnybirds.target_sensitivity(np.array([[3.0, 1.0], [4.0, 2.0]])) == 0.5
    assert funnybirds.target_sensitivity(np.array([[3.0, 1.0], [3.0, 1.0]])) == 0
    assert funnybirds.is_sensitive(np.array([[-5.0, 1.0], [0.5, -2.0]]))
    assert not funnybirds.is_sensitive(np.array([[-5.0, 1.0], [-3.0, -2.0]]))


def test_the_threshold_serves_checks_and_distractibility():
    checks = np.array([[0.9, 0.6, 0.3], [0.9, 0.6, 0.3], [0.9, 0.9, 0.0]])
    assert funnybirds.best_threshold(checks, np.array([0.2, 0.5, 0.6])) == 1
    assert funnybirds.best_threshold(checks, np.array([0.0, 0.1, 0.6])) == 0
