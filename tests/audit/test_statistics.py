"""The audit's formulas against direct evaluation, scipy and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import optimize, special, stats

from jaxattr.audit.statistics import calibration as cal
from jaxattr.audit.statistics import rates
from jaxattr.audit.statistics.localisation import GATE, localise, windows


def folder(seed: int, images: int = 40, classes: int = 6):
    """A folder's dense ratios `[image, class]`, denominators, sparse shares and class sizes."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.3), images)
    p[:4, 2] += 2  # class 2 is really inside
    p /= p.sum(axis=1, keepdims=True)
    rows, columns = np.nonzero(np.ones_like(p[:, 1:]))
    shares = rates.Shares(rows, columns + 1, p[:, 1:].ravel())
    denominator = rates.base_denominator(p[:, 0], 0.02, classes)
    return p, denominator, shares, np.full(classes, 8)


@pytest.mark.parametrize("seed", range(5))
def test_the_maximised_ratio_is_scipys_optimum(seed: int):
    p, denominator, shares, counts = folder(seed)
    found = rates.maximize_ratio(shares, denominator, counts)
    for source in range(1, 6):
        ratios = p[:, source] / denominator

        def loss(rate: float, ratios=ratios) -> float:
            return -np.sum(np.log(1 + rate * ratios)) - 8 * np.log(1 - rate)

        best: Any = optimize.minimize_scalar(
            loss, bounds=(0, 1 - 1e-9), method="bounded", options={"xatol": 1e-12}
        )
        if best.fun > -1e-9:
            assert found.rate[source] == 0
            assert found.statistic[source] == 0
        else:
            assert found.rate[source] == pytest.approx(best.x, abs=1e-6)
            assert found.statistic[source] == pytest.approx(-best.fun, abs=1e-9)
            step = 1e-6  # and the slope there is zero
            slope = loss(found.rate[source] + step) - loss(found.rate[source] - step)
            assert abs(slope) / (2 * step) < 1e-3
    assert found.rate[0] == 0


def test_a_class_without_images_is_never_a_source():
    _, denominator, shares, counts = folder(0)
    counts[2] = 0
    assert rates.maximize_ratio(shares, denominator, counts).rate[2] == 0
    assert rates.expected_rates(shares, denominator, counts)[2] == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_expected_rate_is_bayes_rule_written_out(seed: int):
    p, denominator, shares, counts = folder(seed)
    found = rates.expected_rates(shares, denominator, counts)
    for source in range(1, 6):
        ratios = p[:, source] / denominator
        likelihood = np.exp([rates.log_ratio(rate, ratios, 8) for rate in rates.RATES])
        prior = np.full(len(rates.RATES), 1 / 6 / len(rates.RATES))
        joint = prior * likelihood
        mean = (joint * rates.RATES).sum() / (joint.sum() + 5 / 6)
        assert found[source] == pytest.approx(mean)
    assert 0 < found[2] < rates.maximize_ratio(shares, denominator, counts).rate[2]  # shrunk


def test_the_share_of_other_classes_is_scipys_optimum():
    rng = np.random.default_rng(0)
    ratios = np.concatenate([rng.gamma(0.5, 0.6, 180), rng.gamma(2, 30, 20)])

    def loss(share: float) -> float:
        return -np.log(1 - share + share * ratios).sum()

    best: Any = optimize.minimize_scalar(
        loss, bounds=(0, 1), method="bounded", options={"xatol": 1e-12}
    )
    assert rates.foreign_share(ratios) == pytest.approx(best.x, abs=1e-6)
    assert 0.05 < best.x < 0.2
    assert rates.foreign_share(ratios[:50] / 5) == 0
    assert rates.foreign_share(np.zeros(0)) == 0


def test_the_profile_interval_ends_where_the_ratio_has_fallen_by_half_a_quantile():
    ratios = folder(1)[0][:, 2] / folder(1)[1]
    result = rates.maximize_ratio(folder(1)[2], folder(1)[1], folder(1)[3])
    low, high = rates.interval(float(result.rate[2]), ratios, 8)
    top = rates.log_ratio(float(result.rate[2]), ratios, 8)
    assert 0 < low < result.rate[2] < high < 1
    for end in (low, high):
        assert top - rates.log_ratio(end, ratios, 8) == pytest.approx(
            stats.chi2.ppf(0.95, 1) / 2, abs=1e-6
        )


def test_p_values_are_half_a_chi_square_tail():
    values = rates.p_value(np.array([0.0, 1.3527717, 8.0]))
    assert values[0] == 1
    assert values[1] == pytest.approx(0.05, abs=1e-6)  # the one-sided 5 % point, 1.645² / 2
    assert values[2] == pytest.approx(stats.norm.sf(4.0), rel=1e-9)


def test_q_values_pad_with_the_tests_that_are_not_listed():
    p = np.array([0.001, 0.01, 0.04])
    expected = stats.false_discovery_control(np.r_[p, np.ones(97)])[:3]
    np.testing.assert_allclose(rates.q_values(p, 100), expected)
    assert rates.q_values(p, 100)[0] == pytest.approx(0.1)
    assert len(rates.q_values(np.zeros(0), 100)) == 0


def test_the_strongest_source_does_not_echo_into_its_twin():
    """Class 3 looks like class 2 at half its probability: alone significant, after it not."""
    rng = np.random.default_rng(0)
    own = np.full(60, 0.97)
    own[:8] = 0.002
    second = np.where(own < 0.5, 0.64, 0.02)
    p = np.stack([own, second, np.where(own < 0.5, 0.32, 0.005)], axis=1)
    p *= rng.uniform(0.98, 1.02, p.shape)
    rows, columns = np.nonzero(np.ones((60, 2)))
    shares = rates.Shares(rows, columns + 1, p[:, 1:].ravel())
    counts = np.array([60, 60, 60])
    alone = rates.p_value(
        rates.maximize_ratio(shares, rates.base_denominator(p[:, 0], 0.01, 3), counts).statistic
    )
    found = rates.stepwise(
        shares, p[:, 0], counts, noise=0.01, testable=np.array([False, True, True])
    )
    assert alone[1] < 1e-6
    assert alone[2] < 1e-4
    assert found.p_value[1] == alone[1]
    assert found.p_value[2] > 0.5
    assert [source.column for source in found.chain] == [1]
    membership = rates.memberships(found, shares, 0)
    assert (membership[:8] > 0.5).all()
    assert (membership[8:] < 0.5).all()
    ratio = found.chain[0].rate * p[:, 1] / rates.base_denominator(p[:, 0], 0.01, 3)
    np.testing.assert_allclose(membership, ratio / (1 + ratio))


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_the_images_needed_are_found_four_times_in_five(rate: float):
    """Simulated folders: of so many images of b the test finds as often as it says."""
    rng = np.random.default_rng(2)
    b = rng.dirichlet([0.4, 6.0, 0.3], 400)  # images of b: columns a, b, other
    ratios = b[:, 1] / rates.base_denominator(b[:, 0], 0.01, 30)
    needed = rates.images_needed(rate, ratios, 9.0)
    found = []
    for _ in range(400):
        inside = rng.choice(ratios, rng.binomial(int(needed), rate))
        shares = rates.Shares(np.arange(len(inside)), np.ones(len(inside), int), inside)
        counts = np.array([50, int(needed) - len(inside)])
        found.append(rates.maximize_ratio(shares, np.ones(len(inside)), counts).statistic[1] >= 9)
    assert 0.65 <= np.mean(found) <= 0.9
    # Less power needs fewer, a higher bar more.
    assert rates.images_needed(rate, ratios, 9.0, power=0.3) < needed
    assert rates.images_needed(rate, ratios, 30.0) > needed
    assert rates.images_needed(rate, np.full(5, 1e-6), 9.0) == np.inf
    assert rates.images_needed(rate, np.zeros(0), 9.0) == np.inf


def test_the_threshold_is_where_the_p_value_meets_the_level():
    needed = rates.threshold(39_800, 16)
    assert needed == pytest.approx(8.4, abs=0.1)
    assert rates.p_value(np.array([needed]))[0] == pytest.approx(0.05 * 16 / 39_800)


def test_the_gate_refuses_only_what_the_recall_rules_out():
    correct = np.array([0, 0, 2, 12, 50, 0])
    counts = np.array([1, 40, 50, 50, 50, 0])
    assert rates.known_classes(correct, counts).tolist() == [True, False, False, True, True, False]
    assert rates.knows_anything(1.0, 10)
    assert not rates.knows_anything(2.29, 10)
    assert not rates.knows_anything(0.0, 1)


@pytest.mark.parametrize(
    ("correct", "count", "classes", "wanted"),
    [(2, 4, 2, False), (0, 2, 2, False), (20, 40, 2, True), (1, 5, 5, False), (0, 10, 5, True)],
)
def test_how_many_images_show_that_a_model_knows_nothing(correct, count, classes, wanted):
    assert rates.can_tell(correct, count, classes) is wanted


def noisy(seed: int, images: int, classes: int, temperature: float, noise: float):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, classes)) * 2.5
    p = special.softmax(logits, axis=1)
    label = (p.cumsum(axis=1) > rng.random((images, 1))).argmax(axis=1)
    wrong = rng.random(images) < noise
    label[wrong] = rng.integers(0, classes, wrong.sum())
    return (logits * temperature).astype(np.float32), label


@pytest.mark.parametrize(("temperature", "noise"), [(1.7, 0.1), (0.6, 0.0), (3.0, 0.3)])
def test_temperature_and_noise_are_recovered_and_optimal(temperature: float, noise: float):
    logits, label = noisy(0, 6000, 12, temperature, noise)
    fit = cal.fit_temperature(logits, label)
    assert fit.temperature == pytest.approx(temperature, rel=0.08)
    assert fit.estimated_noise == pytest.approx(noise, abs=0.025)
    assert fit.noise == max(0.01, fit.estimated_noise)

    def loss(point: np.ndarray) -> float:
        p = special.softmax(logits.astype(np.float64) / np.exp(point[0]), axis=1)
        own = p[np.arange(len(label)), label]
        return float(-np.log((1 - point[1]) * own + point[1] / 12).mean())

    direct = optimize.minimize(
        loss, [0.0, 0.05], method="Nelder-Mead", bounds=[(-2, 3), (1e-6, 0.999)]
    )
    assert fit.log_loss == pytest.approx(direct.fun, abs=1e-4)  # a spline's value
    assert loss(np.array([np.log(fit.temperature), fit.estimated_noise])) == pytest.approx(
        direct.fun, abs=1e-5
    )


def test_scores_that_are_far_too_sure_are_fitted_too():
    """At temperature 1 every probability is 0 or 1, and its slope says nothing of where to go."""
    rng = np.random.default_rng(2)
    truth = np.repeat(np.arange(12), 150)
    logits = np.where(np.eye(12, dtype=bool)[truth], 400.0, 0.0) + 10 * rng.normal(size=(1800, 12))
    logits[truth == 1, 0] += 250  # class 1 is like class 0, and a fifth of it is labelled so
    label = np.where((truth == 1) & (rng.random(1800) < 0.2), 0, truth)
    fit = cal.fit_temperature(logits.astype(np.float32), label)

    def loss(point: np.ndarray) -> float:
        own = special.log_softmax(logits / np.exp(point[0]), axis=1)[np.arange(1800), label]
        return float(-np.log((1 - point[1]) * np.exp(own) + point[1] / 12).mean())

    ranges = (slice(-2.5, 5.6, 0.3), slice(1e-6, 0.3, 0.02))
    best = optimize.brute(loss, ranges, full_output=True, finish=None)[1]
    assert fit.log_loss < best + 1e-3


def test_the_table_is_the_log_softmax_at_every_temperature():
    logits, label = noisy(1, 50, 7, 4.0, 0.0)
    table = cal.tabulate(logits, label)
    for i, temperature in enumerate(cal.TEMPERATURES):
        expected = special.log_softmax(logits.astype(np.float64) / temperature, axis=1)
        np.testing.assert_allclose(table[:, i], expected[np.arange(50), label], atol=1e-9)


def test_the_streamed_discriminant_is_the_direct_one():
    rng = np.random.default_rng(0)
    label = np.sort(rng.integers(0, 5, 300))
    feature = (rng.normal(size=(5, 9))[label] + rng.normal(size=(300, 9))).astype(np.float32)
    fold = cal.folds(label)
    sums = cal.empty_sums(5, 9)
    for first in range(0, 300, 70):
        part = slice(first, first + 70)
        cal.add_sums(sums, feature[part], label[part], fold[part], np.ones(len(label[part])))
    scores = cal.fit_discriminant(sums).scores(feature, fold)
    for number in range(cal.FOLDS):
        x, y = feature[fold != number].astype(float), label[fold != number]
        mean = np.stack([x[y == c].mean(axis=0) for c in range(5)])
        within = (x - mean[y]).T @ (x - mean[y]) / (len(x) - 5)
        inverse = np.linalg.inv(within + cal.SHRINKAGE * np.trace(within) / 9 * np.eye(9))
        test = feature[fold == number].astype(float)
        # log of the Gaussian density, up to what all classes share
        density = np.stack([-0.5 * np.sum((test - m) @ inverse * (test - m), axis=1) for m in mean])
        expected = density.T - density.T[:, :1]
        seen = scores[fold == number]
        np.testing.assert_allclose(seen - seen[:, :1], expected, atol=2e-3)


def test_a_weight_of_two_is_the_image_twice():
    rng = np.random.default_rng(0)
    label, fold = np.repeat(np.arange(3), 20), np.tile(np.arange(5), 12)
    feature = rng.normal(size=(60, 4)) + label[:, None]
    weight = rng.integers(1, 3, 60)
    fits = []
    for rows, each in ((np.arange(60), weight), (np.repeat(np.arange(60), weight), 1)):
        sums = cal.empty_sums(3, 4)
        cal.add_sums(sums, feature[rows], label[rows], fold[rows], np.full(len(rows), 1.0) * each)
        fits.append(cal.fit_discriminant(sums))
    np.testing.assert_allclose(fits[0].weight, fits[1].weight, rtol=1e-5)
    np.testing.assert_allclose(fits[0].bias, fits[1].bias, rtol=1e-5)


def test_folds_are_balanced_inside_every_class_and_deterministic():
    label = np.random.default_rng(0).integers(0, 4, 103)
    fold = cal.folds(label)
    for class_ in range(4):
        sizes = np.bincount(fold[label == class_], minlength=5)
        assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(fold, cal.folds(label))
    assert len(cal.folds(np.zeros(0, np.int64))) == 0


def test_the_combination_is_the_geometric_mean():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 4, 6)) * 3
    mean = np.sqrt(cal.probabilities(first, 2.0) * cal.probabilities(second, 5.0))
    expected = mean / mean.sum(axis=1, keepdims=True)
    seen = cal.probabilities(cal.combine(first, second, (2.0, 5.0)), 1.0)
    np.testing.assert_allclose(seen, expected, rtol=1e-12)


def test_a_gathered_map_is_localised_and_its_window_found():
    maps = np.full((2, 14, 14), 20, np.int8)
    maps[:, ::3, ::4] = -15
    maps[0, 4:7, 8:11] = -120
    found = localise(maps.reshape(2, -1), (14, 14))
    assert found.localised.tolist() == [True, False]
    assert found.box[0].tolist() == [4, 8, 7, 11]
    mass = np.maximum(-maps[0].astype(int), 0)
    assert found.share[0] == pytest.approx(mass[4:7, 8:11].sum() / mass.sum())
    assert found.expected[0] == pytest.approx(9 / 196)


def test_the_localisation_gate_passes_shuffled_maps_at_its_level():
    rng = np.random.default_rng(0)
    smooth = np.zeros((14, 14))
    smooth[3:9, 2:7] = -90
    base = (smooth + rng.normal(size=(14, 14)) * 20).ravel().clip(-127, 127).astype(np.int8)
    shuffled = np.stack([rng.permutation(base) for _ in range(1500)])
    p = localise(shuffled, (14, 14)).p_value
    assert localise(base[None], (14, 14)).localised[0]
    assert np.mean(p <= GATE) < 0.02
    assert np.mean(p <= 0.1) == pytest.approx(0.1, abs=0.03)


def test_maps_without_negative_values_and_odd_grids():
    found = localise(np.ones((3, 12), np.int8), (3, 4))
    assert found.p_value.tolist() == [1, 1, 1]
    assert (found.box == 0).all()
    assert len(localise(np.zeros((0, 4), np.int8), (2, 2)).p_value) == 0
    for grid in ((1, 1), (2, 3), (14, 14), (24, 24)):
        boxes = windows(grid)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= grid).all()
