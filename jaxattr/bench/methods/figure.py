"""The scores of methods as a picture: one panel per metric, one row per method."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from jaxattr.bench.methods.maps import BLOB, RANDOM
from jaxattr.bench.methods.run import Result
from jaxattr.bench.methods.table import Score
from jaxattr.plot import figures

_PER_BAND = 5
_COLOUR, _GREY = "#c25a00", "#5c5c5c"
_ARROWS = {"higher": "↑", "lower": "↓"}
_NULLS = {RANDOM: "--", BLOB: ":"}


def draw(result: Result, note: str = "") -> Figure:
    """Filled: the trained model; hollow: random weights; vertical lines: maps that know nothing."""
    names = list(dict.fromkeys(one.metric for one in result.scores))
    methods = [row.name for row in result.rows if row.competes]
    columns = min(len(names), _PER_BAND)
    bands = -(-len(names) // columns)
    band = 0.2 * len(methods) + 0.75
    height = bands * band + 0.75
    with figures.own_style():
        figure = Figure(figsize=(2.0 * columns + 1.9, height))
        axes = figure.subplots(bands, columns, sharey=True, squeeze=False).ravel()
        for axis, name in zip(axes, names, strict=False):
            _panel(axis, [one for one in result.scores if one.metric == name], methods)
        for axis in axes[len(names) :]:
            axis.set_visible(False)
        axes[0].set_yticks(range(len(methods)), methods)
        axes[0].set_ylim(len(methods) - 0.4, -0.6)
        width = 2.0 * columns + 1.9
        figure.subplots_adjust(
            left=1.55 / width, right=1 - 0.12 / width, top=1 - 0.32 / height,
            bottom=0.75 / height, wspace=0.1, hspace=0.55 / (band - 0.55),
        )  # fmt: skip
        marks = {"marker": "o", "ls": "", "ms": 5, "mec": _COLOUR}
        handles = [
            Line2D([], [], mfc=_COLOUR, label="method", **marks),
            Line2D([], [], mfc="white", label="on random weights", **marks),
            *(Line2D([], [], ls=style, c=_GREY, label=name) for name, style in _NULLS.items()),
        ]
        figure.legend(
            handles=handles, ncols=4, fontsize=8, frameon=False, loc="lower center",
            bbox_to_anchor=(0.5, 0.17 / height),
        )  # fmt: skip
        line = f"{result.images} images; lines: 95 % intervals{'; ' if note else ''}{note}"
        text = figure.text(0.01, 0.07 / height, line, fontsize=7, color=_GREY)
        text.set(parse_math=False)
    return figure


def _panel(axis: Axes, scores: list[Score], methods: list[str]) -> None:
    axis.set_title(f"{scores[0].metric}: {_ARROWS[scores[0].better]}", fontsize=8.5)
    axis.xaxis.set_major_locator(MaxNLocator(4, prune="upper"))
    axis.grid(axis="x", alpha=0.25)
    axis.tick_params(labelsize=7.5, length=2)
    for one in scores:
        if np.isnan(one.value):
            continue
        if one.model == "none":
            axis.axvline(one.value, ls=_NULLS[one.method], c=_GREY, lw=1)
            continue
        if one.method not in methods:
            continue
        trained = one.model != "random weights"
        row = methods.index(one.method) + (-0.13 if trained else 0.17)
        shade = 1 if trained else 0.5
        axis.plot([one.low, one.high], [row, row], c=_COLOUR, lw=1.2, alpha=shade)
        face = _COLOUR if trained else "white"
        axis.plot(one.value, row, "o", ms=4, mec=_COLOUR, mfc=face, mew=0.8)
