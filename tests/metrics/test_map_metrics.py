"""Metrics of maps alone: against hand-worked cases, SciPy, closed forms and plain loops."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace

import jax
import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from jaxattr import metrics
from jaxattr.errors import JaxattrError
from jaxattr.metrics.grid_pointing import cell
from jaxattr.metrics.metric import HEADINGS
from jaxattr.metrics.segmentation import average_precision
from jaxattr.plot import heatmap
from jaxattr.vit import initialize

RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=(4, 3, 5))
NOTHING = np.zeros((2, 3, 5))


def test_sparseness_is_half_the_mean_difference_over_the_mean():
    for one in MAPS:
        a = np.abs(one).ravel()
        expected = np.abs(a[:, None] - a).mean() / (2 * a.mean())
        assert metrics.sparseness(one) == pytest.approx(expected, abs=1e-12)
    assert metrics.sparseness(np.ones((3, 5))) == pytest.approx(0, abs=1e-12)
    assert metrics.sparseness(np.eye(15)[:1].reshape(3, 5)) == pytest.approx(1 - 1 / 15)
    assert np.isnan(metrics.sparseness(NOTHING)).all()


def test_the_ratio_of_signs():
    expected = [one[one > 0].sum() / -one[one < 0].sum() for one in MAPS]
    np.testing.assert_allclose(metrics.positive_to_negative(MAPS), expected, rtol=1e-12)
    assert metrics.positive_to_negative(-np.abs(MAPS[0])) == 0
    assert metrics.positive_to_negative(np.abs(MAPS[0])) == np.inf
    assert np.isnan(metrics.positive_to_negative(NOTHING)).all()


def test_complexity_is_scipys_entropy():
    expected = stats.entropy(np.abs(MAPS).reshape(4, -1), axis=1)
    np.testing.assert_allclose(metrics.complexity(MAPS), expected, rtol=1e-12)
    assert metrics.complexity(np.ones((3, 5))) == pytest.approx(np.log(15))
    assert metrics.complexity(np.eye(15)[:1].reshape(3, 5)) == 0
    assert np.isnan(metrics.complexity(NOTHING)).all()


def test_sensitivity_by_hand():
    map_ = np.array([[3.0, 4.0]])
    shaken = np.array([[[3.0, 5.0]], [[3.0, 4.0]], [[6.0, 8.0]]])
    assert metrics.max_sensitivity(map_, shaken) == 1
    assert metrics.max_sensitivity(map_, shaken[:2]) == pytest.approx(0.2)
    assert np.isnan(metrics.max_sensitivity(0 * map_, shaken))


def test_completeness_of_a_linear_model_and_of_a_wrong_one():
    weights = RNG.normal(size=(3, 5))
    change = (weights * MAPS).sum(axis=(1, 2))
    np.testing.assert_allclose(metrics.completeness(weights * MAPS, change), 0, atol=1e-12)
    np.testing.assert_allclose(metrics.completeness(1.5 * weights * MAPS, change), 0.5)
    assert np.isnan(metrics.completeness(MAPS[:1], np.zeros(1))).all()


def test_spearman_is_scipys():
    first, second = np.round(MAPS, 1), np.round(MAPS[::-1], 1)  # with ties
    expected = [
        np.asarray(stats.spearmanr(a.ravel(), b.ravel()))[0]
        for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(metrics.spearman(first, second), expected, atol=1e-12)
    assert metrics.spearman(MAPS[0], np.exp(MAPS[0])) == pytest.approx(1)
    assert np.isnan(metrics.spearman(MAPS[0], NOTHING[0]))


def test_the_cascade_draws_the_parameters_anew_from_the_head_down(tiny_model):
    drawn = initialize(tiny_model.config, jax.random.key(5))
    stages = metrics.cascade(replace(tiny_model, name="mine"), drawn)
    assert len(stages) == tiny_model.config.layers + 2
    seen: list[set[str]] = []
    for stage in stages:
        assert (stage.name, stage.labels) == ("mine", tiny_model.labels)
        assert set(stage.parameters) == set(drawn.parameters)
        anew = {name for name, own in stage.parameters.items() if own is drawn.parameters[name]}
        assert all(
            stage.parameters[n] is tiny_model.parameters[n] for n in set(drawn.parameters) - anew
        )
        seen.append(anew)
    assert seen[0] == {"head"}
    assert seen[1] == {"head", "norm", "blocks_2"}
    assert seen[-2] == {"head", "norm", "blocks_2", "blocks_1", "blocks_0"}
    assert seen[-1] == set(drawn.parameters)


def test_mosaics_and_their_cells():
    images = [np.full((4, 6, 3), value, np.float32) for value in range(4)]
    images[2][0, 0] = 10
    whole = metrics.mosaic(images)
    assert whole.shape == (4, 6, 3)
    assert whole[:, :, 0].tolist() == [[0, 0, 0, 1, 1, 1]] * 2 + [
        [4, 2, 2, 3, 3, 3],
        [2, 2, 2, 3, 3, 3],
    ]
    np.testing.assert_array_equal(sum(cell((3, 5), place) for place in range(4)), np.ones((3, 5)))
    assert cell((3, 2), 2).tolist() == [[0, 0], [0.5, 0], [1, 0]]
    maps = np.array([[[2.0, -3.0], [1.0, 1.0]]] * 4)
    found = metrics.grid_pointing(maps, np.arange(4))
    np.testing.assert_allclose(found, [0.5, 0, 0.25, 0.25])
    assert np.isnan(metrics.grid_pointing(-np.abs(maps), np.arange(4))).all()
    with pytest.raises(JaxattrError, match="a mosaic of 3 images; wanted 4, 9 or another square"):
        metrics.mosaic(images[:3])
    with pytest.raises(JaxattrError, match="a mosaic of 1 images"):
        metrics.mosaic(images[:1])


def test_mosaics_of_nine_where_three_does_not_divide_the_sides():
    """Pixels of the large mosaic are counted one by one."""
    images = list(RNG.random((9, 4, 5, 3)))
    large = np.zeros((12, 15, 3))
    for place, one in enumerate(images):
        row, column = 4 * (place // 3), 5 * (place % 3)
        large[row : row + 4, column : column + 5] = one
    whole = metrics.mosaic(images)
    for row, column in np.ndindex(4, 5):
        mean = large[3 * row : 3 * row + 3, 3 * column : 3 * column + 3].mean(axis=(0, 1))
        np.testing.assert_allclose(whole[row, column], mean, rtol=1e-12)
    # A patch of the small mosaic is 3 x 3 pixels of the large one.
    for place in range(9):
        mask = np.zeros((12, 15), bool)
        row, column = 4 * (place // 3), 5 * (place % 3)
        mask[row : row + 4, column : column + 5] = True
        np.testing.assert_allclose(cell((4, 5), place, 3), metrics.pool(mask, (4, 5)), atol=1e-12)
    maps = np.stack([cell((4, 5), place, 3) for place in range(9)])
    expected = (maps**2).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    np.testing.assert_allclose(metrics.grid_pointing(maps, np.arange(9), 3), expected)
    flat = np.ones((9, 4, 5))
    np.testing.assert_allclose(metrics.grid_pointing(flat, np.arange(9), 3), 1 / 9)


def test_inside_above_is_of_means():
    map_, region = np.array([[5.0, 1.0, 1.0]]), np.array([[0.5, 0.0, 1.0]])
    # 7/3 inside, 7/3 outside: 2.5 + 1 over 1.5, 2.5 + 1 over 1.5.
    assert metrics.inside_above(map_, region) == 0
    more = np.array([[5.0, 1.0, 2.0]])
    assert metrics.inside_above(more, region) == metrics.inside_above(more - 100, region) == 1
    for undefined in (0 * region, 1 + 0 * region):
        assert np.isnan(metrics.inside_above(map_, undefined))
    assert np.isnan(metrics.inside_above(0 * map_, region))
    masks = RNG.random((4, 6, 10)) < 0.4
    large = heatmap.upsample(MAPS, (6, 10), smooth=False)
    expected = [one[m].mean() > one[~m].mean() for one, m in zip(large, masks, strict=True)]
    found = metrics.inside_above(MAPS, metrics.pool(masks, (3, 5)))
    np.testing.assert_array_equal(found, expected)


def test_localisation_and_energy_count_pixels():
    masks = RNG.random((4, 6, 10)) < 0.15
    masks[3] = False
    large = np.maximum(heatmap.upsample(MAPS, (6, 10), smooth=False), 0)
    inside = [(one * mask).sum() / one.sum() for one, mask in zip(large, masks, strict=True)]
    np.testing.assert_allclose(metrics.attribution_localisation(MAPS, masks), inside, rtol=1e-6)
    boxes = np.zeros_like(masks)
    for mask, box in zip(masks[:3], boxes, strict=False):
        rows, columns = np.nonzero(mask)
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    np.testing.assert_array_equal(metrics.bounding_boxes(masks), boxes)
    inside = [(one * box).sum() / one.sum() for one, box in zip(large, boxes, strict=True)]
    np.testing.assert_allclose(metrics.energy_pointing(MAPS, masks), inside, rtol=1e-6)
    assert np.isnan(metrics.energy_pointing(-np.abs(MAPS), masks)).all()


def test_average_precision_over_thresholds():
    score, truth = np.round(RNG.random(40), 1), RNG.random(40) < 0.3
    expected, before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        found = score >= threshold
        recall = (found & truth).sum() / truth.sum()
        expected += (recall - before) * (found & truth).sum() / found.sum()
        before = recall
    assert average_precision(score, truth) == pytest.approx(expected, abs=1e-12)
    # Worked by hand: hits at places 1 and 3 of 4.
    hand = average_precision(np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False]))
    assert hand == pytest.approx((1 + 2 / 3) / 2)


def test_segmentation_counts_pixels():
    masks = RNG.random((4, 6, 10)) < 0.4
    found = metrics.segmentation(MAPS, masks)
    for i, mask in enumerate(masks):
        large = heatmap.upsample(MAPS[i], (6, 10)).astype(np.float64)
        above = large > large.mean()
        assert found.accuracy[i] == pytest.approx((above == mask).mean())
        object_ = (above & mask).sum() / (above | mask).sum()
        background = (~above & ~mask).sum() / (~above | ~mask).sum()
        assert found.mean_iou[i] == pytest.approx((object_ + background) / 2)
    perfect = metrics.segmentation(np.array([[[0.0, 1.0]]]), np.array([[[False, True]]]))
    assert [float(one[0]) for one in perfect] == [1, 1, 1]
    assert np.isnan(metrics.segmentation(NOTHING, masks[:2])).all()


def test_the_table_is_whole():
    assert {one.heading for one in metrics.METRICS.values()} == set(HEADINGS)
    assert [one.heading for one in metrics.METRICS.values()] == sorted(
        (one.heading for one in metrics.METRICS.values()), key=HEADINGS.index
    )
    for name, one in metrics.METRICS.items():
        assert re.fullmatch(rf"{name}-v\d+", one.id)
        assert one.better in ("higher", "lower")
    assert set(metrics.CHEAP) < set(metrics.METRICS)


def test_the_page_holds_the_table():
    page = runpy.run_path(str(ROOT / "docs" / "reference" / "metrics.py"))["page"]
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    assert page(text) == text
