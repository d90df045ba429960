"""Rows of photos and overlays, each with its own photo beneath: the figures of pairs and guides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxattr import figures, heatmap
from jaxattr.heatmap import Palette

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
    """Maps of one group are divided by one number, so that their colours can be compared."""


def sheet(
    rows: Sequence[Sequence[Cell | None]],
    *,
    footer: str = "",
    palette: Palette = "diverging",
    alpha: float | int | None = None,
    smooth: bool = True,
) -> Figure:
    """A table of cells, `None` left blank, with a colour bar for each palette in use.

    Maps without a sign (`panel.negative` is `None`) take the palette `sequential`.

    Raises:
        ValueError: no cell, or a map that holds NaN or infinity.
    """
    cells = [cell for row in rows for cell in row if cell]
    if not cells:
        raise ValueError("a sheet needs at least one cell, got none.")
    limits = _limits(cells)
    ratio = max(cell.picture.shape[0] / cell.picture.shape[1] for cell in cells)
    height = _WIDTH * float(np.clip(ratio, 0.5, 1.5))
    pitch = _TITLE + height + _LEGEND
    found = {_palette(cell, palette) for cell in cells}
    known: tuple[Palette, ...] = ("diverging", "paper", "sequential")
    used: list[Palette] = [one for one in known if one in found]
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
                    _draw(axis, cell, limits, _palette(cell, palette), alpha, smooth)
        for index, one in enumerate(used):
            left = columns * (_WIDTH + _GAP) + 0.14 + index * _BAR
            figures.color_bar(figure, (left, tall - _TITLE, min(height, 2.7)), one)
        line = figures.shorten(_foot(footer, limits), int(17 * wide))
        figures.write_text(figure, _GAP / wide, 0.1, line, size=7, color="#5c5c5c")
    return figure


def _limits(cells: Sequence[Cell]) -> dict[str, float]:
    """`max|S|` of each group."""
    limits: dict[str, float] = {}
    for cell in cells:
        if cell.panel:
            own = heatmap.limit(np.asarray(cell.panel.map))
            limits[cell.group] = max(limits.get(cell.group, 0.0), own)
    return limits


def _palette(cell: Cell, palette: Palette) -> Palette | None:
    if cell.panel is None:
        return None
    return palette if cell.panel.negative else "sequential"


def _draw(
    axis: Axes,
    cell: Cell,
    limits: dict[str, float],
    palette: Palette | None,
    alpha: float | int | None,
    smooth: bool,
) -> None:
    if cell.panel is None or palette is None:
        figures.show(axis, cell.picture, cell.title, cell.detail)
        return
    one, limit = np.asarray(cell.panel.map), limits[cell.group]
    scaled = one / limit if limit and one.min() < one.max() else np.zeros(one.shape)
    picture = figures.lay_over(scaled, cell.picture, palette, alpha, smooth)
    detail = cell.detail
    if len(limits) > 1:
        detail = " · ".join(filter(None, (detail, f"max|S| = {limit:.3g}")))
    figures.show(axis, picture, cell.title, detail)
    figures.legend(axis, cell.panel, palette)


def _foot(footer: str, limits: dict[str, float]) -> str:
    if len(limits) != 1:
        return footer
    (limit,) = limits.values()
    scale = f"1 = max|S| = {limit:.3g}, of all maps" if limit else "S = 0 everywhere"
    return f"{footer}  ·  {scale}" if footer else scale
