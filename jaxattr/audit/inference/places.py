"""Where a class's evidence lies, and whether other classes have theirs there, too.

A shortcut at a fixed place (a stamp, a watermark) gathers the positive maps of one class where the
maps of the others are thin. The scan over classes and places finds candidates; whether the pixels
there are enough for the model is for `jaxattr.audit.probes.pasting` to ask.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage, sparse

from jaxattr.audit.inference.posterior import Posterior
from jaxattr.audit.ledger import LedgerView
from jaxattr.audit.ledger.columns import unit_maps
from jaxattr.audit.statistics import rates

CLASS_IMAGES = 16
"""Images that a class must have: with 8 the ranking lost half its average precision."""
CLASSES = 4
"""Classes that must have that many: with fewer there is no median to stand out from."""
CANDIDATE = 2.5
"""Statistic of a place that the model is asked about: the answer decides, so it may be low."""
THRESHOLD = 3.0
"""Of cells that belong to a place, and of a border that the model is asked about."""
CANDIDATES = 10
_ROWS = 1024  # images added up at once
_LONGEST = 0.4
_SHORTEST = 3

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in cells; the last two exclusive."""


class Scan(NamedTuple):
    """Every class with enough images, at every cell of the grid."""

    grid: tuple[int, int]
    present: Int[np.ndarray, "class"]
    """Classes with images, tested or not."""
    classes: Int[np.ndarray, "class"]
    """Those with at least `CLASS_IMAGES` images."""
    counts: Int[np.ndarray, "class"]
    mean: Float[np.ndarray, "class cell"]
    """Mean share of the map, in uniform shares: 1 where the evidence is as thick as on average."""
    statistic: Float[np.ndarray, "class cell"]
    border_mean: Float[np.ndarray, "class"]
    """The same of the whole border, `border(grid)`."""
    border_statistic: Float[np.ndarray, "class"]
    known: Bool[np.ndarray, "class"]
    """Classes that pass the gate: of others the model is not asked."""

    @property
    def tested(self) -> bool:
        """Whether there is anything to compare."""
        return len(self.classes) >= CLASSES


class Place(NamedTuple):
    """A candidate: one class, and the box that its evidence gathers in."""

    label: int
    box: Box
    statistic: float
    mean: float
    """Of the cell where the statistic is largest."""


def scan(ledger: LedgerView, of: Posterior) -> Scan:
    """`compare` of the ledger's positive maps, each divided by its sum; one pass over the shards.

    A ledger without maps has no class to test.
    """
    outputs, grid = len(ledger.receipt.labels), ledger.receipt.grid
    counts = np.zeros(outputs, int)
    sums, squares = np.zeros((2, outputs, grid[0] * grid[1] + 1))  # the last is the border
    present: set[int] = set()
    for shard in ledger.iterate("label", "map_positive", rows=_ROWS):
        label, maps = shard["label"], shard["map_positive"]
        present.update(np.unique(label).tolist())
        if len(maps) != len(label):
            continue
        unit = unit_maps(maps) * maps.shape[1]
        unit = np.column_stack([unit, unit[:, border(grid)].mean(axis=1)])
        each = np.arange(len(label))
        of_class = sparse.csr_array((np.ones(len(label)), (label, each)), (outputs, len(label)))
        counts += np.bincount(label, minlength=outputs)
        sums += of_class @ unit
        squares += of_class @ unit**2
    classes = np.flatnonzero(counts >= CLASS_IMAGES)
    n = counts[classes][:, None]
    mean = sums[classes] / n
    variance = np.maximum(squares[classes] / n - mean**2, 0) * n / (n - 1)
    statistic = compare(mean, variance, counts[classes])
    inner, outer = (mean[:, :-1], statistic[:, :-1]), (mean[:, -1], statistic[:, -1])
    every = np.array(sorted(present), int)
    known = _known(of, classes) if len(classes) >= CLASSES else np.zeros(len(classes), bool)
    return Scan(grid, every, classes, counts[classes], *inner, *outer, known)


def _known(of: Posterior, classes: Int[np.ndarray, "class"]) -> Bool[np.ndarray, "class"]:
    if not rates.knows_anything(of.model.log_loss, len(of.classes)):
        return np.zeros(len(classes), bool)
    return np.isin(classes, of.classes[rates.known_classes(of.correct, of.counts)])


def border(grid: tuple[int, int]) -> Bool[np.ndarray, " cell"]:
    """The cells that lie within a seventh of the grid's side from an edge."""
    row, column = np.mgrid[: grid[0], : grid[1]]
    edge = [np.minimum(at, side - 1 - at) for at, side in zip((row, column), grid, strict=True)]
    wide = [max(1, round(side / 7)) for side in grid]
    return ((edge[0] < wide[0]) | (edge[1] < wide[1])).ravel()


def compare(
    mean: Float[np.ndarray, "class cell"],
    variance: Float[np.ndarray, "class cell"],
    counts: Int[np.ndarray, "class"],
) -> Float[np.ndarray, "class cell"]:
    """How far a class's mean lies above those of the others, cell by cell.

    `(mean - median) / sqrt(error^2 + MAD^2)`: the median and the median absolute deviation are
    over classes, and `error^2 = (variance + mean variance of all classes) / 2 / count`. A class's
    own variance alone would punish a mark that only some of its images carry. The deviation
    between classes keeps natural differences from growing with the images.
    """
    if not len(mean):
        return np.zeros_like(mean)
    middle = np.median(mean, axis=0)
    deviation = np.median(np.abs(mean - middle), axis=0)
    error = (variance + variance.mean(axis=0)) / (2 * counts[:, None])
    spread = np.sqrt(error + deviation**2)
    return np.divide(mean - middle, spread, out=np.zeros_like(mean), where=spread > 0)


def candidates(of: Scan) -> list[Place]:
    """The best place of each class, `statistic >= 2.5`, evidence at least as thick as on average.

    Of classes that pass the gate. At most 10, the strongest first.
    """
    if not of.tested:
        return []
    allowed = np.where((of.mean >= 1) & of.known[:, None], of.statistic, -np.inf)
    best = allowed.argmax(axis=1)
    top = allowed[np.arange(len(best)), best]
    order = np.lexsort((of.classes, -top))[:CANDIDATES]
    return [place(of, position) for position in order.tolist() if top[position] >= CANDIDATE]


def border_candidates(of: Scan) -> list[tuple[int, float]]:
    """Classes whose evidence lies at the border more than others', and their statistic.

    At least 3, and only classes that pass the gate; at most 10, the strongest first.
    """
    if not of.tested:
        return []
    allowed = np.where(of.known, of.border_statistic, -np.inf)
    order = np.lexsort((of.classes, -allowed))[:CANDIDATES].tolist()
    found = [(int(of.classes[i]), float(allowed[i])) for i in order]
    return [one for one in found if one[1] >= THRESHOLD]


def place(of: Scan, position: int) -> Place:
    """The best place of one class: the cells that stand out around the best one, and a margin.

    Cells belong to it that touch it (also by a corner) and reach the threshold themselves; the box
    around them gets one cell more on every side, for a mark's evidence may gather on a part of it,
    and is cut to two fifths of the grid's side.
    """
    allowed = np.where(of.mean[position] >= 1, of.statistic[position], -np.inf)
    peak = int(allowed.argmax())
    high = allowed >= THRESHOLD
    high[peak] = True
    touching = ndimage.label(high.reshape(of.grid), structure=np.ones((3, 3)))
    pieces = np.asarray(touching[0])  # pyright: ignore[reportIndexIssue]
    centre = divmod(peak, of.grid[1])
    cells = np.nonzero(pieces == pieces[centre])
    ends = [
        _cut(int(along.min()) - 1, int(along.max()) + 2, centre[axis], of.grid[axis])
        for axis, along in enumerate(cells)
    ]
    box = ends[0][0], ends[1][0], ends[0][1], ends[1][1]
    label = int(of.classes[position])
    return Place(label, box, float(allowed[peak]), float(of.mean[position][peak]))


def _cut(first: int, last: int, peak: int, side: int) -> tuple[int, int]:
    longest = max(_SHORTEST, round(_LONGEST * side))
    first, last = max(first, 0), min(last, side)
    if last - first > longest:
        first = max(first, min(peak - longest // 2, last - longest))
        last = first + longest
    return first, last


def elsewhere(box: Box, grid: tuple[int, int]) -> Int[np.ndarray, "window 4"]:
    """All windows of the box's size that do not touch any of its cells."""
    height, width = box[2] - box[0], box[3] - box[1]
    top, left = np.mgrid[: grid[0] - height + 1, : grid[1] - width + 1].reshape(2, -1)
    apart = (top >= box[2]) | (top + height <= box[0]) | (left >= box[3]) | (left + width <= box[1])
    windows = np.stack([top, left, top + height, left + width], axis=1)
    return windows[apart]


def shares(
    units: Float[np.ndarray, "image cell"],
    windows: Int[np.ndarray, "window 4"],
    grid: tuple[int, int],
) -> Float[np.ndarray, "image window"]:
    """The share of every map inside every window, by summed areas."""
    table = np.pad(units.reshape(-1, *grid), ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
    top, left, bottom, right = windows.T
    corners = table[:, bottom, right] - table[:, top, right]
    return corners - table[:, bottom, left] + table[:, top, left]
