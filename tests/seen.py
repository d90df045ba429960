"""What a person sees of a figure: the colours of its PNG file, and the words beside them."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from jaxattr.plot import figures, heatmap

ENDS = {
    "diverging": ("blue", "orange"),
    "paper": ("blue", "red"),
    "sequential": ("white", "violet"),
}


def hue(colour) -> str:
    """A colour's everyday name, by its channels alone."""
    r, g, b = (int(one) for one in colour)
    if max(r, g, b) - min(r, g, b) < 12:
        return "white" if min(r, g, b) > 240 else "black" if max(r, g, b) < 30 else "grey"
    if r > b + 12 and g <= b + 12:
        return "violet" if b > 40 and r < 130 else "red"
    if r > b:
        return "orange"
    return "violet" if r > g else "blue"


def values(colours, palette):
    """The values that colours of a palette stand for, and whether the palette is the named one.

    Its ends are named by their hue, so that a palette whose sides are exchanged does not pass.
    """
    table = heatmap.palette_table(palette).astype(int)
    low, high = ENDS[palette]
    assert hue(table[0]) == low, (palette, table[0])
    assert hue(table[-1]) == high, (palette, table[-1])
    flat = np.asarray(colours, int).reshape(-1, 3)
    place = np.abs(table[None] - flat[:, None]).sum(-1).argmin(axis=1)
    scaled = place / 254 if palette == "sequential" else (place - 127) / 127
    return scaled.reshape(np.shape(colours)[:-1])


class Seen:
    """A figure as a file: pixels by place, words by place. Places are in the file's pixels."""

    def __init__(self, figure: Figure) -> None:
        data = figures.encode(figure, "png")
        with figures.own_style():
            figure.canvas.draw()  # places again in the figure's own resolution
        self.figure = figure
        self.pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        self.scale = self.pixels.shape[1] / figure.get_window_extent().width

    def at(self, x: float, y: float):
        """The colour at a place in the figure's own units, from the lower left."""
        row = self.pixels.shape[0] - 1 - int(y * self.scale)
        return self.pixels[row, int(x * self.scale)]

    def cells(self, axis: Axes, rows: int, columns: int):
        """The colours in the middles of a picture's cells, `[row, column, 3]`."""
        box = axis.get_window_extent()
        return np.array(
            [
                [
                    self.at(
                        box.x0 + (column + 0.5) / columns * box.width,
                        box.y1 - (row + 0.5) / rows * box.height,
                    )
                    for column in range(columns)
                ]
                for row in range(rows)
            ]
        )

    def words(self, axis: Axes | None = None) -> list[tuple[str, float, float]]:
        """Texts with their left end and their baseline's height, from above."""
        texts = (self.figure if axis is None else axis).texts
        found = []
        for text in texts:
            if text.get_text().strip():
                x, y = text.get_transform().transform(text.get_position())
                found.append((text.get_text(), float(x), float(y)))
        return sorted(found, key=lambda one: -one[2])

    def pictures(self) -> list[Axes]:
        """Axes that hold a photo or a map, in rows from above, from the left in each."""
        found = [axis for axis in self.figure.axes if axis.images and axis.get_aspect() == 1]
        key = {axis: axis.get_window_extent() for axis in found}
        return sorted(found, key=lambda one: (-round(key[one].y1 / 8), key[one].x0))

    def under(self, word: str) -> Axes:
        """The picture that begins where a text begins, next below it."""
        ((_, x, y),) = [one for one in self.words() if one[0] == word]
        boxes = [(axis, axis.get_window_extent()) for axis in self.pictures()]
        near = [(y - box.y1, i) for i, (_, box) in enumerate(boxes) if abs(box.x0 - x) < 3]
        return boxes[min(one for one in near if one[0] > -1)[1]][0]

    def legend(self, axis: Axes) -> list[tuple[str, str, str]]:
        """Under a map, from above: the sign, the hue of its spot, and the words beside it."""
        spots, words = [], {}
        for text in axis.texts:
            _, y = text.get_transform().transform(text.get_position())
            if y >= axis.get_window_extent().y0:
                continue
            patch = text.get_bbox_patch()
            if patch is None:
                words[round(y)] = text.get_text()
                continue
            box = patch.get_window_extent()
            colour = self.at(box.x0 + 0.08 * box.width, box.y0 + box.height / 2)
            spots.append((round(y), text.get_text().strip(), hue(colour)))
        return [(sign, name, words[y]) for y, sign, name in sorted(spots, reverse=True)]

    def bars(self) -> list[tuple[Axes, dict[str, str]]]:
        """Colour bars: the hue at every number that stands beside them."""
        found = []
        for axis in self.figure.axes:
            if axis.images and axis.get_aspect() != 1:
                box = axis.get_window_extent()
                names = {}
                for at, label in zip(axis.get_yticks(), axis.get_yticklabels(), strict=True):
                    y = axis.transData.transform((0, at))[1]
                    y = min(max(y, box.y0 + 2), box.y1 - 2)
                    names[label.get_text()] = hue(self.at(box.x0 + box.width / 2, y))
                found.append((axis, names))
        return found
