"""How often crops prove two objects, in images with two and in images with one.

    python benchmarks/two_objects.py --output benchmarks/results/two-objects-scenes.json
    python benchmarks/two_objects.py --model MODEL --images FOLDER --temperature 1.56 ...

Scenes are drawn with one and with two objects. From a folder, pairs of classes are drawn at random,
and images put together: side by side (the middle half of each), and inset (one at half its size in
a corner of the other); the label is either one, at random. `wrong` is one object with the label of
another class, `one` one object with its own, `same` two images of one class put together. The
label's strongest rival is the model's choice, as in an audit. Compared are two crops where the pair
map points, two at random, the best two of the four quarters, and opposite halves; and a second
class read from quarters and halves, whichever is surest there, in place of the rival. Comparing
with control images of a ledger is not part of this.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from scipy.special import softmax

import jaxattr
from jaxattr.audit.evidence.compute import evidence
from jaxattr.audit.findings.two_objects import HALVES, POINTED, QUARTERS
from jaxattr.audit.probes import crops
from jaxattr.data import images
from jaxattr.vit import Model, predict

_evidence = jax.jit(evidence)
_predict = jax.jit(jax.vmap(predict, in_axes=(None, 0)))
THRESHOLDS = (0.3, 0.5, 0.7, POINTED, QUARTERS, HALVES)
METHODS = (
    "pair map",
    "random",
    "quarters",
    "halves",
    "any class",
    "any class, the right one",
    "as reported",
)


class Item(NamedTuple):
    kind: str
    label: int
    other: int
    """The second object's class, or the one that is shown; -1 where there is none."""
    image: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--images", type=Path, help="an ImageFolder (default: drawn scenes)")
    parser.add_argument("--count", type=int, default=40, help="pairs of classes, or scenes / 5")
    parser.add_argument("--temperature", type=float, default=1.63)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    model = jaxattr.load(arguments.model)
    rng = np.random.default_rng(arguments.seed)
    drawn = (
        scenes(model, arguments.count, arguments.seed, rng)
        if arguments.images is None
        else composites(model, arguments.images, arguments.count, rng)
    )
    rows = [look(model, item, arguments.temperature, rng) for item in drawn]
    result = {
        "model": Path(model.name).name,
        "images": "drawn scenes" if arguments.images is None else arguments.images.name,
        "seed": arguments.seed,
        "temperature": arguments.temperature,
        "floor": crops.FLOOR,
        "side": crops.SIDE,
        "rates": table(rows),
    }
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def scenes(model: Model, count: int, seed: int, rng: np.random.Generator) -> Iterator[Item]:
    from jaxattr.scenes import draw

    names = list(model.labels)
    for number in range(5 * count):
        for objects in (2, 1):
            scene = draw((1_000 + seed, number, objects), objects)
            shown = [names.index(one) for one in scene.classes]
            image = images.normalize(scene.image, model.preprocessing)
            if objects == 2:
                order = rng.permutation(2)
                yield Item("two", shown[order[0]], shown[order[1]], image)
            else:
                yield Item("one", shown[0], -1, image)
                yield Item("wrong", int((shown[0] + rng.integers(1, 12)) % 12), shown[0], image)


def composites(model: Model, root: Path, count: int, rng: np.random.Generator) -> Iterator[Item]:
    from jaxattr.data.dataset import index

    data = index(root, model.labels)
    classes = np.unique(data.targets)
    members = {int(one): np.flatnonzero(data.targets == one) for one in classes}

    def load(class_: int) -> np.ndarray:
        file = data.files[int(rng.choice(members[class_]))]
        return images.preprocess(root / file, model.preprocessing)

    for number in range(count):
        first, second = (int(one) for one in rng.choice(classes, 2, replace=False))
        for _ in range(2):
            for kind, join in (("side by side", beside), ("inset", inset)):
                pair = [load(first), load(second)]
                label, other = rng.permutation([first, second]).tolist()
                order = rng.permutation(2) if kind == "side by side" else (0, 1)
                yield Item(kind, label, other, join(pair[order[0]], pair[order[1]], rng))
            yield Item("wrong", first, second, load(second))
            yield Item("one", first, -1, load(first))
        join = (beside, inset)[number % 2]
        yield Item("same", first, -1, join(load(first), load(first), rng))


def beside(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    width = first.shape[1]
    middle = slice(width // 4, width // 4 + width // 2)
    return np.concatenate([first[:, middle], second[:, middle]], axis=1)


def inset(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side = first.shape[0] // 2
    small = second[: 2 * side, : 2 * side].reshape(side, 2, side, 2, 3).mean(axis=(1, 3))
    top, left = (int(rng.choice([0, first.shape[0] - side])) for _ in range(2))
    result = first.copy()
    result[top : top + side, left : left + side] = small
    return result


def look(model: Model, item: Item, temperature: float, rng: np.random.Generator) -> dict[str, Any]:
    """Everything that the comparison needs of one image: 12 forward passes or so."""
    grid = model.config.grid
    seen = _evidence(model, jnp.asarray(item.image), item.label)
    logits, rival = np.asarray(seen.logits, np.float64), int(seen.rival)
    pair = [item.label, rival]
    chance = softmax(logits / temperature)
    pointed = [tuple(box) for box in crops.peaks(np.asarray(seen.map_pair)).tolist()]
    height, width = pointed[0][2] - pointed[0][0], pointed[0][3] - pointed[0][1]
    corners = [
        (int(rng.integers(grid[0] - height + 1)), int(rng.integers(grid[1] - width + 1)))
        for _ in range(2)
    ]
    chosen = [(top, left, top + height, left + width) for top, left in corners]
    boxes = [*pointed, *chosen, *crops.quadrants(grid), *crops.halves(grid)]
    parts = np.stack([crops.crop(item.image, box, grid) for box in boxes])
    tables = np.asarray(_predict(model, jnp.asarray(parts)), np.float64) / temperature
    seen = np.stack([softmax(one) for one in tables])
    both = seen[:, pair]
    free, class_ = any_class(seen[4:], item.label)
    return {
        "kind": item.kind,
        "rival_right": rival == item.other,
        "two": item.kind in ("two", "side by side", "inset"),
        "asked": bool(logits.argmax() != item.label or chance[rival] >= crops.FLOOR),
        "pair map": float(min(both[0, 0], both[1, 1])),
        "random": best(both[2:4]),
        "quarters": best(both[4:8]),
        "halves": max(best(both[8:10]), best(both[10:])),
        "any class": free,
        "any class is right": class_ == item.other,
    }


def any_class(seen: np.ndarray, label: int) -> tuple[float, int]:
    """As `best` of the quarters and of the halves, with any class but the label for the second."""
    others = seen.copy()
    others[:, label] = 0
    second = others.argmax(axis=1)
    found = []
    for first, last in ((0, 4), (4, 6), (6, 8)):
        pairs = [(i, j) for i in range(first, last) for j in range(first, last) if i != j]
        found += [
            (float(min(seen[i, label], others[j, second[j]])), int(second[j])) for i, j in pairs
        ]
    return max(found)


def best(both: np.ndarray) -> float:
    """The best two different crops, one for each class."""
    count = range(len(both))
    return float(max(min(both[i, 0], both[j, 1]) for i in count for j in count if i != j))


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Share of images proven, with the exact 95 % interval, for each kind, method and threshold."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(row["kind"], []).append(row)
        if row["two"]:
            which = "right" if row["rival_right"] else "another"
            kinds.setdefault(f"two objects, rival is {which}", []).append(row)
        else:
            kinds.setdefault("all with one class", []).append(row)
    result = []
    for kind, members in sorted(kinds.items()):
        for method in METHODS:
            for threshold in THRESHOLDS if method != "as reported" else (None,):
                free = method.startswith("any class")  # asked about whatever the logits say
                passed = sum(
                    (free or row["asked"]) and _passes(row, method, threshold) for row in members
                )
                bounds = stats.binomtest(passed, len(members)).proportion_ci(0.95, "exact")
                result.append(
                    {
                        "kind": kind,
                        "crops": method,
                        "threshold": threshold,
                        "images": len(members),
                        "asked": sum(row["asked"] for row in members),
                        "proven": passed,
                        "rate": round(passed / len(members), 4),
                        "interval": [round(float(one), 4) for one in bounds],
                    }
                )
    return result


def _passes(row: dict[str, Any], method: str, threshold: float | None) -> bool:
    if threshold is None:
        reached = row["pair map"] >= POINTED, row["quarters"] >= QUARTERS, row["halves"] >= HALVES
        return any(reached)
    if method == "any class, the right one":
        return row["any class"] >= threshold and row["any class is right"]
    return row[method] >= threshold


if __name__ == "__main__":
    main()
