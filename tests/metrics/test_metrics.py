"""The measures against small cases worked out by hand, pixel counts and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jaxattr import metrics
from jaxattr.errors import JaxattrError
from jaxattr.plot import heatmap

LEFT = np.array([[1.0, 0.0, 0.0, 0.0], [1.0, 0.5, 0.0, 0.0]])
RIGHT = LEFT[:, ::-1].copy()
MAP = np.array([[4.0, 0.0, 0.0, -2.0], [1.0, 2.0, 1.0, -2.0]])


def test_pool_is_the_mean_over_each_patch():
    mask = np.zeros((2, 6, 9), bool)
    mask[0, :3, 1:4] = True
    pooled = metrics.pool(mask, (2, 3))
    assert pooled.tolist() == [[[2 / 3, 1 / 3, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]
    assert pooled.sum() * 9 == mask.sum()


def test_pool_refuses_a_grid_that_does_not_divide():
    with pytest.raises(JaxattrError, match="6 x 9 pixels does not divide into 4 x 3 patches"):
        metrics.pool(np.zeros((6, 9), bool), (4, 3))


def test_shares_of_evidence():
    assert metrics.positive_share(MAP, LEFT) == pytest.approx((4 + 1 + 2 * 0.5) / 8)
    assert metrics.negative_share(MAP, RIGHT) == 1
    assert metrics.absolute_share(MAP, LEFT) == pytest.approx(6 / 12)
    assert metrics.positive_share(5 * MAP, LEFT) == metrics.positive_share(MAP, LEFT)


def test_shares_are_undefined_without_evidence():
    assert np.isnan(metrics.negative_share(np.abs(MAP), RIGHT))
    assert np.isnan(metrics.absolute_share(0 * MAP, RIGHT))


def test_sign_accuracy_asks_for_both_signs():
    both = np.stack([MAP, -MAP, np.abs(MAP), 0 * MAP])
    regions = [np.broadcast_to(one, both.shape) for one in (LEFT, RIGHT)]
    assert metrics.sign_accuracy(both, *regions).tolist() == [1, 0, 0, 0]
    assert metrics.sign_accuracy(both, regions[0]).tolist() == [1, 0, 1, 0]


def test_pointing_game():
    maps = np.stack([MAP, -MAP, np.ones_like(MAP)])
    region = np.broadcast_to(LEFT, maps.shape)
    np.testing.assert_array_equal(metrics.pointing_game(maps, region), [1, 0, np.nan])
    half = np.zeros_like(MAP)
    half[1, 1] = 1
    assert metrics.pointing_game(half, LEFT) == 1
    assert metrics.pointing_game(half, LEFT, covered=0.51) == 0


def test_part_hit_takes_either_sign_and_any_share_of_the_patch():
    part = np.zeros_like(MAP)
    part[0, 3] = 1 / 64
    negative = np.where(part > 0, -9.0, MAP)
    assert metrics.part_hit(negative, part) == 1
    assert metrics.part_hit(-negative, part) == 1
    assert metrics.part_hit(MAP, part) == 0


def test_overlap_counts_the_pixels_of_the_enlarged_map():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(5, 3, 4))
    mask = rng.random((5, 12, 12)) < 0.4
    thresholds = np.array([-0.5, 0.0, 0.4])
    found = metrics.overlap(maps, metrics.pool(mask, (3, 4)), thresholds)
    large = heatmap.upsample(heatmap.scale(maps), (12, 12), smooth=False)
    for i, one in enumerate(large):
        for j, threshold in enumerate(thresholds):
            above = one > threshold
            exact = (above & mask[i]).sum() / (above | mask[i]).sum()
            assert found[i, j] == pytest.approx(exact, abs=1e-12)


def test_overlap_of_the_region_itself_is_one_and_of_nothing_zero():
    whole = np.round(LEFT)
    assert metrics.overlap(whole, whole, np.zeros(1)) == 1
    assert metrics.overlap(-whole, 0 * whole, np.zeros(1)) == 0


def test_likeness_is_pearsons_correlation():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 4, 3, 5))
    pairs = zip(first.reshape(4, -1), second.reshape(4, -1), strict=True)
    expected = np.array([np.corrcoef(a, b)[0, 1] for a, b in pairs])
    np.testing.assert_allclose(metrics.likeness(first, second), expected, rtol=1e-12)
    assert metrics.likeness(first, -first) == pytest.approx(-1)
    assert np.isnan(metrics.likeness(first, np.ones_like(first))).all()


def test_bootstrap_agrees_with_scipy_and_is_seeded():
    scores = np.random.default_rng(2).beta(2, 1, size=80)
    ours = metrics.bootstrap(scores, resamples=4000, seed=3)
    assert ours == metrics.bootstrap(scores, resamples=4000, seed=3)
    assert ours != metrics.bootstrap(scores, resamples=4000, seed=4)
    theirs = stats.bootstrap(
        (scores,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert ours.value == pytest.approx(scores.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.006)
    assert ours.high == pytest.approx(theirs.high, abs=0.006)


def test_bootstrap_leaves_undefined_scores_out():
    found = metrics.bootstrap(np.array([1.0, np.nan, 0.0, 1.0]))
    assert (found.value, found.defined) == (pytest.approx(2 / 3), 3)
    assert metrics.bootstrap(np.full(4, np.nan)).defined == 0
    assert np.isnan(metrics.bootstrap(np.full(4, np.nan)).low)


@pytest.mark.parametrize(("right", "count"), [(2, 2), (0, 5), (7, 10), (93, 100)])
def test_a_share_has_wilsons_interval(right, count) -> None:
    """By the formula, written anew; 2 of 2 is not sure."""
    scores = np.append((np.arange(count) < right).astype(float), np.nan)
    found = metrics.interval(scores)
    p, z = right / count, stats.norm.ppf(0.975)
    centre = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    np.testing.assert_allclose(found, (p, centre - half, centre + half, count), atol=1e-12)
    assert found.high - found.low > 0.05


def test_scores_between_0_and_1_have_the_bootstraps_interval() -> None:
    scores = np.array([0.0, 0.5, 1.0, 0.25])
    assert metrics.interval(scores, seed=3) == metrics.bootstrap(scores, seed=3)
