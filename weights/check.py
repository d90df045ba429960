"""Measure the embedded model on scenes that it never saw, and write down what was measured."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from jaxattr import scenes
from jaxattr.types import Model

HELD_OUT = 10**6
"""Seed of the scenes that are measured on; training seeds are smaller."""


def predict(model: Model, images: UInt8[np.ndarray, "image height width 3"]) -> np.ndarray:
    """Logits of 8-bit images of the model's own size, `[image, class]`."""
    return np.asarray(_logits(model, images.astype(np.float32) / np.float32(127.5) - 1))


@jax.jit
def _logits(model: Model, images: jax.Array) -> jax.Array:
    return jax.lax.map(lambda image: model.forward(image)[0], images)


def accuracy(model: Model, count: int, seed: int = HELD_OUT) -> dict[str, float]:
    """Top-1 on `count` one-object scenes; both objects in the top two on half as many with two."""
    one = scenes.batch((seed, 1), count, shares=(0, 1, 0))
    two = scenes.batch((seed, 2), count // 2, shares=(0, 0, 1))
    right = predict(model, one.images).argmax(1) == one.targets.argmax(1)
    best = np.argsort(predict(model, two.images), axis=1)[:, -2:]
    both = np.take_along_axis(two.targets, best, axis=1).sum(1) > 0.99
    return {"one_object": float(right.mean()), "two_objects": float(both.mean())}


def entropy_of_empty(model: Model, count: int, seed: int = HELD_OUT) -> float:
    """Mean entropy of the prediction on empty scenes over that of the uniform one, 0 to 1."""
    logits = predict(model, scenes.batch((seed, 3), count, shares=(1, 0, 0)).images)
    logits = logits.astype(np.float64)
    log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return float(-(np.exp(log) * log).sum(1).mean() / np.log(len(scenes.CLASSES)))


def flips(model: Model, count: int, seed: int = HELD_OUT) -> dict[str, dict[str, float]]:
    """How often the decision within a pair changes when one part is repainted, per pair.

    `diagnostic`: the part that tells the twins apart is drawn as the other twin has it; `other`:
    an equally large area of the rest of the object is painted over with its mean colour. The
    decision is the larger of the pair's two logits.
    """
    rates = {}
    for number, (first, second, part) in enumerate(scenes.PAIRS):
        pictures = []
        for i in range(count):
            name = (first, second)[i % 2]
            scene = scenes.draw((seed, 4, number, i), [name])
            changed = scenes.render(scenes.exchange(scene.plan)).image
            pictures.append((scene.image, changed, _paint_over(scene, part, i)))
        columns = [scenes.CLASSES.index(name) for name in (first, second)]
        images = np.array(pictures).reshape(-1, *pictures[0][0].shape)
        logits = predict(model, images)[:, columns].reshape(count, 3, 2)
        decision = logits.argmax(2)
        rates[f"{first} / {second}"] = {
            "diagnostic": float((decision[:, 1] != decision[:, 0]).mean()),
            "other": float((decision[:, 2] != decision[:, 0]).mean()),
        }
    return rates


def _paint_over(scene: scenes.Scene, part: str, seed: int) -> np.ndarray:
    """The image with an area as large as `part`, in the rest of the object, painted over.

    The area is a disc around a random point of the rest, grown until it is large enough.
    """
    diagnostic = scene.parts[0][part]
    rest = scene.objects[0] & ~diagnostic
    rows, columns = np.nonzero(rest)
    middle = np.random.default_rng(seed).integers(len(rows))
    distance = np.hypot(rows - rows[middle], columns - columns[middle])
    chosen = np.argsort(distance)[: diagnostic.sum()]
    image = scene.image.copy()
    image[rows[chosen], columns[chosen]] = scene.image[rest].mean(0).astype(np.uint8)
    return image


def write_manifest(path: Path, weights: Path, facts: dict[str, Any], figures: dict) -> None:
    """Write `manifest.toml` for one weights file: what it is, how made, what it reaches."""
    data = weights.read_bytes()
    entries = {
        "name": weights.stem,
        "file": weights.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "licence": "Apache-2.0",
        **facts,
    }
    lines = ["[[model]]", *(f"{key} = {_toml(value)}" for key, value in entries.items())]
    for title, table in figures.items():
        lines += ["", f"[model.{title}]", *(f'"{k}" = {_toml(v)}' for k, v in table.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, float):
        return str(round(value, 4))
    return str(value) if isinstance(value, int) else f'"{value}"'


def measure(model: Model, count: int = 1200, report: Callable[[str], None] = print) -> dict:
    """All figures of the manifest, as tables by title."""
    figures = {
        "accuracy": {
            "scenes": count,
            **accuracy(model, count),
            "empty_entropy": entropy_of_empty(model, count // 6),
        },
        "flips": flips(model, count // 6),
    }
    for title, table in figures.items():
        report(f"{title}: {table}")
    return figures


def draw_curve(log: Path, picture: Path, phases: Sequence[tuple[int, str]] = ()) -> None:
    """Draw the trainer's log: loss above, accuracies below, `phases` as named vertical lines."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    rows = list(csv.DictReader(log.open()))
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7, 5), layout="constrained")
    above.plot([int(r["step"]) for r in rows], [float(r["loss"]) for r in rows], color="#444444")
    above.set_ylabel("cross-entropy, training")
    names = {"one_object": "one object: top-1", "two_objects": "two objects: both in top two"}
    for (column, label), colour in zip(names.items(), ("#0b6fb8", "#d9730d"), strict=True):
        points = [(int(r["step"]), float(r[column])) for r in rows if r[column]]
        below.plot(*zip(*points, strict=True), marker="o", ms=3, label=label, color=colour)
    for axes in (above, below):
        axes.grid(alpha=0.25)
        for at, _ in phases:
            axes.axvline(at, color="#999999", ls=":", lw=1)
    for at, text in phases:
        above.annotate(text, (at, 0.97), xycoords=("data", "axes fraction"), fontsize=8, va="top")
    below.set(xlabel="step", ylabel="held-out scenes, full difficulty", ylim=(0, 1.01))
    below.legend(loc="lower right", frameon=False)
    figure.savefig(picture, dpi=110)
    plt.close(figure)
