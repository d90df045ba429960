"""Small synthetic ledgers for the tests of the summary and the report."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from jaxattr.audit.ledger import FORMAT, MAPS, Receipt, open_ledger, pack

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
        rows.append(row)
    return rows


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
