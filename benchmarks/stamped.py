"""A shortcut planted into real photos: a coloured stamp at one place, learned by a linear head.

In each set some classes carry a 10 x 10 stamp (of 64 x 64 pixels) at one of six places, of one
colour, in 60 % of their images. A softmax regression on the frozen model's class-token features
learns that from training images; the audit sees other images, stamped as often. Features of plain
training images are computed once and kept.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy import special

SIDE, STAMP, SHARE = 64, 10, 0.6
PLACES = ((2, 2), (2, 27), (2, 52), (52, 2), (52, 27), (52, 52))
"""Top left corners: row and column."""
BATCH = 8


class Planted(NamedTuple):
    """One stamped class."""

    label: int
    """Position among the classes."""
    place: tuple[int, int]
    colour: tuple[int, int, int]


def draw_sets(seed: int, classes: int, planted: int) -> list[Planted]:
    """Which classes are stamped, where, and in which colour."""
    rng = np.random.default_rng((seed, 7))
    labels = rng.choice(classes, planted, replace=False)
    places = rng.permutation(len(PLACES))
    return [
        Planted(
            int(label), PLACES[places[i % len(PLACES)]], tuple(rng.integers(0, 256, 3).tolist())
        )
        for i, label in enumerate(labels)
    ]


def stamp(path: Path, one: Planted | None) -> Image.Image:
    """The photo, stamped or not."""
    pixels = np.array(Image.open(path).convert("RGB"))
    if one is not None:
        top, left = one.place
        pixels[top : top + STAMP, left : left + STAMP] = one.colour
    return Image.fromarray(pixels)


def features(model: Any, pictures: list[Image.Image]) -> np.ndarray:
    """Class-token features, `[image, hidden]`."""
    from jaxattr.audit.evidence.compute import glance_batch
    from jaxattr.data import images

    found = []
    for first in range(0, len(pictures), BATCH):
        part = pictures[first : first + BATCH]
        part = part + part[:1] * (BATCH - len(part))
        pixels = [
            images.normalize(images.fit(p, model.preprocessing), model.preprocessing) for p in part
        ]
        seen = glance_batch(model, np.stack(pixels), np.zeros(BATCH, np.int32))
        found.append(np.asarray(seen.feature)[: len(pictures) - first])
    return np.concatenate(found)


def training_files(folder: Path, each: int) -> list[list[Path]]:
    """The first files of every class, classes in order."""
    return [sorted(one.iterdir())[:each] for one in sorted(folder.iterdir())]


def plain_features(model: Any, folder: Path, each: int, cache: Path) -> np.ndarray:
    """`[class, image, hidden]` of the plain training images, kept in `cache`."""
    if cache.exists():
        return np.load(cache)
    files = training_files(folder, each)
    found = [features(model, [stamp(path, None) for path in one]) for one in files]
    np.save(cache, np.stack(found))
    return np.stack(found)


def fit_head(feature: np.ndarray, label: np.ndarray, classes: int, decay: float = 1e-4) -> Any:
    """Kernel and bias of a softmax regression."""
    from scipy.optimize import minimize

    count, size = feature.shape
    inputs = np.concatenate([feature, np.ones((count, 1))], axis=1).astype(np.float64)
    wanted = np.eye(classes)[label]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(size + 1, classes)
        log = special.log_softmax(inputs @ weights, axis=1)
        slope = inputs.T @ (np.exp(log) - wanted) / count + 2 * decay * weights
        value = -(log * wanted).sum() / count + decay * (weights**2).sum()
        return float(value), slope.ravel()

    start = np.zeros((size + 1) * classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    weights = found.x.reshape(size + 1, classes).astype(np.float32)
    return weights[:-1], weights[-1]


def shortcut_model(
    model: Any, folder: Path, plain: np.ndarray, sets: list[Planted], seed: int, cache: Path
) -> tuple[Any, float]:
    """The model with a head that learned the stamps, and its accuracy on its training images.

    The head is kept in `cache`.
    """
    if not cache.exists():
        kernel, bias, right = _learn(model, folder, plain, sets, seed)
        np.savez(cache, kernel=kernel, bias=bias, right=right)
    kept = np.load(cache)
    head = {"kernel": kept["kernel"], "bias": kept["bias"]}
    names = tuple(one.name for one in sorted(folder.iterdir()))
    config = replace(model.config, classes=len(plain))
    parameters = {**model.parameters, "head": head}
    changed = replace(model, parameters=parameters, config=config, labels=names)
    return changed, float(kept["right"])


def _learn(
    model: Any, folder: Path, plain: np.ndarray, sets: list[Planted], seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    classes, each = plain.shape[:2]
    feature = plain.copy()
    rng = np.random.default_rng((seed, 11))
    files = training_files(folder, each)
    for one in sets:
        chosen = rng.choice(each, round(SHARE * each), replace=False)
        feature[one.label, chosen] = features(
            model, [stamp(files[one.label][i], one) for i in chosen]
        )
    label = np.repeat(np.arange(classes), each)
    flat = feature.reshape(len(label), -1)
    kernel, bias = fit_head(flat, label, classes)
    right = float(((flat @ kernel + bias).argmax(axis=1) == label).mean())
    return kernel, bias, right


def strength(model: Any, changed: Any, folder: Path, sets: list[Planted]) -> list[list[float]]:
    """What the true stamps do to one image of each other class: the truth behind every audit.

    For each stamped class the mean rise of its log p, and the share of images turned to it.
    """
    head, found = changed.parameters["head"], []
    files = training_files(folder, 1)
    for one in sets:
        others = [own[0] for label, own in enumerate(files) if label != one.label]
        pictures = [stamp(path, which) for which in (None, one) for path in others]
        logits = features(model, pictures) @ head["kernel"] + head["bias"]
        log = special.log_softmax(logits, axis=1)
        before, after = log[:, one.label].reshape(2, -1)
        turned = logits[len(others) :].argmax(axis=1) == one.label
        found.append([round(float((after - before).mean()), 3), round(float(turned.mean()), 3)])
    return found


def write_audited(folder: Path, source: Path, sets: list[Planted], each: int, seed: int) -> None:
    """An image folder of `each` images per class for the audit, stamped as often as in training."""
    rng = np.random.default_rng((seed, 13))
    stamped = {one.label: one for one in sets}
    for label, place in enumerate(sorted(source.iterdir())):
        target = folder / place.name
        target.mkdir(parents=True)
        files = sorted(place.iterdir())
        chosen = rng.choice(len(files), each, replace=False)
        count = round(SHARE * each)
        for number, i in enumerate(chosen):
            one = stamped.get(label) if number < count else None
            stamp(files[i], one).save(target / f"{number:03d}.png")
