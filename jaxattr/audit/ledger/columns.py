"""What the summary accumulates with: bounded lists, and arithmetic on one shard's columns."""

from __future__ import annotations

import heapq
import io
from typing import Any

import numpy as np
from scipy import special

PHOTO = 48
"""Side of a small photo in pixels."""


class Best:
    """The `size` items with the highest scores; among equals those with the lowest index."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.heap: list[tuple[float, int, Any]] = []

    def add(self, score: float, index: int, item: Any = None) -> None:
        entry = (score, -index, item)  # indices differ, so items are never compared
        if len(self.heap) < self.size:
            heapq.heappush(self.heap, entry)
        elif entry[:2] > self.heap[0][:2]:
            heapq.heapreplace(self.heap, entry)

    def sorted(self) -> list[tuple[float, int, Any]]:
        """Score, index and item, best first."""
        ordered = sorted(self.heap, key=lambda entry: entry[:2], reverse=True)
        return [(score, -negative, item) for score, negative, item in ordered]


def margins(shard: dict[str, np.ndarray]) -> np.ndarray:
    each = np.arange(len(shard["label"]))
    logits = shard["logits"].astype(np.float64)
    return logits[each, shard["label"]] - logits[each, shard["rival"]]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return special.log_softmax(logits.astype(np.float64), axis=1)


def unit_maps(packed: np.ndarray) -> np.ndarray:
    """Maps divided by their L1 norm; a map's scale drops out. A zero map stays zero."""
    values = packed.astype(np.float64)
    return values / np.maximum(np.abs(values).sum(axis=1, keepdims=True), 1)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norm if norm else 0.0


def lot(index: int) -> float:
    """A fixed random-looking number per index (Knuth's multiplicative hash)."""
    return float((index + 1) * 2654435761 % 2**32)


def small_photo(thumbnail: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(thumbnail)) as image:
        small = image.convert("RGB").resize((PHOTO, PHOTO), Image.Resampling.BOX)
    return np.asarray(small, np.uint16)
