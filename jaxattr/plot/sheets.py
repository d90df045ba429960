"""Rows of photos and overlays, each with its own photo beneath: the figures of pairs and guides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxattr.plot import figures, heatmap
from jaxattr.plot.heatmap import Palette

_WIDTH, _GAP = 2.7, 0.16
_TITLE, _LEGEND, _FOOT, _BAR = 0.62, 0.44, 0.30, 0.92


class Cell(NamedTuple):
    """A photo, or a map under a photo, and the words that go with it."""

    picture: Any
    """`[height, width, 3]`, 8-bit."""
    title: str
    detail: str = ""
    panel: figures.Panel | None = None
    """The map; its own title and detail are not used."""
    group: str = ""
    """Maps of one group have one scale, so that their colours can be compared."""


def sheet(
    rows: Sequence[Sequence[Cell | None]],
    *,
    footer: str = "",
    palette: Palette = "diverging",
    alpha: float | int | None = None,
    smooth: bool = True,
) -> Figure:
    """A table of cells, `None` left blank, with a colour bar for each palette in use.

    Maps without a sign (`panel.negative` is `None`) take the palette `sequential`. In a group with
    a signed map zero is white; in a group without one the smallest value is.

    Raises:
        ValueError: no cell, or a map that holds NaN or infinity.
    """
    cells = [cell for row in rows for cell in row if cell]
    if not cells:
        raise ValueError("a sheet needs at least one cell, got none.")
    spans = _spans(cells)
    ratio = max(cell.picture.shape[0] / cell.picture.shape[1] for cell in cells)
    height = _WIDTH * float(np.clip(ratio, 0.5, 1.5))
    pitch = _TITLE + height + _LEGEND
    used: set[tuple[Palette, bool]] = {
        (_palette(cell.panel, palette), spans[cell.group].centred) for cell in cells if cell.panel
    }
    columns = max(len(row) for row in rows)
    wide = columns * (_WIDTH + _GAP) + _GAP + _BAR * max(1, len(used))
    tall = len(rows) * pitch + _FOOT
    with figures.own_style():
        figure = Figure(figsize=(wide, tall), facecolor="white")
        FigureCanvasAgg(figure)
        for number, row in enumerate(rows):
            bottom = _FOOT + _LEGEND + (len(rows) - 1 - number) * pitch
            for column, cell in enumerate(row):
                left = _GAP + column * (_WIDTH + _GAP)
                place = left / wide, bottom / tall, _WIDTH / wide, height / tall
                if cell:
                    axis = figure.add_axes(place, anchor="N")
                    _draw(axis, cell, spans, palette, alpha, smooth)
        for index, (one, centred) in enumerate(sorted(used)):
            left = columns * (_WIDTH + _GAP) + 0.14 + index * _BAR
            bar = left, tall - _TITLE, min(height, 2.7)
            figures.color_bar(figure, bar, one, centred=centred)
        line = figures.foot(footer, _scale(spans), int(17 * wide))
        figures.write_text(figure, _GAP / wide, 0.1, line, size=7, color="#5c5c5c")
    return figure


def _spans(cells: Sequence[Cell]) -> dict[str, heatmap.Span]:
    """The scale of each group."""
    groups: dict[str, list[figures.Panel]] = {}
    for cell in cells:
        if cell.panel:
            groups.setdefault(cell.group, []).append(cell.panel)
    return {
        name: heatmap.span(
            [np.asarray(one.map) for one in panels],
            signed=any(one.signed for one in panels),
        )
        for name, panels in groups.items()
    }


def _palette(panel: figures.Panel, palette: Palette) -> Palette:
    return palette if panel.signed else "sequential"


def _draw(
    axis: Axes,
    cell: Cell,
    spans: dict[str, heatmap.Span],
    palette: Palette,
    alpha: float | int | None,
    smooth: bool,
) -> None:
    if cell.panel is None:
        figures.show(axis, cell.picture, cell.title, cell.detail)
        return
    span, palette = spans[cell.group], _palette(cell.panel, palette)
    scaled = span.place(np.asarray(cell.panel.map))
    picture = figures.lay_over(scaled, cell.picture, palette, alpha, smooth)
    detail = cell.detail
    if len(spans) > 1:
        detail = " · ".join(filter(None, (detail, span.short())))
    figures.show(axis, picture, cell.title, detail)
    figures.legend(axis, cell.panel, palette)


def _scale(spans: dict[str, heatmap.Span]) -> str:
    if len(spans) == 1:
        (span,) = spans.values()
        return f"{span.words()}, of all maps"
    if all(span.centred for span in spans.values()):
        return ""
    return "no sign: white is the smallest value S, not zero"
