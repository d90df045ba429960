"""Pictures of transfer and rewriting: the filmstrip, its animation, and before beside after."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from jaxattr.plot import figures, heatmap
from jaxattr.plot.heatmap import Palette

Photo = UInt8[np.ndarray, "height width 3"]
Maps = Float[np.ndarray, "frame map row column"]

_GREY = "#5c5c5c"
_LINES = ("#c25a00", "#2166c2", "#3d8b37", "#8a4fae", "#7a6a00", "#b0306a")


class Film(NamedTuple):
    """What a filmstrip shows: one row per map, one column per frame."""

    photo: Photo
    steps: Int[np.ndarray, "frame"]
    maps: Maps
    logits: Float[np.ndarray, "frame map"]
    """Of each map's own class."""
    moved: Float[np.ndarray, "frame"]
    names: Sequence[str]
    """The class of each row."""
    first: Sequence[str]
    """The most probable class of each frame."""


def filmstrip(
    film: Film,
    *,
    title: str = "",
    footer: str = "",
    columns: int = 7,
    palette: Palette = "diverging",
    smooth: bool = True,
) -> Figure:
    """The maps at up to `columns` steps, evenly chosen, over curves of logits and moved attention.

    Each map is divided by its own `max|S|` (paper, section 4.2), because the scale of a map grows
    with the logits.
    """
    count = len(film.steps)
    chosen = np.unique(np.rint(np.linspace(0, count - 1, min(columns, count))).astype(int))
    rows, side = len(film.names), 1.75
    tall = side * film.photo.shape[0] / film.photo.shape[1]
    left, top, chart, gap = 1.5, 0.75, 1.7, 0.08
    width = left + len(chosen) * (side + gap) + 0.15
    width = max(width, 8.0)
    height = top + rows * (tall + gap) + 0.4 + chart + 0.75
    with figures.own_style():
        figure = _figure(width, height)
        _say(figure, 0.12, height - 0.28, title, size=11, weight="bold")
        pictures = overlays(film.photo, film.maps[chosen], palette, smooth)
        for column, frame in enumerate(int(one) for one in chosen):
            x = left + column * (side + gap)
            most = f"step {film.steps[frame]}"
            _say(figure, x, height - top + 0.22, most, size=9, weight="bold")
            _say(figure, x, height - top + 0.07, _cut(film.first[frame], 27), size=7, color=_GREY)
            for row in range(rows):
                y = height - top - (row + 1) * (tall + gap) + gap
                axis = figure.add_axes((x / width, y / height, side / width, tall / height))
                _picture(axis, pictures[column, row])
        for row, name in enumerate(film.names):
            y = height - top - (row + 0.5) * (tall + gap)
            _say(figure, 0.12, y + 0.06, "map for", size=7.5, color=_GREY)
            _say(figure, 0.12, y - 0.1, _cut(name, 16), size=9, weight="bold")
        half = (width - left - 0.9) / 2
        for index, draw in enumerate((_logits, _moved)):
            x = left + index * (half + 0.75)
            draw(figure.add_axes((x / width, 0.75 / height, half / width, chart / height)), film)
        line = "orange: for the class, blue: against it; each map divided by its max|S|"
        _say(figure, 0.12, 0.12, f"{footer}  ·  {line}" if footer else line, size=7, color=_GREY)
    return figure


def animation(
    film: Film,
    format: Literal["gif", "webp"],
    *,
    milliseconds: int = 250,
    longest: int = 320,
    palette: Palette = "diverging",
    smooth: bool = True,
) -> bytes:
    """The maps of all frames as a looping GIF or WebP, classes beside each other."""
    photo = Image.fromarray(film.photo)
    photo.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    pictures = overlays(np.asarray(photo), film.maps, palette, smooth)
    font = ImageFont.truetype(
        Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 13
    )
    frames = [_still(film, i, pictures[i], font) for i in range(len(film.steps))]
    durations = [milliseconds] * (len(frames) - 1) + [6 * milliseconds]
    file = io.BytesIO()
    options: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "loop": 0}
    if format == "webp":
        options |= {"quality": 85, "method": 2}
    frames[0].save(file, format.upper(), duration=durations, **options)
    return file.getvalue()


def overlays(
    photo: Photo, maps: Maps, palette: Palette = "diverging", smooth: bool = True
) -> UInt8[np.ndarray, "frame map height width 3"]:
    """Each map, divided by its own `max|S|`, under the photo."""
    scaled = heatmap.scale(maps)
    flat = scaled.reshape(-1, *scaled.shape[-2:])
    drawn = []
    for one in flat:
        large = np.clip(heatmap.upsample(one, photo.shape[:2], smooth=smooth), -1, 1)
        grey = palette != "paper"
        both = heatmap.overlay(heatmap.colorize(large, palette), photo, alpha=0.35, grey=grey)
        drawn.append(np.rint(255 * np.clip(both, 0, 1)).astype(np.uint8))
    return np.stack(drawn).reshape(*maps.shape[:2], *photo.shape)


def before_after(
    before: Photo,
    after: Photo,
    maps: Float[np.ndarray, "2 row column"],
    *,
    titles: tuple[str, str],
    details: tuple[str, str],
    classes: tuple[str, str],
    distance: str,
    footer: str = "",
    palette: Palette = "diverging",
) -> Figure:
    """The picture before and after, the change made visible, and the map before and after.

    Args:
        titles, details: the class and its numbers, before and after.
        classes: what positive and negative values of the maps are for.
        distance: a line about how far the pictures are apart.
    """
    change = after.astype(np.int16) - before
    largest = max(1, int(np.abs(change).max()))
    visible = np.clip(np.rint(127.5 + change * (127.5 / largest)), 0, 255).astype(np.uint8)
    drawn = np.stack(
        [
            overlays(one, m[None, None], palette)[0, 0]
            for one, m in zip((before, after), maps, strict=True)
        ]
    )
    colours = f"orange: for {classes[0]}, blue: for {classes[1]}"
    panels = [
        (before, f"before: {titles[0]}", details[0]),
        (after, f"after: {titles[1]}", details[1]),
        (visible, "the change", f"grey: none; full colour: {largest} of 255"),
        (drawn[0], "map before", colours),
        (drawn[1], "map after", colours),
    ]
    side = 2.6
    tall = side * before.shape[0] / before.shape[1]
    width, height = 0.12 + len(panels) * (side + 0.12), tall + 1.0
    with figures.own_style():
        figure = _figure(width, height)
        for index, (picture, title, detail) in enumerate(panels):
            x = 0.12 + index * (side + 0.12)
            axis = figure.add_axes((x / width, 0.36 / height, side / width, tall / height))
            _picture(axis, picture)
            _say(figure, x, height - 0.28, _cut(title, 34), size=9.5, weight="bold")
            _say(figure, x, height - 0.5, _cut(detail, 50), size=7.5, color=_GREY)
        line = f"{distance}  ·  {footer}" if footer else distance
        _say(figure, 0.12, 0.12, line, size=7.5, color=_GREY)
    return figure


def _logits(axis: Axes, film: Film) -> None:
    for row, name in enumerate(film.names):
        colour = _LINES[row % len(_LINES)]
        axis.plot(film.steps, film.logits[:, row], color=colour, lw=1.5, label=_cut(name, 24))
    axis.set_title("logit", fontsize=8.5, loc="left", parse_math=False)
    legend = axis.legend(fontsize=7, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    _plain(axis)


def _moved(axis: Axes, film: Film) -> None:
    axis.plot(film.steps, film.moved, color=_GREY, lw=1.5)
    axis.set_title("attention moved, share of a row (mean)", fontsize=8.5, loc="left")
    axis.set_ylim(bottom=0)
    _plain(axis)


def _plain(axis: Axes) -> None:
    axis.tick_params(labelsize=7.5, length=2)
    axis.set_xlabel("step", fontsize=8)
    axis.grid(alpha=0.25)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _still(film: Film, index: int, pictures: np.ndarray, font: Any) -> Image.Image:
    """One frame of the animation: the maps beside each other, and a line under each."""
    count, height, width = pictures.shape[:3]
    canvas = Image.new("RGB", (count * (width + 8) + 8, height + 58), "white")
    draw = ImageDraw.Draw(canvas)
    for row, picture in enumerate(pictures):
        x = 8 + row * (width + 8)
        canvas.paste(Image.fromarray(picture), (x, 8))
        words = f"{film.names[row]}: {film.logits[index, row]:.2f}"
        draw.text((x, height + 12), _cut(words, max(8, width // 8)), "black", font)
    words = f"step {film.steps[index]} · first: {film.first[index]}"
    draw.text((8, height + 33), _cut(words, canvas.width // 8), _GREY, font)
    return canvas


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _picture(axis: Axes, picture: Any) -> None:
    axis.imshow(picture, interpolation="antialiased")
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set(color="#b0b0b0", linewidth=0.6)


def _say(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    """Plain text at inches from the lower left; a `$` in a class's name is a `$`."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, **style).set_parse_math(False)


def _cut(text: str, columns: int) -> str:
    text = "".join(one if one.isprintable() else " " for one in text)
    return text if len(text) <= columns else text[: columns - 1].rstrip() + "…"
