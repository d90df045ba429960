"""What all figures share: the model and its words, maps of several losses, and what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from scipy.special import softmax

from benchmarks.paper.subjects import Subject
from jaxattr import losses, metrics
from jaxattr.data.labels import LabelTable
from jaxattr.methods import METHODS
from jaxattr.plot.figures import Panel
from jaxattr.plot.sheets import Cell
from jaxattr.vit import Model, predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure


OURS = "conservative"
"""Set beside the paper's methods, which keep the paper's loss: see `LOSSES`."""
LOSSES = {
    "logit": lambda first, _: losses.target_logit(first),
    "log-odds": lambda first, _: losses.log_odds(first),
    "difference": losses.difference,
}
"""Of a class and its rival: the paper's Eq. 7; and what conservative rules are asked, which count
everything that raises a logit as evidence, the other class included."""


def named(method: str, loss: str) -> str:
    """How a method and its loss are called in summaries; the paper's loss is not said."""
    return method if loss == "logit" else f"{method}, {loss}"


class Lab(NamedTuple):
    """What one run holds fixed."""

    source: str
    """The model as it was named."""
    model: Model
    table: LabelTable
    images: Path | None
    """Where the photos lie; `None` draws scenes."""
    labelled: Path | None
    """One folder of images per class, for Fig. 9 and 12; `None` draws scenes."""
    output: Path
    steps: int
    """Of the attention transfer."""
    methods: tuple[str, ...]
    """Of Fig. 10 and 13."""
    limit: int
    """Images of Fig. 12."""
    drawn: int
    """Scenes of a kind, where scenes are drawn."""

    @property
    def footer(self) -> str:
        return Path(self.model.name).name or "a Vision Transformer"

    def short(self, index: int) -> str:
        return self.table.short(int(index))


class Drawn(NamedTuple):
    """What a figure's script hands back; the entry point writes it."""

    figures: dict[str, Figure]
    """By what is added to the figure's name; empty where a command has written the picture."""
    summary: dict[str, Any]
    """The few numbers that the paper's claim is held against."""
    rows: list[dict[str, Any]]
    """The numbers of each image."""


@partial(jax.jit, static_argnames="method")
def _maps(model: Model, array: Any, loss: Any, method: str) -> Any:
    return jax.vmap(lambda one: METHODS[method].function(model, array, one))(loss)


_predict = jax.jit(predict)


def maps(lab: Lab, array: Any, loss: Any, method: str = "complete") -> np.ndarray:
    """The maps of several losses, whose leaves have a leading axis: `[loss, row, column]`."""
    return np.asarray(_maps(lab.model, array, loss, method), np.float64)


def class_maps(
    lab: Lab, subject: Subject, method: str = "complete", loss: str = "logit"
) -> np.ndarray:
    """The maps of a subject's classes, each against the next: the logits' (Eq. 7) by default."""
    first, second = np.array(subject.classes), np.roll(subject.classes, -1)
    return maps(lab, subject.photo.array, LOSSES[loss](first, second), method)


def logits(lab: Lab, array: Any) -> np.ndarray:
    """The model's answer to one image."""
    return np.asarray(_predict(lab.model, array)).astype(np.float64)


def balance(one: np.ndarray, region: np.ndarray) -> float:
    """`Σ S / Σ |S|` over a region: 1 all for the class, -1 all against it; NaN without any."""
    total = float((np.abs(one) * region).sum())
    return float((one * region).sum()) / total if total > 0 else float("nan")


def on_object(one: np.ndarray, region: np.ndarray) -> dict[str, float]:
    """How one map treats the object that it explains; shares in percent."""
    covered = region >= 0.5
    return {
        "balance": round(balance(one, region), 3),
        "positive_patches": percent((one[covered] > 0).mean()) if covered.any() else float("nan"),
        "positive_elsewhere": percent((one[~covered] > 0).mean()),
        "positive_on_object": percent(metrics.positive_share(one, region)),
        "all_on_object": percent(metrics.absolute_share(one, region)),
        "area": percent(region.mean()),
    }


def percent(share: Any) -> float:
    return round(100 * float(share), 1)


def mean(rows: Sequence[dict[str, Any]], key: str) -> float:
    """Over the rows that have the number, NaN left out."""
    values = [one[key] for one in rows if key in one and np.isfinite(one[key])]
    return round(float(np.mean(values)), 3) if values else float("nan")


def photo_cell(lab: Lab, subject: Subject) -> Cell:
    """The photo and its two most probable classes."""
    chances = softmax(logits(lab, subject.photo.array))
    best = (-chances).argsort(kind="stable")[:2]
    words = ", ".join(f"{lab.short(i)} {chances[i]:.2f}" for i in best)
    return Cell(subject.photo.picture, subject.name, words)


def map_cell(
    lab: Lab, subject: Subject, one: np.ndarray, title: str, words: tuple[str, str | None]
) -> Cell:
    """A map under the photo, with a scale of its own; `words`: what the two signs mean."""
    panel = Panel(one, "", "", *words)
    return Cell(subject.photo.picture, title, panel=panel, group=f"{subject.name} {title} {words}")


def signed(name: str) -> tuple[str, str]:
    return f"for {name}", f"against {name}"


def words(lab: Lab, method: str, loss: str, class_: int, rival: int) -> tuple[str, str | None]:
    """What the two signs of a class's map mean; `None` for a method without the second."""
    name = lab.short(class_)
    if not METHODS[method].signed:
        return f"for {name}", None
    return f"for {name}", f"for {lab.short(rival)}" if loss == "difference" else f"against {name}"
