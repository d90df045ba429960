"""Crops: is the label seen in one part of an image, and its strongest rival in another?"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger.columns import log_softmax, lot
from jaxattr.audit.probes.lots import known
from jaxattr.audit.probes.store import Question
from jaxattr.resampling import linear
from jaxattr.vit import predict

if TYPE_CHECKING:
    from jaxattr.audit.probes import Subject

NAME = "crops"
VERSION = 2
CONTRADICTED = 100
"""Images whose label the model contradicts, the surest first: the list of mislabelled images."""
DOUBTED = 100
"""Images that the model gets right and whose rival is likeliest."""
FLOOR = 0.1
"""Calibrated probability that the rival of a doubted image must have."""
CONTROLS = 8
"""Images of the same two classes with one object, for each pair of classes among the candidates."""
CONTROLS_IN_ALL = 160
SIDE = 0.36
"""Side of the crops that the map points at, as a share of the image's: 5 of 14 cells, 4 of 12."""

# All crops of an image at once: one by one they leave most cores idle.
_predict = jax.jit(jax.vmap(predict, in_axes=(None, 0)))


class _Images(NamedTuple):
    image: np.ndarray
    label: np.ndarray
    rival: np.ndarray
    margin: np.ndarray
    """Logit of the rival less that of the label."""
    chance: np.ndarray
    """Calibrated probability of the rival."""


def questions(analysis: Analysis) -> list[Question]:
    """One question a candidate, and one a control image of its two classes.

    Candidates are of classes that pass the gate (`statistics.known_classes`): the `CONTRADICTED`
    images with the largest margin of the rival over the label, and of those that the model gets
    right the `DOUBTED` whose rival has the largest calibrated probability, `FLOOR` at least.
    Controls have the same two classes for label and rival, in either order, are predicted right,
    and give the rival less than `FLOOR`: one object, as far as the logits tell, of a pair whose
    crops may be confused all the same.
    """
    of = analysis.remember(_images)
    wrong, right = np.flatnonzero(of.margin > 0), np.flatnonzero(of.margin <= 0)
    wrong = wrong[np.lexsort((of.image[wrong], -of.margin[wrong]))][:CONTRADICTED]
    doubted = right[of.chance[right] >= FLOOR]
    doubted = doubted[np.lexsort((of.image[doubted], -of.chance[doubted]))][:DOUBTED]
    asked = [(at, "candidate") for at in [*wrong.tolist(), *doubted.tolist()]]
    asked += [(at, "control") for at in _controls(of, [at for at, _ in asked])]
    rows = analysis.ledger.rows([int(of.image[at]) for at, _ in asked], "map_pair")
    if any(row["map_pair"] is None for row in rows.values()):
        return []  # gathered without maps
    return [
        {
            "role": role,
            "image": int(of.image[at]),
            "label": int(of.label[at]),
            "rival": int(of.rival[at]),
            "boxes": peaks(rows[int(of.image[at])]["map_pair"]).tolist(),
        }
        for at, role in asked
    ]


def answer(subject: Subject, question: Question) -> dict[str, Any]:
    """Calibrated probabilities of label and rival in each crop, enlarged to the model's input.

    First the two where the map speaks for the label and for the rival, then the four `quadrants`
    and the four `halves`. Costs ten forward passes.
    """
    grid = subject.model.config.grid
    image = subject.image(question["image"])
    temperature = subject.analysis.posterior.model.temperature
    boxes = [*question["boxes"], *quadrants(grid), *halves(grid)]
    parts = jnp.asarray(np.stack([crop(image, tuple(box), grid) for box in boxes]))
    logits = np.asarray(_predict(subject.model, parts), np.float64)
    both = np.exp(log_softmax(logits / temperature))[:, [question["label"], question["rival"]]]
    return {"seen": np.round(both, 6).tolist()}


def quadrants(grid: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """The four quarters: top, left, bottom, right in cells, the last two exclusive."""
    height, width = (max(1, side // 2) for side in grid)
    corners = [(top, left) for top in (0, grid[0] - height) for left in (0, grid[1] - width)]
    return [(top, left, top + height, left + width) for top, left in corners]


def halves(grid: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """The left and the right half, the upper and the lower one, as `quadrants`."""
    (height, width), (down, across) = grid, (max(1, side // 2) for side in grid)
    return [
        (0, 0, height, across),
        (0, width - across, height, width),
        (0, 0, down, width),
        (height - down, 0, height, width),
    ]


def peaks(pair_map: Float[np.ndarray, "row column"]) -> Int[np.ndarray, "2 4"]:
    """Two windows that do not touch each other, with the largest difference of a signed map's sums.

    Top, left, bottom, right in cells, the last two exclusive; sides are `SIDE` of the grid's. Where
    windows overlap, one part of one object can be taken for either class.
    """
    boxes, apart = _windows((pair_map.shape[0], pair_map.shape[1]))
    total = np.pad(pair_map.astype(np.float64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    top, left, bottom, right = boxes.T
    sums = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
    differences = np.where(apart, sums[:, None] - sums, -np.inf)
    first, second = np.unravel_index(int(differences.argmax()), differences.shape)
    return boxes[[first, second]]


@lru_cache(maxsize=4)
def _windows(grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """All windows, and which pairs of them have no cell in common (all, where none have)."""
    height, width = (max(1, round(SIDE * side)) for side in grid)
    boxes = np.array(
        [
            (top, left, top + height, left + width)
            for top in range(grid[0] - height + 1)
            for left in range(grid[1] - width + 1)
        ]
    )
    down = np.abs(boxes[:, None, 0] - boxes[None, :, 0]) >= height
    apart = down | (np.abs(boxes[:, None, 1] - boxes[None, :, 1]) >= width)
    return boxes, apart if apart.any() else np.ones_like(apart)


def crop(
    image: Float[np.ndarray, "height width channel"],
    box: tuple[int, ...],
    grid: tuple[int, int],
) -> Float[np.ndarray, "height width channel"]:
    """Some cells of an image, enlarged to its whole size by linear interpolation."""
    height, width = image.shape[0] // grid[0], image.shape[1] // grid[1]
    top, left, bottom, right = box
    part = image[top * height : bottom * height, left * width : right * width]
    rows, columns = (
        linear(few, many).astype(image.dtype)
        for few, many in zip(part.shape[:2], image.shape[:2], strict=True)
    )
    return np.einsum("ha,abc,wb->hwc", rows, part, columns, optimize=True)


def _images(analysis: Analysis) -> _Images:
    """The images of classes that the model knows."""
    of, keep = analysis.posterior, known(analysis.posterior)
    parts, start = [], 0
    for shard in analysis.ledger.iterate("index", "label", "rival", "logits"):
        label, rival, rows = shard["label"], shard["rival"], np.arange(len(shard["label"]))
        logits = shard["logits"].astype(np.float64)
        chance = np.exp(log_softmax(logits / of.model.temperature))[rows, rival]
        columns = (shard["index"], label, rival, logits[rows, rival] - logits[rows, label], chance)
        parts.append([column[keep[start : start + len(label)]] for column in columns])
        start += len(label)
    return _Images(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _controls(of: _Images, candidates: list[int]) -> list[int]:
    """Positions of control images, at random: `CONTROLS` for each pair, bounded in all."""
    low, high = np.minimum(of.label, of.rival), np.maximum(of.label, of.rival)
    usable = (of.margin <= 0) & (of.chance < FLOOR)
    found: list[int] = []
    for first, second in dict.fromkeys((int(low[at]), int(high[at])) for at in candidates):
        members = np.flatnonzero(usable & (low == first) & (high == second)).tolist()
        found += sorted(members, key=lambda at: lot(int(of.image[at])))[:CONTROLS]
    return found[:CONTROLS_IN_ALL]
