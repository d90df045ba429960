"""The power curve: what is found of planted pairs, against their rate and the class size."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxattr.bench.audit.moving import PAIRS
from jaxattr.bench.audit.rankings import AUDIT
from jaxattr.bench.audit.run import Score
from jaxattr.errors import JaxattrError
from jaxattr.plot import figures

# Okabe and Ito's colours, which all common colour vision deficiencies keep apart.
_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)))
_APART = 0.016
"""Curves that coincide are drawn side by side, this share of the range of rates apart."""
_GREY = "#5c5c5c"
_COMPARED = ("confusion counts", "summed margin", "cleanlab")


def draw(scores: Sequence[Score], note: str = "") -> Figure:
    """Above, the audit's power with a line per class size; below, average precision of pairs.

    A column per kind of pairs. Average precision is drawn at the largest size, baselines beside.

    Raises:
        JaxattrError: no pairs were planted.
    """
    kinds = [kind for kind in PAIRS if any(one.kind == kind for one in scores)]
    if not kinds:
        raise JaxattrError(
            f"the figure shows planted pairs, but none were; plant {' or '.join(PAIRS)}, too."
        )
    with figures.own_style():
        figure = Figure(figsize=(1.2 + 3.7 * len(kinds), 6.2))
        axes = figure.subplots(2, len(kinds), sharex=True, sharey=True, squeeze=False)
        for column, kind in zip(axes.T, kinds, strict=True):
            _power(column[0], [one for one in scores if one.kind == kind])
            _precision(column[1], [one for one in scores if one.kind == kind])
            column[0].set_title(f"{kind.capitalize()} pairs", fontsize=10)
            column[1].set_xlabel("moved share of the source class, %", fontsize=9)
        axes[0, 0].set_ylabel("power", fontsize=9)
        axes[1, 0].set_ylabel("average precision of pairs", fontsize=9)
        figure.subplots_adjust(left=0.1, right=0.98, top=0.94, bottom=0.12, wspace=0.07)
        line = "bars: 95 % intervals over sets; curves stand a little apart in the rate"
        line += f"; {note}" if note else ""
        figure.text(0.012, 0.02, line, fontsize=7.5).set(color=_GREY, parse_math=False)
    return figure


def _power(axis: Axes, scores: Sequence[Score]) -> None:
    found = [one for one in scores if (one.method, one.measure) == (AUDIT, "power")]
    sizes = sorted({one.size for one in found})
    curves = {f"{size} per class": [one for one in found if one.size == size] for size in sizes}
    _lines(axis, curves)


def _precision(axis: Axes, scores: Sequence[Score]) -> None:
    largest = max(one.size for one in scores)
    found = [one for one in scores if one.measure == "pair_ap" and one.size == largest]
    curves = {
        f"{method}, {largest} per class": [one for one in found if one.method == method]
        for method in (AUDIT, *_COMPARED)
    }
    _lines(axis, {name: points for name, points in curves.items() if points})


def _lines(axis: Axes, curves: dict[str, list[Score]]) -> None:
    """Curves beside each other, told apart by colour, mark and dashes; the first lies on top."""
    rates = [100 * one.rate for points in curves.values() for one in points]
    step = _APART * (max(rates) - min(rates)) if rates else 0.0
    for number, (name, points) in enumerate(curves.items()):
        ordered = sorted(points, key=lambda one: one.rate)
        x = [100 * one.rate + (number - (len(curves) - 1) / 2) * step for one in ordered]
        colour, mark = _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)]
        low, high = [one.low for one in ordered], [one.high for one in ordered]
        above = 3 + len(curves) - number
        axis.vlines(x, low, high, color=colour, lw=1.1, alpha=0.6, zorder=above)
        (line,) = axis.plot(x, [one.value for one in ordered], c=colour, lw=1.5, label=name)
        line.set(linestyle=_DASHES[number % len(_DASHES)], zorder=above)
        line.set(marker=mark, markersize=5.5, markeredgecolor="white", markeredgewidth=0.7)
    axis.set_ylim(-0.03, 1.03)
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8, length=2.5)
    axis.legend(fontsize=7.5, frameon=False, loc="lower right", handlelength=3.2)
