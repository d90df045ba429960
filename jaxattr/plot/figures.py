"""Figures of one photo and its maps, drawn with matplotlib's objects and without its global state.

The same arguments give the same bytes: no time, no user style, only the fonts that matplotlib
brings along.
"""

from __future__ import annotations

import io
import os
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxattr.plot import heatmap
from jaxattr.plot.heatmap import Palette

FORMATS = ("png", "svg", "pdf")

_WIDTH = 3.3  # inches of one panel
_GAP = 0.16
_TITLE, _LEGEND, _FOOT = 0.62, 0.44, 0.30
_BAR = 0.92  # the colour bar with its numbers
_GREY = "#5c5c5c"
_DPI = 150


class Panel(NamedTuple):
    """One map beside the photo, and the words that go with it."""

    map: Any
    """`[row, column]`, raw."""
    title: str
    detail: str
    """The second line of the title: probability, logit."""
    positive: str
    """What positive values mean: `for zebra`."""
    negative: str | None
    """What negative values mean; `None` where the method has no sign."""

    @property
    def signed(self) -> bool:
        """Whether negative values mean something, so that zero must be white."""
        return self.negative is not None


def explanation(
    photo: UInt8[np.ndarray, "height width 3"],
    panels: Sequence[Panel],
    *,
    title: str = "",
    detail: str = "",
    footer: str = "",
    palette: Palette = "diverging",
    alpha: float | int | None = None,
    smooth: bool = True,
) -> Figure:
    """The photo, and to its right one overlay per panel, with one scale and one colour bar.

    `max|S|` is taken over all panels, so that equal colours are equal values. With the palette
    `diverging` the photo over the map is grey, with `paper` it keeps its colours, as in the paper.
    Where no panel has a sign, the palette is `sequential` and spans the smallest to the largest
    value of all panels.

    Raises:
        ValueError: no panel, or a map that holds NaN or infinity.
    """
    if not panels:
        raise ValueError("a figure needs at least one panel, got none.")
    signed = any(panel.signed for panel in panels)
    palette = palette if signed else "sequential"
    maps = [np.asarray(panel.map) for panel in panels]
    span = heatmap.span(maps, signed=signed)
    height = float(np.clip(_WIDTH * photo.shape[0] / photo.shape[1], 0.5 * _WIDTH, 1.5 * _WIDTH))
    with own_style():
        figure, axes = _grid(len(panels) + 1, height)
        show(axes[0], photo, title, detail)
        for axis, panel, one in zip(axes[1:], panels, maps, strict=True):
            picture = lay_over(span.place(one), photo, palette, alpha, smooth)
            show(axis, picture, panel.title, panel.detail)
            legend(axis, panel, palette)
        box, (width, tall) = axes[-1].get_position(), figure.get_size_inches()
        place = box.x1 * width + 0.14, box.y1 * tall, min(height, 3.3)
        color_bar(figure, place, palette, centred=signed)
        line = foot(footer, span.words(), int(17 * width))
        write_text(figure, _GAP / width, 0.1, line, size=7, color=_GREY)
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, SVG or PDF, by suffix; the same figure gives the same bytes.

    Raises:
        ValueError: another suffix.
    """
    path = Path(path)
    path.write_bytes(encode(figure, path.suffix.lstrip(".").lower()))


def encode(figure: Figure, format: str) -> bytes:
    """The bytes of a figure's file in one of `FORMATS`."""
    if format not in FORMATS:
        raise ValueError(f"cannot draw {format!r}; the formats are {', '.join(FORMATS)}.")
    metadata: dict[str, Any] = {
        "png": {"Software": "jaxattr"},
        "svg": {"Date": None, "Creator": "jaxattr"},
        "pdf": {"CreationDate": None, "Creator": "jaxattr", "Producer": "jaxattr"},
    }[format]
    file = io.BytesIO()
    with own_style(), warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes; the file's name still tells.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", append=False)
        figure.savefig(file, format=format, dpi=_DPI, metadata=metadata)
    return file.getvalue()


def own_style() -> Any:
    """matplotlib's defaults, whatever the user's own style is, for the length of a `with`."""
    kept = ("backend", "interactive", "toolbar", "webagg", "date", "timezone", "datapath")
    style: dict[Any, Any] = {
        k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith(kept)
    }
    # Text as shapes: the file looks the same wherever it is opened.
    return matplotlib.rc_context({**style, "svg.hashsalt": "jaxattr", "svg.fonttype": "path"})


def _grid(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels beside each other and room for a colour bar at the right."""
    wide = count * (_WIDTH + _GAP) + _GAP + _BAR
    tall = _TITLE + height + _LEGEND + _FOOT
    figure = Figure(figsize=(wide, tall), facecolor="white")
    FigureCanvasAgg(figure)
    axes = []
    for index in range(count):
        left = _GAP + index * (_WIDTH + _GAP)
        axes.append(
            figure.add_axes(
                (left / wide, (_FOOT + _LEGEND) / tall, _WIDTH / wide, height / tall), anchor="N"
            )
        )
    return figure, axes


def lay_over(
    scaled: Any, photo: Any, palette: Palette, alpha: float | int | None, smooth: bool
) -> Any:
    """A map of values between -1 and 1 as colours, and the photo over it."""
    if palette == "sequential":
        scaled = np.maximum(scaled, 0)  # beside a map with a sign, up to rounding
    large = heatmap.upsample(scaled.astype(np.float32), photo.shape[:2], smooth=smooth)
    colors = heatmap.colorize(np.clip(large, -1, 1), palette)
    grey = palette != "paper"
    return heatmap.overlay(colors, photo, alpha=0.35 if alpha is None else alpha, grey=grey)


def show(axis: Axes, picture: Any, title: str, detail: str) -> None:
    """A picture in a frame, and two lines over it, cut where the picture ends."""
    wide = axis.get_position(original=True).width * _figure(axis).get_size_inches()[0] / _WIDTH
    axis.imshow(picture, interpolation="antialiased")
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set(color="#b0b0b0", linewidth=0.6)
    write_text(
        axis, 0, 1 + 0.27 / _inches(axis), shorten(title, round(36 * wide)), size=11, weight="bold"
    )
    write_text(
        axis, 0, 1 + 0.08 / _inches(axis), shorten(detail, round(56 * wide)), size=8.5, color=_GREY
    )


def legend(axis: Axes, panel: Panel, palette: Palette) -> None:
    """What the colours mean, under the map: in words and with a sign, not by colour alone."""
    table = heatmap.palette_table(palette)
    wide = axis.get_position(original=True).width * _figure(axis).get_size_inches()[0] / _WIDTH
    lines = [("+" if panel.negative else "", table[222 if palette != "sequential" else 140])]
    words = [panel.positive]
    if panel.negative:
        lines.append(("−", table[32]))
        words.append(panel.negative)
    for row, ((sign, color), text) in enumerate(zip(lines, words, strict=True)):
        y = -(0.17 + 0.19 * row) / _inches(axis)
        patch = {
            "boxstyle": "square,pad=0.12",
            "facecolor": tuple(color / 255),
            "edgecolor": "none",
        }
        write_text(
            axis,
            0.018 / wide,
            y,
            sign or " ",
            size=8,
            color="white",
            bbox=patch,
            family="monospace",
        )
        write_text(axis, 0.065 / wide, y, shorten(text, round(54 * wide)), size=8.5)


def color_bar(
    figure: Figure, place: tuple[float, float, float], palette: Palette, *, centred: bool
) -> None:
    """The colours of a palette with their values; `place`: left, top and height in inches.

    Not `centred`: from a map's smallest value to its largest, see `heatmap.Span`.
    """
    width, tall = figure.get_size_inches()
    left, top, shorter = place
    axis = figure.add_axes((left / width, (top - shorter) / tall, 0.15 / width, shorter / tall))
    lowest = 0 if palette == "sequential" else -1
    values = np.linspace(1, lowest, 255, dtype=np.float32)[:, None]
    colors = heatmap.colorize(values, palette)
    axis.imshow(colors, aspect="auto", extent=(0, 1, lowest, 1), interpolation="nearest")
    axis.set_xticks([])
    ticks = [0, 0.5, 1] if lowest == 0 else [-1, -0.5, 0, 0.5, 1]
    names = [f"{tick:+.1f}" if tick and lowest else f"{tick:.1f}" for tick in ticks]
    if not centred:
        names = ["min S", "", "max S"]
    axis.set_yticks(ticks, [name.replace("-", "−") for name in names])
    axis.yaxis.tick_right()
    axis.tick_params(labelsize=8, length=2.5, width=0.6, pad=2)
    for side in axis.spines.values():
        side.set(color="#b0b0b0", linewidth=0.6)
    head = "S / max|S|" if centred else "no sign"
    write_text(axis, 0, 1 + 0.08 / shorter, head, size=8, color=_GREY)


def write_text(where: Figure | Axes, x: float | int, y: float, text: str, **style: Any) -> None:
    """Write plain text: a `$` in a file's or a class's name is a `$`."""
    if isinstance(where, Axes):
        style |= {"transform": where.transAxes, "va": "center" if y < 0 else "baseline"}
    else:
        y /= where.get_size_inches()[1]
    where.text(x, y, text, **style).set_parse_math(False)


def _inches(axis: Axes) -> float:
    """The height of an axis's picture in inches: the unit of its own coordinates."""
    place, (width, height) = axis.get_position(original=True), _figure(axis).get_size_inches()
    wide, tall = place.width * width, place.height * height
    if axis.images and axis.get_aspect() == 1:
        rows, columns = axis.images[0].get_size()
        return min(tall, wide * rows / columns)
    return tall


def _figure(axis: Axes) -> Figure:
    figure = axis.get_figure(root=True)
    assert figure is not None
    return figure


def foot(footer: str, scale: str, columns: int) -> str:
    """The line below a figure; where it is too long, not the scale is cut."""
    room = columns - len(scale) - 5
    words = (shorten(footer, room) if footer and room > 1 else "", scale)
    return shorten("  ·  ".join(filter(None, words)), columns)


def shorten(text: str, columns: int) -> str:
    """Cut at a width in columns (East Asian characters take two) and drop control characters."""
    text = "".join(" " if unicodedata.category(one)[0] == "C" else one for one in text)
    taken = 0
    for index, one in enumerate(text):
        taken += 2 if unicodedata.east_asian_width(one) in "WF" else 1
        if taken > columns:
            return text[: max(index - 1, 1)].rstrip() + "…"
    return text
