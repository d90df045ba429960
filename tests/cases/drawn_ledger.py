"""A small ledger as an audit leaves it, drawn from numbers, with what was left out beside it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from jaxattr.audit.ledger import FORMAT, MAPS, Receipt, open_ledger, pack, pack_classes

LABELS = ("cat", "dog", "bird", "fish", "horse")
GRID = (4, 4)


def photo(seed):
    """A WebP thumbnail."""
    file = io.BytesIO()
    colour = np.random.default_rng(seed).integers(0, 256, 3)
    Image.new("RGB", (32, 32), tuple(int(one) for one in colour)).save(file, "WEBP")
    return file.getvalue()


def rows(predicted, *, classes=5, unreadable=(), certain=4.0):
    """One row for each (label, prediction): the model is certain, and the maps are random."""
    rng, photos = np.random.default_rng(0), [photo(seed) for seed in range(4)]
    found = []
    for index, (label, prediction) in enumerate(predicted):
        row = {"index": index, "file": f"{label}/{index:03d}.png", "label": label, "error": ""}
        if index in unreadable:
            found.append({**row, "error": f"{row['file']}: cut off"})
            continue
        logits = rng.normal(size=classes).astype(np.float32) / 4
        logits[prediction] += certain
        others = np.where(np.arange(classes) == label, -np.inf, logits)
        row |= {
            "sha256": f"{index:064x}",
            "prediction": int(logits.argmax()),
            "rival": int(others.argmax()),
            "logits": logits,
            "feature": rng.normal(size=6).astype(np.float32),
            "thumbnail": photos[index % 4],
        }
        for name in MAPS:
            values = rng.normal(size=GRID[0] * GRID[1])
            values = np.abs(values) if name == "map_positive" else values
            row[name], row[name.replace("map", "scale")] = pack(values)
        order = [label, *(int(one) for one in np.argsort(-others)[: min(4, classes) - 1])]
        maps = np.random.default_rng(index).normal(size=(len(order), *GRID))
        row["map_class"], row["scale_class"] = pack_classes(maps)
        row["classes"] = np.array(order, np.int32)
        row["weight_class"] = np.full(len(order), 0.5, np.float32)
        found.append(row)
    return found


def ledger(folder, given, *, labels=LABELS, total=None, **changes):
    """The ledger of these rows; `sizes`, `unlooked` and `total` say what else the folder has."""
    entries = {
        "format": FORMAT,
        "version": "0",
        "model": "a-model",
        "parameters": "p" * 64,
        "preprocessing": {},
        "images": "photos",
        "index": "i" * 64,
        "settings": {},
        **changes,
    }
    receipt = Receipt(
        labels=tuple(labels),
        grid=GRID,
        feature_size=6,
        count=len(given),
        total=total or len(given),
        shard_size=64,
        **entries,
    )
    made = open_ledger(folder, receipt)
    for number in range(receipt.shards):
        made.write(number, given[number * 64 : (number + 1) * 64])
    return made
