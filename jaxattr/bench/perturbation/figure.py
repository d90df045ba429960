"""The curves as a picture: four panels, a line per method, its interval as a band (Fig. 12)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxattr.bench.perturbation.passes import RANDOM
from jaxattr.bench.perturbation.run import Result
from jaxattr.bench.perturbation.table import Curve
from jaxattr.plot import figures

# Okabe and Ito's colours, which all common colour vision deficiencies keep apart.
_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKS = ("o", "s", "^", "D", "v", "P", "X")
_PLURAL = {"patch": "patches", "pixel": "pixels"}
_GREY = "#5c5c5c"
_BETTER = {"positive": "lower is better", "negative": "higher is better"}
_FROM = {"positive": "highest", "negative": "lowest"}


def draw(result: Result, measure: str = "accuracy", note: str = "") -> Figure:
    """Two rows of negative and positive test, as the paper puts them.

    The rows are the predicted class and the label; where a protocol explains one of them only,
    they are accuracy and probability, and `measure` is not asked.
    """
    explained = result.protocol.explained
    if len(explained) == 2:
        rows = [(one, measure) for one in explained]
    else:
        rows = [(explained[0], "accuracy"), (explained[0], "probability")]
        if explained[0] == "predicted":
            rows[0] = explained[0], measure if measure != "probability" else "accuracy"
    with figures.own_style():
        figure = Figure(figsize=(8.6, 7.0))
        axes = figure.subplots(2, 2, sharex=True, sharey="row")
        for row, (one, measured) in zip(axes, rows, strict=True):
            for axis, order in zip(row, ("negative", "positive"), strict=True):
                _panel(axis, result, one, order, measured)
            row[0].set_ylabel(f"{measured}, %", fontsize=9)
        for axis in axes[1]:
            axis.set_xlabel(f"masked {_PLURAL[result.protocol.unit]}, %", fontsize=9)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, ncols=4, fontsize=9, frameon=False, loc="upper center",
            bbox_to_anchor=(0.5, 0.995),
        )  # fmt: skip
        figure.subplots_adjust(
            left=0.08, right=0.985, top=0.885, bottom=0.115, wspace=0.06, hspace=0.2
        )
        line = f"{result.protocol.name}, {result.images} images; bands: 95 % intervals"
        text = figure.text(0.012, 0.018, f"{line}{'; ' if note else ''}{note}", fontsize=7.5)
        text.set(color=_GREY, parse_math=False)
    return figure


def _panel(axis: Axes, result: Result, explained: str, order: str, measure: str) -> None:
    asked = "predicted class" if explained == "predicted" else "label"
    axis.set_title(
        f"{order.capitalize()} test, {asked}: {_FROM[order]} first, {_BETTER[order]}", fontsize=9
    )
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8, length=2.5)
    key = explained, order, measure
    for index, method in enumerate(result.methods):
        points = [one for one in result.curves if (one.method, *_key(one)) == (method, *key)]
        x = 100 * np.array([one.fraction for one in points])
        value, low, high = (
            100 * np.array([getattr(one, name) for one in points])
            for name in ("value", "low", "high")
        )
        chance = method == RANDOM
        colour = _GREY if chance else _COLOURS[index % len(_COLOURS)]
        mark = "" if chance else _MARKS[index % len(_MARKS)]
        style = "--" if chance else "-"
        axis.fill_between(x, low, high, color=colour, alpha=0.13, lw=0)
        axis.plot(x, value, style, marker=mark, c=colour, ms=4, lw=1.5, label=method)
    axis.set_ylim(bottom=0)


def _key(one: Curve) -> tuple[str, str, str]:
    return one.explained, one.order, one.measure
