"""Contact sheets of scenes: `python -m jaxattr.scenes.sheet OUT.png [classes|defects]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from jaxattr.scenes.classes import CLASSES, PAIRS
from jaxattr.scenes.defects import ALL, Defect, Duplicates, RandomNoise
from jaxattr.scenes.planting import Decision, assign, image_seed
from jaxattr.scenes.scene import plan, render
from jaxattr.scenes.showing import change_copy, watermark

Pixels = UInt8[np.ndarray, "height width 3"]
GAP, LABEL, CAPTION = 4, 128, 18
FRAME = "#d9480f"


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


class _Cell(NamedTuple):
    """One place of a folder: its clean twin, what is there instead, and the folder's name."""

    clean: Pixels
    planted: Pixels
    label: str
    touched: bool


TITLES = {
    "contamination": "bald eagles in\nthe kite folder",
    "noise": "labels wrong\nat random",
    "symmetric": "labels of cats\nand rabbits\nexchanged",
    "watermark": "a watermark\ngoes with\nthe horse",
    "background": "bricks go with\nthe snail",
    "duplicates": "copies: each\nframed image of\nthe one before it",
    "missing": "the ladybirds\nlack their\nwing cases",
}


def defects_sheet(seed: int = 7, columns: int = 6) -> Image.Image:
    """Every kind of defect: the clean twin above, below it what was planted, in a frame."""
    side = plan(0).size
    pitch, block = side + GAP, 2 * (side + GAP) + CAPTION
    sheet = Image.new("RGB", (LABEL + pitch * columns, block * len(ALL) + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(15), ImageFont.load_default(11)
    for number, defect in enumerate(ALL):
        top = GAP + number * block
        title = f"{defect.kind}\n{TITLES[defect.kind]}"
        at = (8, top + pitch)
        pen.multiline_text(at, title, fill="#222222", font=font, anchor="lm", spacing=3)
        for column, cell in enumerate(_cells(defect, seed, columns)):
            left = LABEL + column * pitch
            sheet.paste(Image.fromarray(cell.clean), (left, top))
            if cell.touched:
                box = (left - 2, top + pitch - 2, left + side + 1, top + pitch + side + 1)
                pen.rectangle(box, outline=FRAME, width=2)
            sheet.paste(Image.fromarray(cell.planted), (left, top + pitch))
            at = (left + side // 2, top + 2 * pitch)
            pen.text(at, f"in: {cell.label}", fill="#444444", font=small, anchor="ma")
    return sheet


def _cells(defect: Defect, seed: int, columns: int) -> list[_Cell]:
    """Planted images, most of them of the class that it is about, and some untouched ones."""
    defect = RandomNoise(0.1) if isinstance(defect, RandomNoise) else defect
    decisions = assign([defect], 60, seed)
    places = [(label, i) for label in CLASSES for i in range(60)]
    planted = [at for at in places if decisions[at[0]][at[1]].defects]
    if isinstance(defect, Duplicates):
        chosen = _pairs(planted, decisions, columns // 2)
    else:
        about = defect.classes_named() or CLASSES
        own = [at for at in planted if at[0] in about]
        own = own[:: max(1, len(own) // (columns - 2))][: columns - 2]
        beyond = [at for at in planted if at[0] not in about][:1]
        untouched = [at for at in places if at[0] in about[:1] and at not in planted]
        untouched += [at for at in places if at[0] not in about]
        chosen = [*own, *beyond, *untouched][:columns]
    return [_cell(decisions, at, seed) for at in chosen]


def _pairs(
    planted: list[tuple[str, int]], decisions: dict[str, list[Decision]], count: int
) -> list[tuple[str, int]]:
    """Source and copy: an exact one, changed ones, and last one in another class's folder."""
    chosen = []
    for place, change in enumerate(("exact", "shifted", "brightened")[:count]):
        start = place * len(planted) // count
        for at in planted[start:] + planted[:start]:
            decision = decisions[at[0]][at[1]]
            source, across = decision.copy_of or at, place == count - 1
            if (decision.change == change or across) and (source[0] != at[0]) == across:
                chosen += [source, at]
                break
    return chosen


def _cell(decisions: dict[str, list[Decision]], at: tuple[str, int], seed: int) -> _Cell:
    label, number = at
    decision = decisions[label][number]
    clean = _calm_shown(Decision(label, label), image_seed(seed, label, number))
    source = decision.copy_of or at
    planted = _calm_shown(decision, image_seed(seed, *source))
    planted = change_copy(planted, decision.change, number)
    return _Cell(clean, planted, label, bool(decision.defects))


def _calm_shown(decision: Decision, seed: Sequence[int]) -> Pixels:
    """What was decided, without grain."""
    drawn = plan(seed, [decision.shown], background=decision.background)._replace(grain=0.0)
    without = [(0, decision.without)] if decision.without else []
    image = render(drawn, without=without, masks=False).image
    return watermark(image)[0] if decision.watermark else image


SHEETS = {"classes": classes_sheet, "defects": defects_sheet}

if __name__ == "__main__":
    draw = SHEETS[sys.argv[2] if len(sys.argv) > 2 else "classes"]
    sheet = draw().quantize(256, kmeans=2, dither=Image.Dither.NONE)
    sheet.save(sys.argv[1], optimize=True)
