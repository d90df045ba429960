"""Boxes around objects in photos: is a map's evidence inside them?

Photos that the model recognises, with boxes of a moderate size, `boxes-v1`. A box is not an
outline: it holds background, and evidence may rightly lie outside. Rows of maps that know nothing
show what that leaves.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxattr import metrics
from jaxattr.bench.explanations import maps as explaining
from jaxattr.bench.explanations.maps import CHUNK, LOSSES
from jaxattr.bench.explanations.run import Score
from jaxattr.bench.methods.maps import centred_blob
from jaxattr.data import images
from jaxattr.data.dataset import Dataset
from jaxattr.errors import DatasetError, ImageError, JaxattrError, printable
from jaxattr.heads import probabilities
from jaxattr.methods import CHEAP, Method, MethodLike, checked, in_order
from jaxattr.metrics.context import generator
from jaxattr.vit import Model

NAME = "boxes-v1"
CONFIDENT = 0.9
"""The probability of the label that makes a photo recognised, as the top class."""
AREA = 0.08, 0.5
"""Share of the model's input that the boxes of a photo may cover."""
MEASURES = ("inside_positive", "inside_above", "pointing", "positive_inside")
COLUMNS = ("file", "xmin", "ymin", "xmax", "ymax")

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the photo, the last two included."""


class Photo(NamedTuple):
    """One that is scored."""

    name: str
    array: Float[np.ndarray, "height width channel"]
    label: int
    mask: Bool[np.ndarray, "height width"]
    """What its boxes cover, in the model's input."""


class Result(NamedTuple):
    """What a run found."""

    scores: list[Score]
    photos: tuple[str, ...]
    """Files that were scored."""
    looked_at: int
    """Photos with a box, of any size, that were opened to find these."""
    area: float
    """Share of the image that boxes cover: the mean over photos."""
    skipped: tuple[str, ...]
    """Why each photo that could not be read was left out."""


def run(
    model: Model,
    dataset: Dataset,
    boxes: Path,
    *,
    count: int = 120,
    methods: Sequence[MethodLike] = CHEAP,
    confidence: float = CONFIDENT,
    area: tuple[float, float] = AREA,
    seed: int = 0,
    workers: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Result:
    """Score methods, a random map and a centred blob on `count` photos of a labelled folder.

    Photos are taken in random order until there are enough. Of each the label is explained, for
    every loss of `maps.LOSSES`.

    Args:
        boxes: a CSV table with `COLUMNS`, files relative to the folder or to the table; several
            rows of a file are one region.
        confidence: of the label, at least.
        area: least and largest share of the model's input that the boxes cover.
        seed: of the order, the random map and the intervals.
        report: called with a line before each step.

    Raises:
        JaxattrError: an unknown method, or shares that are none.
        DatasetError: a table that cannot be read, or no photo that fits.
    """
    chosen_methods = in_order(checked(methods, model))
    if count < 1 or not (0 <= area[0] < area[1] <= 1 and 0 <= confidence <= 1):
        raise JaxattrError(
            f"{count} photos, boxes of {area[0]:g} to {area[1]:g} of the image, confidence "
            f"{confidence:g}: wanted at least one photo, and shares from 0 to 1 that rise."
        )
    known = read_boxes(boxes)
    report(f"Boxes: {len(known)} files of {printable(boxes)}")
    search = _Search(model, dataset, known, boxes, confidence, area, seed, workers)
    wanted, chosen = islice(search.photos(), count), []
    found: dict[str, list[np.ndarray]] = {one.name: [] for one in chosen_methods}
    while some := list(islice(wanted, CHUNK)):
        report(f"Explaining {some[0].name} and {len(some) - 1} more")
        arrays = np.stack([one.array for one in some])
        labels = np.array([one.label for one in some], np.int32)
        rivals = np.full(len(some), -1, np.int32)  # the strongest
        explained = explaining.explain_images(model, arrays, labels, rivals, chosen_methods)
        for name in found:
            found[name].append(np.asarray(explained.maps[name], np.float64))
        chosen += [one._replace(array=np.zeros((0, 0, 0), np.float32)) for one in some]
    if not chosen:
        raise DatasetError(
            f"{printable(dataset.root)}: none of {search.looked_at} photos with a box is "
            f"recognised with {confidence:g} and has boxes of {area[0]:.0%} to {area[1]:.0%} of "
            "the image; ask for less, or check that the table's files are those of the folder."
        )
    masks, grid = np.stack([one.mask for one in chosen]), model.config.grid
    drawn = [generator(seed, one.name, 10).standard_normal(grid) for one in chosen]
    nulls = {"random map": np.stack(drawn), "centred blob": [centred_blob(grid)] * len(chosen)}
    rows = {name: np.concatenate(several) for name, several in found.items()}
    rows |= {name: np.asarray(maps, np.float64)[:, None] for name, maps in nulls.items()}
    region = metrics.pool(masks, grid)
    named = {one.name: one for one in chosen_methods}
    scores = [
        score
        for name, maps in rows.items()
        for score in _scores(name, named.get(name), maps, region, seed)
    ]
    files, covered = tuple(one.name for one in chosen), float(masks.mean())
    return Result(scores, files, search.looked_at, covered, tuple(search.skipped))


def measure(
    maps: Float[np.ndarray, "photo row column"], region: Float[np.ndarray, "photo row column"]
) -> dict[str, Any]:
    """One score per photo for each of `MEASURES`.

    The sum inside is above zero; the mean inside is above that outside; the largest value lies on
    a patch of which the boxes cover half; the share of positive evidence that is inside.
    """
    return {
        "inside_positive": metrics.sign_accuracy(maps, region),
        "inside_above": metrics.inside_above(maps, region),
        "pointing": metrics.pointing_game(maps, region),
        "positive_inside": metrics.positive_share(maps, region),
    }


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """The boxes of each file of a CSV table, whose columns are `COLUMNS`; others are ignored.

    Raises:
        DatasetError: no such file, a column is missing, or a row holds no box.
    """
    shown = printable(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{shown}: this table of boxes cannot be read ({error}).") from None
    reader = csv.DictReader(text.splitlines())
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise DatasetError(
            f"{shown}: has no column {', '.join(missing)}; a table of boxes is a CSV with the "
            f"header {','.join(COLUMNS)}."
        )
    found: dict[str, list[Box]] = {}
    for row in reader:
        corners = [row[name] for name in COLUMNS[1:]]
        try:
            left, top, right, bottom = (int(float(one or "")) for one in corners)
        except (ValueError, OverflowError):
            left, top, right, bottom = 0, 0, -1, -1
        if right < left or bottom < top:
            raise DatasetError(
                f"{shown}: line {reader.line_num}, {row['file']!r}: no box, "
                f"{','.join(map(str, corners))}; wanted xmin,ymin,xmax,ymax in pixels that rise."
            )
        found.setdefault(row["file"], []).append((left, top, right, bottom))
    return found


class _Search:
    """Photos in random order, those that fit."""

    def __init__(
        self,
        model: Model,
        dataset: Dataset,
        known: Mapping[str, list[Box]],
        table: Path,
        confidence: float,
        area: tuple[float, float],
        seed: int,
        workers: int | None,
    ) -> None:
        self.model, self.root, self.workers = model, dataset.root, workers
        self.confidence, self.area, self.looked_at = confidence, area, 0
        self.skipped: list[str] = []
        places = {}
        for base in (table.parent, dataset.root):
            places |= {os.path.abspath(base / file): found for file, found in known.items()}
        labels = dict(zip(dataset.files, dataset.targets.tolist(), strict=True))
        boxes = {file: places.get(os.path.abspath(self.root / file)) for file in dataset.files}
        self.boxes = {file: found for file, found in boxes.items() if found and labels[file] >= 0}
        self.labels = labels
        if not self.boxes:
            raise DatasetError(
                f"{printable(table)}: names none of the {len(labels)} labelled files of "
                f"{printable(self.root)}; files are relative to the folder or to the table, "
                f"such as {next(iter(labels), '')}."
            )
        files = sorted(self.boxes)
        self.order = [files[i] for i in np.random.default_rng(seed).permutation(len(files))]

    def photos(self) -> Iterator[Photo]:
        """Those that are recognised, with boxes of a size that is asked for."""
        stream = images.read_ahead(self.order, self._read, workers=self.workers, ahead=2 * CHUNK)
        fitting = (one for one in self._opened(stream) if self._fits(one))
        while some := list(islice(fitting, CHUNK)):
            arrays = np.stack([one.array for one in some])
            logits = explaining.classify(self.model, arrays)
            chances = probabilities(self.model.config, logits)
            for one, chance in zip(some, chances, strict=True):
                if chance.argmax() == one.label and chance[one.label] >= self.confidence:
                    yield one

    def _opened(self, stream: Iterator[Photo | ImageError]) -> Iterator[Photo]:
        for one in stream:
            if isinstance(one, ImageError):
                self.skipped.append(str(one))
            else:
                self.looked_at += 1
                yield one

    def _fits(self, photo: Photo) -> bool:
        return self.area[0] <= float(photo.mask.mean()) <= self.area[1]

    def _read(self, file: str) -> Photo:
        p = self.model.preprocessing
        decoded = images.decode(self.root / file, name=file, max_pixels=p.max_pixels)
        marked = np.zeros(decoded.size[::-1], bool)
        for left, top, right, bottom in self.boxes[file]:
            marked[max(top, 0) : max(bottom + 1, 0), max(left, 0) : max(right + 1, 0)] = True
        array = images.normalize(images.fit(decoded, p), p)
        return Photo(file, array, self.labels[file], images.fit_mask(marked, p))


def _scores(
    name: str,
    method: Method | None,
    maps: Float[np.ndarray, "photo loss row column"],
    region: Float[np.ndarray, "photo row column"],
    seed: int,
) -> list[Score]:
    """Of one method or null, for every loss that it depends on."""
    asked = method is not None and method.target_dependent
    result = []
    for k, loss in enumerate(LOSSES if asked else ("any",)):
        values = measure(maps[:, k], region)
        for measured in MEASURES:
            interval = metrics.interval(np.asarray(values[measured]), seed=seed)
            kind = "trained" if method is not None else "none"
            result.append(Score(NAME, name, kind, loss, measured, *interval))
    return result
