"""The calibrated posterior of every image of a ledger, read in shards and kept sparse.

Candidates are the K classes *present in the folder* (with at least one readable image): logits of
other outputs are left out before the softmax. The folder is a K-class problem, a class without
images can be no source of a one-directional test (nothing is labelled with it), and the number of
tests is K(K-1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxattr.audit.ledger import LedgerView
from jaxattr.audit.ledger.reading import MEANS, PLAIN, OfChunk, Reader
from jaxattr.audit.statistics import calibration as cal
from jaxattr.audit.statistics.rates import Shares

KEPT = 20
"""Rivals kept per image; the rest counts as zero."""
DISCRIMINANT_IMAGES = 10
"""Images that every class must have for the discriminant to be used."""


class Posterior(NamedTuple):
    """What is kept of every image, and the calibration; classes are positions in `classes`."""

    classes: Int[np.ndarray, "class"]
    """Model outputs that are present in the folder, ascending."""
    counts: Int[np.ndarray, "class"]
    correct: Int[np.ndarray, "class"]
    """Images whose label the model ranks first among the classes present, on its mean view."""
    image: Int[np.ndarray, " image"]
    """Ledger index."""
    label: Int[np.ndarray, " image"]
    label_probability: Float[np.ndarray, " image"]
    rival: Int[np.ndarray, "image rival"]
    """The most probable classes but the label, best first."""
    rival_probability: Float[np.ndarray, "image rival"]
    model: cal.Calibration
    """Of the model's own logits, of the image as it is."""
    final: cal.Calibration
    """Of the posterior that is kept."""
    discriminant: bool
    """Whether the posterior is model x discriminant; otherwise it is the model's alone."""
    sharpness: float
    """Exponent by which the posterior of `final` was raised: 1, but in `sharpening.sharpened`."""
    views: bool
    """Whether logits and features are means over views; otherwise of the image as it is."""

    def shares(self, label: int) -> tuple[Int[np.ndarray, " image"], Shares]:
        """The images of one folder (positions), and their rivals' probabilities."""
        members = np.flatnonzero(self.label == label)
        row = np.repeat(np.arange(len(members)), self.rival.shape[1])
        column, value = self.rival[members].ravel(), self.rival_probability[members].ravel()
        return members, Shares(row, column, value.astype(np.float64))

    def toward(self, members: Int[np.ndarray, " part"], target: int) -> Float[np.ndarray, " part"]:
        """Probability of one class on some images, 0 where it is not among those kept."""
        kept = np.where(self.rival[members] == target, self.rival_probability[members], 0.0)
        own = np.where(self.label[members] == target, self.label_probability[members], 0.0)
        return kept.sum(axis=1) + own


@dataclass(frozen=True)
class Recipe:
    """What a posterior is made of: everything, unless a benchmark asks what a part is worth."""

    model: bool = True
    """The model's own logits."""
    discriminant: bool = True
    """The linear discriminant on the class-token feature, where every class has enough images."""
    temperature: bool = True
    """Temperatures fitted to the labels; else 1, and label noise at its floor."""
    reweighted: bool = True
    """The discriminant fitted twice, the second time with doubtful images counting less."""
    noise: bool = True
    """The rate of uniform label noise fitted, too; else at its floor."""
    views: bool = True
    """Means over views, where the ledger has them and the labels fit them better."""


ALL = Recipe()


def fit_posterior(ledger: LedgerView, recipe: Recipe = ALL) -> Posterior:
    """Calibrate the ledger's logits and keep every image's label and best rivals.

    Passes: labels; the model's temperature, on the image as it is and on the mean over its views,
    of which the one with the smaller log-loss is used (a class that its mirror image is not would
    be lost in the mean); feature sums; the temperatures of the discriminant, then of the
    combination (`calibration.combine`); the same again with images weighted by
    `p(label) / max p`, so that wrong labels do not pull their class's mean; the posterior. What is
    kept grows by 180 bytes an image.
    """
    small = ledger.read("index", "label")
    classes, label = np.unique(small["label"], return_inverse=True)
    counts = np.bincount(label, minlength=len(classes))
    fold = cal.folds(label)
    enough = len(classes) > 1 and int(counts.min()) >= DISCRIMINANT_IMAGES
    use = enough and recipe.discriminant
    reader, model, own = _best_view(
        Reader(ledger, PLAIN, small["index"], classes, label, fold, []), recipe
    )
    weight = np.ones(len(label), np.float32)
    discriminant = _discriminant(reader, weight) if use else None
    final, scores = _calibrated(reader, own, discriminant, recipe)
    if use and recipe.reweighted:

        def trust(at: np.ndarray, logits: np.ndarray, feature: np.ndarray) -> np.ndarray:
            p = cal.probabilities(scores(at, logits, feature), final.temperature)
            return p[np.arange(len(p)), label[at]] / p.max(axis=1)

        for at, value in reader.each(trust):
            weight[at] = value
        discriminant = _discriminant(reader, weight)
        final, scores = _calibrated(reader, own, discriminant, recipe)
    kept = min(KEPT, max(len(classes) - 1, 0))
    result = Posterior(
        classes=classes,
        counts=counts,
        correct=np.zeros_like(counts),
        image=small["index"],
        label=label,
        label_probability=np.zeros(len(label), np.float32),
        rival=np.zeros((len(label), kept), np.int32),
        rival_probability=np.zeros((len(label), kept), np.float32),
        model=model,
        final=final,
        discriminant=discriminant is not None,
        sharpness=1.0,
        views=reader.columns == MEANS,
    )

    def best(at: np.ndarray, logits: np.ndarray, feature: np.ndarray) -> _Kept:
        p = cal.probabilities(scores(at, logits, feature), final.temperature)
        return _best(p, label[at], kept, logits.argmax(axis=1) == label[at])

    for at, found in reader.each(best):
        np.add.at(result.correct, label[at], found.right.astype(np.int64))
        result.label_probability[at] = found.own
        result.rival[at], result.rival_probability[at] = found.rival, found.probability
    return result


def _discriminant(reader: Reader, weight: np.ndarray) -> cal.Discriminant:
    sums = cal.empty_sums(len(reader.classes), reader.ledger.receipt.feature_size)
    for at, feature in reader.features():
        cal.add_sums(sums, feature, reader.label[at], reader.fold[at], weight[at])
    return cal.fit_discriminant(sums)


_Scores = OfChunk[np.ndarray]


def _own(at: np.ndarray, logits: np.ndarray, feature: np.ndarray) -> np.ndarray:
    return logits


def _best_view(plain: Reader, recipe: Recipe) -> tuple[Reader, cal.Calibration, cal.Calibration]:
    """Who is read, the calibration of the plain logits, and that of the logits that are read."""
    (model,) = _fit(plain, recipe, _own)
    if not (recipe.views and plain.ledger.receipt.settings.get("views")):
        return plain, model, model
    means = plain._replace(columns=MEANS, kept=[])
    (mean,) = _fit(means, recipe, _own)
    return (means, model, mean) if mean.log_loss < model.log_loss else (plain, model, model)


def _calibrated(
    reader: Reader,
    own: cal.Calibration,
    discriminant: cal.Discriminant | None,
    recipe: Recipe,
) -> tuple[cal.Calibration, _Scores]:
    if discriminant is None:
        return own, _own

    def other(at: np.ndarray, logits: np.ndarray, feature: np.ndarray) -> np.ndarray:
        return discriminant.scores(feature, reader.fold[at])

    def both(at: np.ndarray, logits: np.ndarray, feature: np.ndarray) -> np.ndarray:
        return cal.combine(logits, other(at, logits, feature), temperatures)

    (linear,) = _fit(reader, recipe, other)
    if not recipe.model:
        return linear, other
    temperatures = (own.temperature, linear.temperature)
    (final,) = _fit(reader, recipe, both)
    return final, both


def _fit(reader: Reader, recipe: Recipe, *scores: _Scores) -> list[cal.Calibration]:
    nothing = np.zeros((0, len(cal.TEMPERATURES)))  # of a folder in which nothing can be read
    tables: list[list[np.ndarray]] = [[nothing] for _ in scores]
    for at, logits, feature in reader.sample():
        for table, one in zip(tables, scores, strict=True):
            table.append(cal.tabulate(one(at, logits, feature), reader.label[at]))
    classes = len(reader.classes)
    fits = [
        cal.fit_table(np.concatenate(table), classes, noise=recipe.noise and recipe.temperature)
        for table in tables
    ]
    return fits if recipe.temperature else [fit._replace(temperature=1.0) for fit in fits]


class _Kept(NamedTuple):
    """What is kept of some images."""

    own: np.ndarray
    rival: np.ndarray
    probability: np.ndarray
    right: np.ndarray


def _best(p: np.ndarray, label: np.ndarray, kept: int, right: np.ndarray) -> _Kept:
    """The label's probability and the best rivals'; `p` is written over."""
    rows = np.arange(len(p))
    own = p[rows, label]
    p[rows, label] = -1.0
    best = np.argpartition(p, -kept, axis=1)[:, p.shape[1] - kept :] if kept else p[:, :0]
    best = best.astype(np.int64)
    value = np.take_along_axis(p, best, axis=1)
    order = np.lexsort((best, -value), axis=1)
    rival, probability = (np.take_along_axis(one, order, axis=1) for one in (best, value))
    return _Kept(own, rival, probability, right)
