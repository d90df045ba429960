"""Many methods side by side on the same photos (paper, Fig. 13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxattr.errors import JaxattrError
from jaxattr.plot import figures, heatmap
from jaxattr.plot.heatmap import Palette

_SIDE, _GAP, _EDGE = 1.3, 0.07, 0.12
_HEAD, _LINE, _BAND, _FOOT = 0.36, 0.22, 0.2, 0.3
_BAR, _NOTE = 0.86, 0.15
_GREY = "#5c5c5c"
_SCALES = {
    True: "with a sign: each map divided by its own max|S|",
    False: "no sign: from each map's min S (white) to its max S",
}


class Row(NamedTuple):
    """A photo, and what its maps explain."""

    photo: Any
    """`[height, width, 3]`, 8-bit."""
    title: str


class Column(NamedTuple):
    """One method's maps, one for each row."""

    name: str
    maps: Sequence[Any]
    """Raw maps, `[row, column]` each."""
    signed: bool
    detail: str = ""
    """A second line under the name, as the time of one map."""


def grid(
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    per_band: int = 9,
    title: str = "",
    footer: str = "",
    palette: Palette = "diverging",
    alpha: float | int | None = None,
    smooth: bool = True,
) -> Figure:
    """Draw each method's map of each photo; at most `per_band` methods stand in one band.

    Methods have no common scale, so colours compare places within a map: each is divided by its own
    `max|S|`. Methods without a sign take the palette `sequential`, from each map's
    smallest to its largest value.

    Raises:
        JaxattrError: no row, no column, or a method that lacks a map.
        ValueError: a map holds NaN or infinity.
    """
    _check(rows, columns, per_band)
    count = -(-len(columns) // -(-len(columns) // per_band))  # bands of equal width
    bands = [columns[i : i + count] for i in range(0, len(columns), count)]
    tall = [_SIDE * _ratio(row.photo) for row in rows]
    band = _HEAD + sum(tall) + len(rows) * _LINE
    used = _palettes(columns, palette)
    wide = _EDGE + (1 + count) * (_SIDE + _GAP) + _BAR
    top = 0.38 if title else 0.1
    said = dict.fromkeys(_SCALES[column.signed] for column in columns)
    lines = [*filter(None, [footer]), *said]
    height = top + len(bands) * (band + _BAND) + _FOOT + _NOTE * (len(lines) - 1)
    with figures.own_style():
        figure = Figure(figsize=(wide, height), facecolor="white")
        FigureCanvasAgg(figure)
        if title:
            figures.write_text(figure, _EDGE / wide, height - 0.28, title, size=12, weight="bold")
        for number, chosen in enumerate(bands):
            _band(figure, height - top - number * (band + _BAND), rows, tall, chosen, _Look(
                palette, alpha, smooth
            ))  # fmt: skip
        for number, one in enumerate(used):
            place = wide - _BAR + 0.1, height - top - _HEAD - _LINE - number * 2.3, 1.75
            figures.color_bar(figure, place, one, centred=one != "sequential")
        for number, line in enumerate(reversed(lines)):
            line = figures.shorten(line, int(16 * wide))
            y = 0.12 + _NOTE * number
            figures.write_text(figure, _EDGE / wide, y, line, size=7.5, color=_GREY)
    return figure


class _Look(NamedTuple):
    palette: Palette
    alpha: float | int | None
    smooth: bool


def _band(
    figure: Figure,
    top: float,
    rows: Sequence[Row],
    tall: Sequence[float],
    columns: Sequence[Column],
    look: _Look,
) -> None:
    """The photos at the left and some methods beside them; `top` in inches from below."""
    wide, height = figure.get_size_inches()

    def axes(column: int, bottom: float, size: float) -> Axes:
        left = _EDGE + column * (_SIDE + _GAP)
        place = left / wide, bottom / height, _SIDE / wide, size / height
        return figure.add_axes(place, anchor="N")

    for place, column in enumerate(columns, 1):
        left = (_EDGE + place * (_SIDE + _GAP)) / wide
        name = figures.shorten(column.name, 22)
        size = 8.5 * min(1, 17 / max(len(name), 1))  # long names would run into the next
        figures.write_text(figure, left, top - 0.16, name, size=size, weight="bold")
        figures.write_text(figure, left, top - 0.31, column.detail, size=7, color=_GREY)
    edge = top - _HEAD
    for index, (row, size) in enumerate(zip(rows, tall, strict=True)):
        words = figures.shorten(row.title, int(15 * wide))
        figures.write_text(figure, _EDGE / wide, edge - _LINE + 0.06, words, size=8, color=_GREY)
        edge -= _LINE + size
        figures.show(axes(0, edge, size), row.photo, "", "")
        for place, column in enumerate(columns, 1):
            one = np.asarray(column.maps[index])
            scaled = heatmap.span([one], signed=column.signed).place(one)
            used: Palette = look.palette if column.signed else "sequential"
            picture = figures.lay_over(scaled, row.photo, used, look.alpha, look.smooth)
            figures.show(axes(place, edge, size), picture, "", "")


def _palettes(columns: Sequence[Column], palette: Palette) -> list[Palette]:
    """Those in use, each once."""
    unsigned: Palette = "sequential"
    return list(dict.fromkeys(palette if column.signed else unsigned for column in columns))


def _ratio(photo: Any) -> float:
    return float(np.clip(photo.shape[0] / photo.shape[1], 0.5, 1.5))


def _check(rows: Sequence[Row], columns: Sequence[Column], per_band: int) -> None:
    if not rows or not columns or per_band < 1:
        raise JaxattrError(
            f"grid: {len(rows)} photos, {len(columns)} methods, {per_band} in a band; wanted at "
            "least one of each."
        )
    for column in columns:
        if len(column.maps) != len(rows):
            raise JaxattrError(
                f"grid: {column.name} has {len(column.maps)} maps for {len(rows)} photos; give one "
                "map for each."
            )
