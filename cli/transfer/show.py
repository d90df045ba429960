"""What `jaxattr transfer` says and writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxattr.cli.common import output
from jaxattr.cli.common.records import model_name

if TYPE_CHECKING:
    import numpy as np

    from jaxattr.experiments.transfer import Parameters
    from jaxattr.plot.strips import Film
    from jaxattr.vit import Model


class Asked(NamedTuple):
    """How the attention is optimised, as the options say."""

    steps: int
    every: int
    direction: str
    optimizer: str
    rate: float
    parameters: Parameters
    method: str


class Seen(NamedTuple):
    """What came out."""

    film: Film
    logits: np.ndarray
    """`[frame, class]`."""
    moved: np.ndarray
    """`[frame, layer]`."""
    target: int
    shown: list[int]
    """The classes whose maps the film shows."""


def table_of(film: Film) -> str:
    """At most eleven frames: the logits of the shown classes, what is first, how far it moved."""
    import numpy as np

    count = len(film.steps)
    rows = []
    for frame in np.unique(np.rint(np.linspace(0, count - 1, min(11, count))).astype(int)):
        rows.append(
            (
                f"  {film.steps[frame]}",
                film.first[frame],
                *(f"{value:.3f}" for value in film.logits[frame]),
                f"{film.moved[frame]:.4f}",
            )
        )
    return output.table(("  step", "first", *film.names, "moved"), rows, left=2)


def files(
    stem: Path, formats: tuple[str, ...], seen: Seen, asked: Asked, model: Model
) -> Iterator[tuple[Path, bytes]]:
    """Paths and contents of the files asked for."""
    from jaxattr.plot import figures, strips

    for format in dict.fromkeys(formats):
        path = stem.with_name(f"{stem.name}.{format}")
        if format == "csv":
            yield path, _csv(seen, model)
        elif format in ("gif", "webp"):
            yield path, strips.animation(seen.film, format)  # type: ignore[arg-type]
        else:
            title, footer = _words(asked, model)
            strip = strips.filmstrip(seen.film, title=title, footer=footer)
            yield path, figures.encode(strip, format)


def _csv(seen: Seen, model: Model) -> bytes:
    """A row per frame and shown class; `positive` and `negative` are sums over the raw map.

    Of a regression, which has no probabilities, that column is empty.
    """
    import numpy as np

    from jaxattr.explanation import probabilities

    film, logits, moved = seen.film, seen.logits, seen.moved
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    layers = [f"moved_layer_{layer}" for layer in range(moved.shape[1])]
    head = ["step", "first", "index", "class", "logit", "probability", "positive", "negative"]
    writer.writerow([*head, "moved", *layers])
    chances = probabilities(model, logits.astype(np.float64))
    for frame, step in enumerate(film.steps):
        for row, index in enumerate(seen.shown):
            one = film.maps[frame, row].astype(np.float64)
            numbers = [
                logits[frame, index],
                None if chances is None else chances[frame, index],
                np.maximum(one, 0).sum(),
                np.maximum(-one, 0).sum(),
                film.moved[frame],
                *moved[frame],
            ]
            texts = [film.first[frame], index, film.names[row]]
            writer.writerow([step, *texts, *map(_digits, numbers)])
    return file.getvalue().encode()


def _digits(number: Any) -> str:
    return "" if number is None else f"{number:.7g}"


def _words(asked: Asked, model: Model) -> tuple[str, str]:
    """The title and the footer of the filmstrip."""
    how = f"{asked.optimizer}, learning rate {asked.rate:g}, {asked.parameters} parameters"
    verb = {"raise": "raised", "lower": "lowered"}[asked.direction]
    title = f"Attention transfer: the logit of the target is {verb}"
    return title, "  ·  ".join(filter(None, [model_name(model), f"method {asked.method}", how]))
