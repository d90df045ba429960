"""Planted sets of an audit's benchmark: which labels are moved, as pure functions of a seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.posterior import Recipe, fit_posterior
from jaxattr.bench.audit.labelled import Labelled
from jaxattr.errors import DatasetError

PAIRS = ("confusable", "random")
"""Labels moved one-directionally among drawn pairs."""
NOISE = ("similar", "uniform")
"""Labels moved in all classes at once: to similar classes, or to any."""
NULLS = ("as given", "twin", "permuted", "random head")
"""Nothing planted: labels as they are, drawn from the posterior, permuted; a random head."""
KINDS = (*PAIRS, *NOISE, *NULLS)
_CANDIDATES = 6
"""Pairs of classes that are called confusable, per planted pair."""


class Condition(NamedTuple):
    """One row of the benchmark: what is planted, at which rate, in classes of which size."""

    kind: str
    size: int
    """Images per class; 0 takes all there are."""
    rate: float = 0.0
    """Share of a source class's images whose label is moved; of all images for noise."""


class Planted(NamedTuple):
    """A set of images with some labels moved, and what was done."""

    given: Labelled
    truth: Int[np.ndarray, " image"]
    """Labels before they were moved."""
    pairs: tuple[tuple[int, int], ...]
    """Planted pairs, label and source; only those with an image moved."""


def plant(
    everything: Labelled,
    condition: Condition,
    seed: int,
    *,
    pairs: int = 8,
    similarity: Float[np.ndarray, "class class"],
) -> Planted:
    """Draw a set of a condition: images at random, then labels.

    `similarity[a, b]` orders the pairs `a ← b` by how easily they are confused (`confusion`).

    Raises:
        DatasetError: a kind that does not exist, a class without so many images, or a rate that
            moves no image.
    """
    if condition.kind not in KINDS:
        raise DatasetError(
            f"{condition.kind}: nothing of this name is planted; choose from {', '.join(KINDS)}."
        )
    rng = np.random.default_rng((seed, KINDS.index(condition.kind), condition.size))
    chosen = everything.pick(_draw(everything, condition.size, rng))
    truth = chosen.label
    if condition.kind in PAIRS:
        drawn = draw_pairs(condition.kind, everything.classes, similarity, pairs, rng)
        label = move_pairs(truth, drawn, condition.rate, rng)
    elif condition.kind in NOISE:
        chances = similarity if condition.kind == "similar" else np.ones_like(similarity)
        label = move_any(truth, everything.classes, chances, condition.rate, rng)
    else:
        return _null(chosen, condition.kind, rng)
    moved = np.unique(np.stack([label, truth], axis=1)[label != truth], axis=0)
    if not len(moved):
        raise DatasetError(
            f"{condition.kind} at a rate of {condition.rate:g}: moves no image of "
            f"{condition.size or 'so few'} per class; give a higher rate."
        )
    return Planted(chosen.move(label), truth, tuple((int(a), int(b)) for a, b in moved))


def confusion(everything: Labelled) -> Float[np.ndarray, "class class"]:
    """Mean posterior of class a over the images of b, `[a, b]`; the diagonal is zero.

    Of one view: planted sets must not change when the audit does.
    """
    of = fit_posterior(everything, Recipe(views=False))
    result = np.zeros((len(of.classes),) * 2)
    np.add.at(result, (of.rival, of.label[:, None]), of.rival_probability.astype(np.float64))
    return result / np.maximum(of.counts, 1)


def draw_pairs(
    kind: str,
    classes: Int[np.ndarray, "class"],
    similarity: Float[np.ndarray, "class class"],
    count: int,
    rng: np.random.Generator,
) -> list[tuple[int, int]]:
    """Pairs of model outputs, label and source, in which no class takes part twice.

    Confusable ones come at random from the `6 count` most confused pairs of classes, in either
    direction, and where these run out from the next ones; random ones from all.
    """
    both = similarity + similarity.T
    places = [(a, b) for a in range(len(classes)) for b in range(len(classes)) if a != b]
    lot = rng.permutation(len(places))
    if kind == "confusable":
        rank = np.argsort([-both[places[i]] for i in lot], kind="stable")
        near = 2 * _CANDIDATES * count
        lot = lot[np.concatenate([np.sort(rank[:near]), rank[near:]])]
    taken: set[int] = set()
    drawn: list[tuple[int, int]] = []
    for i in lot:
        if len(drawn) < count and not taken & set(places[i]):
            taken |= set(places[i])
            drawn.append((int(classes[places[i][0]]), int(classes[places[i][1]])))
    return drawn


def move_pairs(
    truth: Int[np.ndarray, " image"],
    pairs: list[tuple[int, int]],
    rate: float,
    rng: np.random.Generator,
) -> Int[np.ndarray, " image"]:
    """Labels with the share `rate` of every source moved to its label.

    Fractions of an image are carried from pair to pair: 5 % of 50 is 2 and 3 in turn.
    """
    label, carried = truth.copy(), rng.random()
    for target, source in pairs:
        members = np.flatnonzero(truth == source)
        exact = rate * len(members) + carried
        count, carried = int(exact), exact - int(exact)
        label[rng.permutation(members)[:count]] = target
    return label


def move_any(
    truth: Int[np.ndarray, " image"],
    classes: Int[np.ndarray, "class"],
    chances: Float[np.ndarray, "class class"],
    rate: float,
    rng: np.random.Generator,
) -> Int[np.ndarray, " image"]:
    """Labels of which the share `rate` is replaced by another class, b by a with `chances[a, b]`.

    Equal chances are the uniform noise that `calibration.fit_table` fits, less the labels that
    it would draw again.
    """
    label = truth.copy()
    moved = rng.permutation(len(truth))[: round(rate * len(truth))]
    weights = chances + 1e-12
    np.fill_diagonal(weights, 0.0)
    weights /= weights.sum(axis=0)
    for image in moved:
        source = int(np.searchsorted(classes, truth[image]))
        label[image] = classes[rng.choice(len(classes), p=weights[:, source])]
    return label


def _draw(everything: Labelled, size: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of `size` images of every class, at random."""
    rows = []
    for class_ in everything.classes:
        members = np.flatnonzero(everything.label == class_)
        if size > len(members):
            raise DatasetError(
                f"{size} images per class: class {class_} has {len(members)}; give a smaller size."
            )
        rows.append(rng.permutation(members)[: size or None])
    return np.sort(np.concatenate(rows))


def _null(chosen: Labelled, kind: str, rng: np.random.Generator) -> Planted:
    truth = chosen.label
    if kind == "twin":
        return Planted(chosen.move(_from_posterior(chosen, rng)), truth, ())
    if kind == "permuted":
        return Planted(chosen.move(rng.permutation(truth)), truth, ())
    if kind == "random head":
        feature = chosen.columns["feature"]
        shape = feature.shape[1], chosen.columns["logits"].shape[1]
        return Planted(chosen.answer(feature @ rng.normal(size=shape)), truth, ())
    return Planted(chosen, truth, ())


def _from_posterior(chosen: Labelled, rng: np.random.Generator) -> np.ndarray:
    """A label for each image from its own calibrated posterior: a set with nothing wrong."""
    of = Analysis(chosen).posterior
    p = np.concatenate([of.label_probability[:, None], of.rival_probability], axis=1)
    p = np.cumsum(p, axis=1, dtype=np.float64)
    drawn = (rng.random(len(p)) * p[:, -1])[:, None] >= p
    column = np.minimum(drawn.sum(axis=1), p.shape[1] - 1)
    options = np.concatenate([of.label[:, None], of.rival], axis=1)
    return of.classes[options[np.arange(len(p)), column]]
