"""Contact sheets of scenes: `python -m jaxattr.scenes.sheet OUT.png` draws the one in `docs/`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from jaxattr.scenes.classes import CLASSES, PAIRS
from jaxattr.scenes.scene import plan, render

Pixels = UInt8[np.ndarray, "height width 3"]
GAP, LABEL = 4, 128


def contact_sheet(rows: Sequence[tuple[str, Sequence[Pixels]]]) -> Image.Image:
    """One row of images, all of one size, for each label."""
    side = rows[0][1][0].shape[0]
    pitch = side + GAP
    width = LABEL + pitch * max(len(images) for _, images in rows)
    sheet = Image.new("RGB", (width, pitch * len(rows) + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for number, (label, images) in enumerate(rows):
        top = GAP + number * pitch
        at = (8, top + side // 2)
        pen.multiline_text(at, label, fill="#222222", font=font, anchor="lm", spacing=3)
        for column, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (LABEL + column * pitch, top))
    return sheet


def _calm(seed: Sequence[int], classes: Sequence[str] | int) -> Pixels:
    """A scene without grain, which PNG cannot pack."""
    return render(plan(seed, classes)._replace(grain=0.0), masks=False).image


def classes_sheet(seed: int = 7, columns: int = 6) -> Image.Image:
    """Every class, twins in the same scenes; then scenes with two objects and with none."""
    rows: list[tuple[str, list[Pixels]]] = []
    parts = {name: part for first, second, part in PAIRS for name in (first, second)}
    for number, name in enumerate(CLASSES):
        # Twins stand beside each other in CLASSES and take the same seeds.
        seeds = [(seed, number // 2, column) for column in range(columns)]
        label = f"{name}\n({parts[name]})" if name in parts else name
        rows.append((label, [_calm(s, [name]) for s in seeds]))
    for label, count in (("two objects", 2), ("two objects", 2), ("empty", 0)):
        seeds = [(seed, 100 + len(rows), column) for column in range(columns)]
        rows.append((label, [_calm(s, count) for s in seeds]))
    return contact_sheet(rows)


if __name__ == "__main__":
    sheet = classes_sheet().quantize(256, kmeans=2, dither=Image.Dither.NONE)
    sheet.save(sys.argv[1], optimize=True)
