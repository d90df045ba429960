"""Simulated ledgers of any size, a function of the image's number: no model runs.

Features are drawn around class means in groups of five that are alike, logits are a linear head's,
maps and thumbnails are noise with a place and a class. Wrong labels in pairs, uniform wrong labels
and copies are planted. A world that starts at another number has other images; its copies are of
images of the world that starts at 0.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

GROUP, GRID, FEATURES, SHARD = 5, (14, 14), 192, 64
CONFUSABLE, RANDOM, RATE, NOISE = 20, 20, 0.10, 0.01
COPIES = 400
SURE = 1.5
"""How many times too sure the head is."""


@dataclass(frozen=True)
class World:
    """A simulated folder: every image is a function of its index."""

    images: int
    classes: int
    first: int = 0
    """Number of its first image: folders that start elsewhere show other images."""

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The planted pairs (label, source), disjoint in their classes."""
        order = np.random.default_rng(1).permutation(self.classes // GROUP) * GROUP
        alike = [(int(one), int(one) + 1) for one in order[:CONFUSABLE]]
        rest = order[CONFUSABLE : CONFUSABLE + 2 * RANDOM]
        return alike + [(int(a), int(b)) for a, b in zip(rest[::2], rest[1::2], strict=False)]

    def draw_labels(self) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
        """Truth and given label of every image, sorted by it, and which copy which number."""
        generator = np.random.default_rng((2, self.first))
        truth = np.arange(self.images) % self.classes
        given = np.where(generator.random(self.images) < NOISE, generator.permutation(truth), truth)
        for label, source in self.pairs:
            members = np.flatnonzero(truth == source)
            given[members[: max(1, round(RATE * len(members)))]] = label
        order = np.argsort(given, kind="stable")
        copies = generator.choice(self.images - 1, 2 * COPIES * self.images // 100_000 + 2, False)
        pairs = zip(copies[::2].tolist(), copies[1::2].tolist(), strict=False)
        return truth[order], given[order], dict(pairs)

    def means(self) -> np.ndarray:
        """Class means: groups far apart, their classes near one another."""
        generator = np.random.default_rng(3)
        groups = generator.normal(size=(-(-self.classes // GROUP), FEATURES)).astype(np.float32)
        own = generator.normal(size=(self.classes, FEATURES)).astype(np.float32)
        return 0.42 * np.repeat(groups, GROUP, axis=0)[: self.classes] + 0.17 * own


@cache
def tables(world: World) -> tuple[np.ndarray, np.ndarray, dict[int, int], np.ndarray]:
    """Truth, labels, copies and class means of a world."""
    return (*world.draw_labels(), world.means())


def rows(world: World, number: int) -> list[dict[str, Any]]:
    """The rows of one shard."""
    from jaxattr.audit.ledger import MAPS, explained, pack, pack_classes
    from jaxattr.audit.ledger.hashing import packed_hash

    truth, given, _, centres = tables(world)
    indices = range(number * SHARD, min((number + 1) * SHARD, world.images))
    white = np.stack([_white(world, index) for index in indices])
    bias = -0.5 * (centres**2).sum(axis=1)
    noise = np.random.default_rng((4, number, world.first)).normal(
        size=(len(indices), world.classes)
    )
    head = SURE * (white @ centres.T + bias)
    logits = (head + 0.5 * noise).astype(np.float32)
    features = (white * _spread()).astype(np.float32)
    # Over three views the feature is the same, and the head's own noise is drawn again for two.
    views = np.random.default_rng((11, number, world.first)).normal(size=noise.shape)
    means = (head + (0.5 * noise + 0.5 * np.sqrt(2) * views) / 3).astype(np.float32)
    found = []
    for at, index in enumerate(indices):
        generator = np.random.default_rng((5, index, world.first))
        photo, label = _photo(world, index), int(given[index])
        others = logits[at].copy()
        others[label] = -np.inf
        row = {"index": index, "file": f"{label:04d}/{index:07d}.jpg", "label": label, "error": ""}
        row |= {"sha256": hashlib.sha256(photo).hexdigest(), "thumbnail": photo}
        row |= {"hash": packed_hash(photo)}
        row |= {"prediction": int(logits[at].argmax()), "rival": int(others.argmax())}
        row |= {"logits": logits[at], "feature": features[at]}
        row |= {"mean_logits": means[at], "mean_feature": features[at]}
        place = np.exp(-((np.arange(GRID[0] * GRID[1]) - truth[index] % 196) ** 2) / 200)
        for name in MAPS:
            values = generator.normal(size=len(place)) + 3 * place
            row[name], row[name.replace("map", "scale")] = pack(values)
        row |= {"classes": np.append(label, np.argsort(-others))[: explained(world.classes)]}
        row |= {"weight_class": np.ones(len(row["classes"]))}
        values = generator.normal(size=(len(row["classes"]), len(place))) + 3 * place
        row["map_class"], row["scale_class"] = pack_classes(values)
        found.append(row)
    return found


def _spread() -> np.ndarray:
    """Standard deviations of the feature's components: few hold most, as in a network."""
    return 8 / np.sqrt(np.arange(1, FEATURES + 1))


def _origin(world: World, index: int) -> tuple[int, int]:
    """Number and class of what an image shows: its own, or those of what it copies."""
    truth, _, copies, _ = tables(world)
    if index not in copies:
        return world.first + index, int(truth[index])
    original = copies[index]
    return original, int(tables(replace(world, first=0))[0][original])


def _white(world: World, index: int) -> np.ndarray:
    number, shown = _origin(world, index)
    value = tables(world)[3][shown] + np.random.default_rng((6, number)).normal(size=FEATURES)
    if number != world.first + index and index % 2:
        value = value + 0.2 * np.random.default_rng((7, index, world.first)).normal(size=FEATURES)
    return value


def _photo(world: World, index: int) -> bytes:
    """A WebP of 128 pixels: colours of the class and its own, and grain; copies encoded anew."""
    from PIL import Image

    number, shown = _origin(world, index)
    own = np.random.default_rng((8, number)).normal(size=(8, 8, 3))
    of_class = np.random.default_rng((9, shown)).normal(size=(8, 8, 3))
    coarse = np.clip(128 + 30 * (0.6 * of_class + 0.8 * own), 0, 255).astype(np.uint8)
    photo = Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC)
    pixels = np.asarray(photo, np.int16) + _grain()
    near = number != world.first + index and index % 2
    pixels = np.clip(0.9 * pixels + 10 if near else pixels, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=60 if near else 75, method=0)
    return file.getvalue()


@cache
def _grain() -> np.ndarray:
    return np.random.default_rng(10).normal(scale=6, size=(128, 128, 1)).astype(np.int16)


def write(world: World, folder: Path, processes: int) -> None:
    """Write what is missing of the ledger."""
    ledger = _open(world, folder)
    tasks = [(world, folder, number) for number in ledger.missing()]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, _ in enumerate(pool.imap_unordered(_write_one, tasks, chunksize=8), 1):
            if done % 100 == 0:
                print(f"{done} of {len(tasks)} shards", file=sys.stderr)


def _write_one(task: tuple[World, Path, int]) -> None:
    world, folder, number = task
    _open(world, folder).write(number, rows(world, number))


def _open(world: World, folder: Path) -> Any:
    from jaxattr.audit.evidence.views import NAMES
    from jaxattr.audit.ledger import FORMAT, Receipt, open_ledger

    return open_ledger(
        folder,
        Receipt(
            format=FORMAT,
            version="simulated",
            model="a linear head on simulated features",
            parameters="0" * 64,
            labels=tuple(f"class {index:04d}" for index in range(world.classes)),
            grid=GRID,
            feature_size=FEATURES,
            preprocessing={},
            images="simulated",
            index=f"{world.first:064d}",
            count=world.images,
            total=world.images,
            shard_size=SHARD,
            settings={"method": "none", "views": list(NAMES)},
        ),
    )
