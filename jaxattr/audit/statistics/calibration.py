"""Posteriors that mean what they say: temperature, label noise, and a linear discriminant.

Everything here can be fed shard by shard: nothing of the size images times classes is kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import interpolate, linalg, optimize, special

FOLDS = 5
SHRINKAGE = 0.3
NOISE_FLOOR = 0.01
STARTS = (1e-3, 0.02, 0.1, 0.5)
"""Rates of noise that a fit is started from."""
TEMPERATURES = 2.0 ** np.arange(-4, 8.25, 0.5)
"""Where the label's log-probability is tabulated; a cubic spline in log T goes between."""


class Calibration(NamedTuple):
    """A temperature and a uniform rate of label noise, fitted together."""

    temperature: float
    noise: float
    """`max(0.01, ε̂)`, to be used in every denominator."""
    estimated_noise: float
    """ε̂ itself."""
    log_loss: float
    """Mean of `-log((1-ε̂) p_s + ε̂/K)` in nats; guessing gives `log K`."""


def tabulate(
    logits: Float[np.ndarray, "image class"], labels: Int[np.ndarray, " image"]
) -> Float[np.ndarray, "image temperature"]:
    """The given label's log-probability at every temperature of the table.

    The temperatures are powers of √2, so two exponentials and squaring give all of them.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    own = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
    table = np.empty((len(logits), len(TEMPERATURES)))
    for first in (len(TEMPERATURES) - 1, len(TEMPERATURES) - 2):
        power = np.exp(shifted / TEMPERATURES[first])
        for i in range(first, -1, -2):
            table[:, i] = own / TEMPERATURES[i] - np.log(power.sum(axis=1))
            np.square(power, out=power)
    return table


def fit_table(
    table: Float[np.ndarray, "image temperature"], classes: int, *, noise: bool = True
) -> Calibration:
    """Temperature T and label noise ε by maximum likelihood, `Σ log((1-ε) p_s(T) + ε/K)`.

    `p_s` is the probability of the given label at temperature T. The two must be fitted together:
    with ε fixed at zero a few wrong labels flatten every posterior, and with T alone uniform noise
    is reported as contamination everywhere. Started where the table itself is best, for little and
    for much noise: from elsewhere the temperature may not move, for scores that are far too sure
    say nothing about it. The best optimum is taken. Nothing is fitted to fewer than two classes or
    to no images. Without `noise` ε stays at its floor of 1 %: what that does to the alarms is
    measured in `docs/notebook/audit.md`.
    """
    if classes < 2 or len(table) == 0:
        return Calibration(1.0, NOISE_FLOOR, 0.0, 0.0)
    grid = np.log(TEMPERATURES)
    spline = interpolate.CubicSpline(grid, table, axis=1)
    slope = spline.derivative()

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        log_p, rate = spline(point[0]), point[1]
        p = np.exp(log_p)
        total = (1 - rate) * p + rate / classes
        by_temperature = (1 - rate) * p * slope(point[0]) / total
        by_noise = (1 / classes - p) / total
        gradient = -np.array([by_temperature.mean(), by_noise.mean()])
        return float(-np.log(total).mean()), gradient

    def start(rate: float) -> np.ndarray:
        losses = -np.log((1 - rate) * np.exp(table) + rate / classes).mean(axis=0)
        return np.array([grid[losses.argmin()], rate])

    range_ = (1e-6, 0.999) if noise else (NOISE_FLOOR, NOISE_FLOOR)
    bounds = [(grid[0], grid[-1]), range_]
    options = {"ftol": 1e-13, "gtol": 1e-9, "maxiter": 500}
    fits = [
        optimize.minimize(
            loss, start(rate), jac=True, method="L-BFGS-B", bounds=bounds, options=options
        )
        for rate in (STARTS if noise else (NOISE_FLOOR,))
    ]
    best = min(fits, key=lambda fit: float(fit.fun))
    found = float(best.x[1])
    return Calibration(float(np.exp(best.x[0])), max(NOISE_FLOOR, found), found, float(best.fun))


def fit_temperature(
    logits: Float[np.ndarray, "image class"], labels: Int[np.ndarray, " image"]
) -> Calibration:
    """`fit_table` of logits that are in memory."""
    return fit_table(tabulate(logits, labels), logits.shape[1])


def combine(
    model: Float[np.ndarray, "image class"],
    discriminant: Float[np.ndarray, "image class"],
    temperatures: tuple[float, float],
) -> Float[np.ndarray, "image class"]:
    """Logits of the combined posterior `p ∝ sqrt(p_M p_L)`, still without its own temperature.

    Softmax is blind to a constant per image, so this is `z_M / 2T_M + z_L / 2T_L`.
    """
    first, second = (np.asarray(0.5 / value, model.dtype) for value in temperatures)
    return model * first + discriminant.astype(model.dtype) * second


class ClassSums(NamedTuple):
    """Weighted sums of the features by fold and class: all that the discriminant needs."""

    counts: Float[np.ndarray, "fold class"]
    """Sums of weights."""
    total: Float[np.ndarray, "fold class feature"]
    square: Float[np.ndarray, "fold feature feature"]


class Discriminant(NamedTuple):
    """Linear scores `x · weight_c + bias_c`, one set per fold, fitted without that fold."""

    weight: Float[np.ndarray, "fold feature class"]
    bias: Float[np.ndarray, "fold class"]

    def scores(
        self, feature: Float[np.ndarray, "image feature"], fold: Int[np.ndarray, " image"]
    ) -> Float[np.ndarray, "image class"]:
        """Scores of images by the discriminant that has not seen their fold."""
        result = np.empty((len(feature), self.bias.shape[1]), self.bias.dtype)
        for number in range(len(self.bias)):
            of = fold == number
            result[of] = feature[of] @ self.weight[number] + self.bias[number]
        return result


def folds(labels: Int[np.ndarray, " image"]) -> Int[np.ndarray, " image"]:
    """The cross-fitting fold of every image: its position among the images of its label, mod 5."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(labels) else []
    run = np.repeat(starts, np.diff(np.r_[starts, len(labels)])) if len(labels) else []
    result = np.empty(len(labels), np.int8)
    result[order] = (np.arange(len(labels)) - run) % FOLDS
    return result


def empty_sums(classes: int, features: int) -> ClassSums:
    """Sums over no images."""
    return ClassSums(
        np.zeros((FOLDS, classes)),
        np.zeros((FOLDS, classes, features)),
        np.zeros((FOLDS, features, features)),
    )


def add_sums(
    sums: ClassSums,
    feature: Float[np.ndarray, "image feature"],
    labels: Int[np.ndarray, " image"],
    fold: Int[np.ndarray, " image"],
    weight: Float[np.ndarray, " image"],
) -> None:
    """Add images to the sums, in place."""
    feature, weight = feature.astype(np.float64), weight.astype(np.float64)
    weighted = feature * weight[:, None]
    np.add.at(sums.counts, (fold, labels), weight)
    np.add.at(sums.total, (fold, labels), weighted)
    for number in range(FOLDS):
        of = fold == number
        sums.square[number] += feature[of].T @ weighted[of]


def fit_discriminant(sums: ClassSums) -> Discriminant:
    """Cross-fitted linear discriminant: class means, one shared covariance, shrunk.

    `S` is the covariance within classes, `Σ = S + 0.3 tr(S)/d I`, and the score of class c is
    `μ_c' Σ⁻¹ x - ½ μ_c' Σ⁻¹ μ_c`, with equal priors. Fold k is scored by means and covariance of
    the other folds, so no image votes for its own label. The result is float32, for speed. Weights
    below 1 let doubtful images count less in means and covariance (`posterior.fit_posterior`).
    """
    features = sums.total.shape[2]
    weights, biases = [], []
    for number in range(FOLDS):
        others = np.arange(FOLDS) != number
        count = np.maximum(sums.counts[others].sum(axis=0), 1e-9)
        mean = sums.total[others].sum(axis=0) / count[:, None]
        within = sums.square[others].sum(axis=0) - (mean * count[:, None]).T @ mean
        within /= max(float(count.sum()) - len(count), 1.0)
        trace = max(float(np.trace(within)), np.finfo(float).tiny)
        covariance = within + SHRINKAGE * trace / features * np.eye(features)
        weight = linalg.solve(covariance, mean.T, assume_a="pos")
        weights.append(weight)
        biases.append(-0.5 * np.einsum("cd,dc->c", mean, weight))
    return Discriminant(np.stack(weights, dtype=np.float32), np.stack(biases, dtype=np.float32))


def probabilities(
    logits: Float[np.ndarray, "image class"], temperature: float
) -> Float[np.ndarray, "image class"]:
    """Softmax at a temperature."""
    return special.softmax(logits / np.asarray(temperature, logits.dtype), axis=1)
