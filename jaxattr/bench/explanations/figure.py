"""The scores as a picture: one panel per measure, one row per method, intervals as lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxattr.bench.explanations.run import Score
from jaxattr.plot import figures

PANELS = (
    ("two objects", "sign_accuracy", "Two objects:\nboth signs right"),
    ("two objects", "positive_in_target", "Two objects:\n+ inside the target"),
    ("two objects", "negative_in_rival", "Two objects:\n− inside the rival"),
    ("two objects", "likeness", "Two objects: likeness of\nthe two classes' maps"),
    ("one object", "iou_best", "One object:\nIoU, best threshold"),
    ("one object", "iou_zero", "One object:\nIoU, positive patches"),
    ("twins", "part_hit", "Twins: largest |S| on\nthe part that differs"),
)
"""Kind of scene, measure, title."""
_COLOURS = {"logit": "#c25a00", "difference": "#2166c2", "log-odds": "#1b7f4b", "any": "#5c5c5c"}
_OFFSETS = {"logit": -0.25, "difference": 0.0, "log-odds": 0.25}


def draw(scores: Sequence[Score], note: str = "") -> Figure:
    """The main measures; filled: the trained model or none, hollow: random weights."""
    methods = list(dict.fromkeys(score.method for score in scores))
    with figures.own_style():
        figure = Figure(figsize=(2.05 * len(PANELS) + 1.2, 0.42 * len(methods) + 1.75))
        axes = figure.subplots(1, len(PANELS), sharey=True)
        for axis, (scenes, measure, title) in zip(axes, PANELS, strict=True):
            chosen = [one for one in scores if (one.scenes, one.measure) == (scenes, measure)]
            _panel(axis, chosen, methods)
            axis.set_title(title, fontsize=8.5)
            if measure == "likeness":
                axis.set_xlim(-1.08, 1.08)
            else:
                axis.set_xlim(-0.04, 1.04)
        axes[0].set_yticks(range(len(methods)), methods, fontsize=9)
        axes[0].set_ylim(len(methods) - 0.5, -0.5)
        _legend(figure)
        height = figure.get_size_inches()[1]
        figure.subplots_adjust(
            left=0.085, right=0.99, top=1 - 0.5 / height, bottom=0.85 / height, wspace=0.1
        )
        figure.text(0.01, 0.1 / height, f"{note}; lines: 95 % intervals", fontsize=7.5, c="#5c5c5c")
    return figure


def _panel(axis: Axes, scores: Sequence[Score], methods: Sequence[str]) -> None:
    axis.grid(axis="x", alpha=0.25)
    axis.tick_params(labelsize=7.5, length=2)
    for score in scores:
        if np.isnan(score.value):
            continue
        offset = _OFFSETS.get(score.loss, 0)
        row, colour = methods.index(score.method) + offset, _COLOURS[score.loss]
        filled = score.model != "random weights"
        axis.plot([score.low, score.high], [row, row], c=colour, lw=1.3, alpha=1 if filled else 0.5)
        face = colour if filled else "white"
        axis.plot(score.value, row, "o", ms=5, mec=colour, mfc=face, mew=1)
    for row in range(1, len(methods)):
        axis.axhline(row - 0.5, c="#dddddd", lw=0.6)


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    grey = _COLOURS["any"]
    shown = [(f"loss: {name}", name, True) for name in _OFFSETS]
    shown += [("the loss does not matter", "any", True), ("hollow: random weights", "any", False)]
    handles = []
    for label, loss, filled in shown:
        colour = _COLOURS.get(loss, grey)
        face = colour if filled else "white"
        handles.append(Line2D([], [], marker="o", ls="", ms=5, mec=colour, mfc=face, label=label))
    height = figure.get_size_inches()[1]
    figure.legend(
        handles=handles,
        ncols=5,
        fontsize=8,
        frameon=False,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.22 / height),
    )
