"""Small synthetic ledgers for the tests of the summary and the report."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import special

from jaxattr.audit.ledger import FORMAT, MAPS, Receipt, explained, open_ledger, pack, pack_classes

GRID = (3, 4)
LABELS = ("ant", "bee", "cat", "dog", "eel", "fox")


def thumbnail(color, size=32) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), tuple(int(one) for one in color)).save(file, "WEBP")
    return file.getvalue()


def make_rows(count, *, labels=LABELS, grid=GRID, classes=4, seed=0, unreadable=()):
    """Random rows; the model is right more often than not."""
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        label = index % classes
        row = {"index": index, "file": f"{label}/{index}.png", "label": label, "error": ""}
        if index in unreadable:
            rows.append(row | {"error": "cut off"})
            continue
        logits = generator.normal(size=len(labels)).astype(np.float32)
        logits[label] += 1
        others = logits.copy()
        others[label] = -np.inf
        row |= {"sha256": f"{index:064x}", "prediction": int(logits.argmax())}
        row |= {"rival": int(others.argmax()), "logits": logits, "feature": logits[:2]}
        row["thumbnail"] = thumbnail(generator.integers(0, 256, 3))
        for name in MAPS:
            values = generator.normal(size=grid[0] * grid[1]) * generator.uniform(0.1, 10)
            if name == "map_positive":
                values = np.abs(values)
            row[name], row[name.replace("map", "scale")] = pack(values)
        rows.append(row | of_classes(label, logits, grid, (seed, index)))
    return rows


def of_classes(label, logits, grid, seed):
    """The columns of the explained classes: random maps, weighed as a softmax's log-odds are."""
    generator = np.random.default_rng(seed)
    best = sorted(set(range(len(logits))) - {label}, key=lambda one: -logits[one])
    classes = [label, *best][: explained(len(logits))]
    size = len(classes), *grid
    maps, scales = pack_classes(generator.normal(size=size) * generator.uniform(0.1, 10))
    weights = 1 - special.softmax(logits.astype(np.float64))[classes]
    return {
        "classes": np.array(classes, np.int32),
        "map_class": maps,
        "scale_class": scales,
        "weight_class": weights.astype(np.float32),
    }


def make_ledger(folder, rows, *, labels=LABELS, grid=GRID, shard_size=7, total=None, **changes):
    entries = {
        "format": FORMAT,
        "version": "0",
        "model": "a-model",
        "parameters": "p" * 64,
        "images": "photos",
        "preprocessing": {"mean": [0.5]},
        "settings": {"seed": 0},
        **changes,
    }
    receipt = Receipt(
        labels=tuple(labels),
        grid=grid,
        feature_size=next((len(row["feature"]) for row in rows if not row["error"]), 2),
        index="i" * 64,
        count=len(rows),
        total=total or len(rows),
        shard_size=shard_size,
        **entries,
    )
    ledger = open_ledger(folder, receipt)
    for number in range(receipt.shards):
        ledger.write(number, rows[number * shard_size : (number + 1) * shard_size])
    return ledger
