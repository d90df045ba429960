"""What a ledger says about every class and its rivals, in memory that does not grow with images.

Three readings, each a shard at a time: how many images each class has; what holds for a class;
what holds for a class and one rival. Maps are divided by their L1 norm before they are averaged,
so that an image with large gradients does not speak for its class: a mean map's numbers are shares
of a map's absolute sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxattr.audit.ledger import LedgerView
from jaxattr.audit.ledger.columns import (
    PHOTO,
    Best,
    cosine,
    log_softmax,
    lot,
    margins,
    small_photo,
    unit_maps,
)

STRIP = 8
RIVALS = 3
BINS = 10
_PHOTOS = 32
_SAMPLE = 2000
_CANDIDATES = 3 * STRIP


class ClassSummary(NamedTuple):
    """What the ledger says about the images that are labelled as one class."""

    class_index: int
    images: int
    correct: int
    label_probability: float
    """Mean probability of the label."""
    confidence: float
    """Mean probability of the prediction."""
    confusions: tuple[tuple[int, int], ...]
    """Wrong predictions and their number of images, most frequent first."""
    mean_map: Float[np.ndarray, "row column"]
    """Mean over images of the label's map, each divided by its L1 norm."""
    consistency: float
    """L1 norm of `mean_map`: 1 if all maps are alike, near 0 if they cancel."""
    mean_photo: UInt8[np.ndarray, "height width 3"] | None
    """Mean of the first photos (at most 32), None if there is only one."""
    rivals: tuple[int, ...]
    typical: tuple[int, ...]
    """Images with the largest margin of the label over its rival, best first."""
    suspicious: tuple[int, ...]
    """Images with the smallest margin, worst first; none of them is in `typical`."""
    sample: tuple[int, ...]
    """Images drawn at random, by a fixed rule."""

    @property
    def accuracy(self) -> float:
        """Share of images whose prediction is the label."""
        return self.correct / self.images

    @property
    def gap(self) -> float:
        """Confidence minus accuracy: positive where the model is too sure."""
        return self.confidence - self.accuracy


class Member(NamedTuple):
    """An image in the strip of a pair."""

    image: int
    margin: float
    """Logit of the label minus logit of the rival."""
    agreement: float
    """Cosine of its pair map and the pair's mean map."""


class PairSummary(NamedTuple):
    """The images of one label whose strongest rival is one other class."""

    label: int
    rival: int
    images: int
    preferring: int
    """Images for which the rival's logit is the larger one."""
    rival_probability: float
    mean_map: Float[np.ndarray, "row column"]
    consistency: float
    typical: tuple[Member, ...]
    """Of the images with the largest margins those that agree best with `mean_map`."""
    suspicious: tuple[Member, ...]


class Summary(NamedTuple):
    """All classes, and each class against its strongest rivals."""

    images: int
    skipped: tuple[tuple[str, str], ...]
    """File and reason of every image that could not be read."""
    correct: int
    top5: int
    confidence: float
    bins: Float[np.ndarray, "bin 3"]
    """Per tenth of confidence: images, summed confidence, correct images."""
    classes: dict[int, ClassSummary]
    pairs: dict[tuple[int, int], PairSummary]

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: mean |confidence - accuracy| over the bins' images."""
        return float(np.abs(self.bins[:, 1] - self.bins[:, 2]).sum() / max(self.images, 1))


def summarize(ledger: LedgerView) -> Summary:
    """Read the ledger and say what it holds, per class and per class against its rivals.

    Memory is bounded by (classes with images) x (classes of the model), whatever the number of
    images. The strongest rivals of a class are those that are the `rival` of most of its images,
    ties broken by their mean probability over the class.
    """
    present = _images_per_class(ledger)
    classes = _Classes(ledger, present)
    for shard in ledger.iterate(*_Classes.columns):
        classes.add(shard)
    found = classes.finish()
    wanted = [(one.class_index, rival) for one in found.values() for rival in one.rivals]
    return Summary(
        images=int(present.sum()),
        skipped=tuple(ledger.skipped()),
        correct=int(classes.bins[:, 2].sum()),
        top5=classes.top5,
        confidence=float(classes.bins[:, 1].sum() / max(present.sum(), 1)),
        bins=classes.bins,
        classes=found,
        pairs=summarize_pairs(ledger, wanted),
    )


def summarize_pairs(
    ledger: LedgerView, pairs: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], PairSummary]:
    """The named pairs (label, rival); those without an image are left out."""
    wanted = {pair: _Pair(ledger.receipt.grid) for pair in pairs}
    if not wanted:
        return {}
    for shard in ledger.iterate("index", "label", "rival", "logits", "map_pair"):
        members = np.arange(len(shard["index"]))
        margin = margins(shard)
        probabilities = np.exp(log_softmax(shard["logits"]))[members, shard["rival"]]
        units = unit_maps(shard["map_pair"])
        for i, pair in enumerate(
            zip(shard["label"].tolist(), shard["rival"].tolist(), strict=True)
        ):
            if pair in wanted:
                index = int(shard["index"][i])
                wanted[pair].add(index, float(margin[i]), float(probabilities[i]), units[i])
    return {key: pair.finish(*key) for key, pair in wanted.items() if pair.images}


class _Classes:
    """Running sums and bounded lists of all classes that have images."""

    columns = ("index", "label", "prediction", "rival", "logits", "map_label", "thumbnail")

    def __init__(self, ledger: LedgerView, present: Int[np.ndarray, "class"]) -> None:
        self.grid, self.present = ledger.receipt.grid, present
        self.names = np.flatnonzero(present)
        self.row = np.cumsum(present > 0) - 1
        count, total = len(self.names), len(present)
        self.predictions = np.zeros((count, total), np.int64)
        self.rivals = np.zeros((count, total), np.int64)
        self.probabilities = np.zeros((count, total))
        self.confidence = np.zeros(count)
        self.maps = np.zeros((count, self.grid[0] * self.grid[1]))
        self.photos = np.zeros((count, PHOTO, PHOTO, 3), np.uint16)
        self.decoded = np.zeros(count, np.int64)
        self.bins = np.zeros((BINS, 3))
        self.top5 = 0
        self.best = [Best(STRIP) for _ in self.names]
        self.worst = [Best(STRIP + STRIP) for _ in self.names]
        size = max(STRIP, _SAMPLE // max(count, 1))
        self.samples = [Best(size) for _ in self.names]

    def add(self, shard: dict[str, np.ndarray]) -> None:
        rows, each = self.row[shard["label"]], np.arange(len(shard["label"]))
        probabilities = np.exp(log_softmax(shard["logits"]))
        confidence = probabilities[each, shard["prediction"]]
        correct = shard["prediction"] == shard["label"]
        np.add.at(self.predictions, (rows, shard["prediction"]), 1)
        np.add.at(self.rivals, (rows, shard["rival"]), 1)
        np.add.at(self.probabilities, rows, probabilities)
        np.add.at(self.confidence, rows, confidence)
        np.add.at(self.maps, rows, unit_maps(shard["map_label"]))
        tenth = np.clip((confidence * BINS).astype(np.int64), 0, BINS - 1)
        np.add.at(self.bins, tenth, np.stack([np.ones_like(confidence), confidence, correct], -1))
        above = shard["logits"] > shard["logits"][each, shard["label"]][:, None]
        self.top5 += int((above.sum(1) < 5).sum())
        margin = margins(shard)
        for i, row in enumerate(rows.tolist()):
            index, own = int(shard["index"][i]), float(margin[i])
            if own > 0:
                self.best[row].add(own, index)
            self.worst[row].add(-own, index)
            self.samples[row].add(lot(index), index)
            if self.decoded[row] < _PHOTOS:
                self.photos[row] += small_photo(shard["thumbnail"][i])
                self.decoded[row] += 1

    def finish(self) -> dict[int, ClassSummary]:
        return {int(name): self._class(row, int(name)) for row, name in enumerate(self.names)}

    def _class(self, row: int, name: int) -> ClassSummary:
        images = int(self.present[name])
        wrong = np.flatnonzero(self.predictions[row])
        wrong = wrong[wrong != name]
        order = np.lexsort((wrong, -self.predictions[row][wrong]))
        probabilities = self.probabilities[row] / images
        rivals = np.flatnonzero(self.rivals[row])
        strongest = np.lexsort((rivals, -probabilities[rivals], -self.rivals[row][rivals]))
        # With few images they are shared out: none is typical and suspicious at once.
        typical = [index for _, index, _ in self.best[row].sorted()][: -(-images // 2)]
        worst = [index for _, index, _ in self.worst[row].sorted() if index not in typical]
        mean = self.maps[row] / images
        photo = self.photos[row] // max(int(self.decoded[row]), 1)
        return ClassSummary(
            class_index=name,
            images=images,
            correct=int(self.predictions[row, name]),
            label_probability=float(probabilities[name]),
            confidence=float(self.confidence[row] / images),
            confusions=tuple((int(i), int(self.predictions[row, i])) for i in wrong[order]),
            mean_map=mean.reshape(self.grid),
            consistency=float(np.abs(mean).sum()),
            mean_photo=photo.astype(np.uint8) if images > 1 else None,
            rivals=tuple(int(i) for i in rivals[strongest][:RIVALS]),
            typical=tuple(typical),
            suspicious=tuple(worst[:STRIP]),
            sample=tuple(index for _, index, _ in self.samples[row].sorted()),
        )


class _Pair:
    """Running sums and bounded lists of one pair."""

    def __init__(self, grid: tuple[int, int]) -> None:
        self.grid = grid
        self.images = self.preferring = 0
        self.probability = 0.0
        self.map = np.zeros(grid[0] * grid[1])
        self.best = Best(_CANDIDATES)
        self.worst = Best(STRIP + STRIP)

    def add(self, index: int, margin: float, probability: float, unit: np.ndarray) -> None:
        self.images += 1
        self.preferring += margin < 0
        self.probability += probability
        self.map += unit
        unit = unit.astype(np.float32)
        if margin > 0:
            self.best.add(margin, index, unit)
        self.worst.add(-margin, index, unit)

    def finish(self, label: int, rival: int) -> PairSummary:
        mean = self.map / self.images
        best = [Member(i, m, cosine(unit, mean)) for m, i, unit in self.best.sorted()]
        best.sort(key=lambda member: (-member.agreement, member.image))
        typical = tuple(best[: min(STRIP, -(-self.images // 2))])
        taken = {member.image for member in typical}
        worst = [
            Member(i, -m, cosine(unit, mean))
            for m, i, unit in self.worst.sorted()
            if i not in taken
        ]
        return PairSummary(
            label=label,
            rival=rival,
            images=self.images,
            preferring=int(self.preferring),
            rival_probability=self.probability / self.images,
            mean_map=mean.reshape(self.grid),
            consistency=float(np.abs(mean).sum()),
            typical=typical,
            suspicious=tuple(worst[:STRIP]),
        )


def _images_per_class(ledger: LedgerView) -> Int[np.ndarray, "class"]:
    counts = np.zeros(len(ledger.receipt.labels), np.int64)
    for shard in ledger.iterate("label"):
        counts += np.bincount(shard["label"], minlength=len(counts))
    return counts
