"""What a person sees in the figures, read back from their PNG files: colours, legends, captions.

Every map here is known, every cell of it another value; photos have a corner of each colour.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from seen import Seen, hue, values

from jaxattr.plot import figures, heatmap
from jaxattr.plot.grid import Column, Row, grid
from jaxattr.plot.sheets import Cell, sheet
from jaxattr.plot.strips import Film, animation, before_after, filmstrip

MAP = np.array([[4.0, -3.0, 0.0, 1.0], [-1.0, 2.0, -4.0, 3.0], [0.5, -2.0, 3.5, -0.5]])
OFFSET = 50 + np.arange(12.0).reshape(3, 4) / 100
CORNERS = np.array([[[250, 20, 20], [20, 200, 20]], [[20, 20, 250], [240, 220, 20]]], np.uint8)
PHOTO = CORNERS.repeat(30, 0).repeat(40, 1)
FLAT = np.full((60, 80, 3), 120, np.uint8)
BOTH = figures.Panel(MAP, "zebra", "p 0.8", "for zebra", "for tusker")
ONE = figures.Panel(OFFSET, "fox", "p 0.1", "for fox", None)
CLEAR: dict[str, Any] = {"alpha": 0.0, "smooth": False}
CLOSE: Any = {"atol": 2.5 / 127}


def of_signed(seen, axis, palette="diverging"):
    return values(seen.cells(axis, 3, 4), palette)


@pytest.mark.parametrize(("palette", "positive"), [("diverging", "orange"), ("paper", "red")])
def test_every_cell_of_a_signed_map_reads_back(palette, positive):
    seen = Seen(figures.explanation(PHOTO, [BOTH], palette=palette, **CLEAR))
    photo, drawn = seen.pictures()
    np.testing.assert_allclose(of_signed(seen, drawn, palette), MAP / 4, **CLOSE)
    for colour, value in zip(seen.cells(drawn, 3, 4).reshape(-1, 3), MAP.ravel(), strict=True):
        if abs(value) >= 1:
            assert hue(colour) == (positive if value > 0 else "blue")
    np.testing.assert_allclose(seen.cells(photo, 2, 2), CORNERS, atol=2)
    # The legend beside the sign, the scale beside the bar, and what 1 stands for.
    assert seen.legend(drawn) == [("+", positive, "for zebra"), ("−", "blue", "for tusker")]
    ((_, names),) = seen.bars()
    assert list(names) == ["−1.0", "−0.5", "0.0", "+0.5", "+1.0"]
    assert list(names.values()) == ["blue", "blue", "white", positive, positive]
    assert "1 = max|S| = 4" in [text for text, *_ in seen.words()]


def test_the_photo_lies_over_the_map_at_the_stated_strength():
    seen = Seen(figures.explanation(PHOTO, [BOTH._replace(map=MAP * 0)], smooth=False))
    grey = PHOTO[[0, 0, -1, -1], [0, -1, 0, -1]] @ np.array([0.299, 0.587, 0.114])
    drawn = seen.cells(seen.pictures()[1], 2, 2).reshape(4, 3)
    np.testing.assert_allclose(drawn, (0.35 * grey + 0.65 * 255)[:, None].repeat(3, 1), atol=2)
    assert "S = 0 everywhere" in [text for text, *_ in seen.words()]
    options: Any = {"alpha": 0.8, "palette": "paper", "smooth": False}
    seen = Seen(figures.explanation(PHOTO, [BOTH._replace(map=MAP * 0)], **options))
    drawn = seen.cells(seen.pictures()[1], 2, 2)
    np.testing.assert_allclose(drawn, 0.8 * CORNERS + 0.2 * 255, atol=2)


def test_panels_keep_their_own_map_title_and_legend_and_one_scale():
    second = figures.Panel(-MAP[::-1] / 2, "tusker", "p 0.2", "for tusker", "for zebra")
    seen = Seen(figures.explanation(FLAT, [BOTH, second], title="a.png", detail="best", **CLEAR))
    photo, *drawn = seen.pictures()
    np.testing.assert_allclose(of_signed(seen, drawn[0]), MAP / 4, **CLOSE)
    np.testing.assert_allclose(of_signed(seen, drawn[1]), -MAP[::-1] / 8, **CLOSE)
    for axis, title, detail in (
        (photo, "a.png", "best"),
        (drawn[0], "zebra", "p 0.8"),
        (drawn[1], "tusker", "p 0.2"),
    ):
        assert [text for text, *_ in seen.words(axis)][:2] == [title, detail]
    assert seen.legend(drawn[1]) == [("+", "orange", "for tusker"), ("−", "blue", "for zebra")]


def test_a_map_without_a_sign_is_drawn_between_its_ends_and_says_so():
    other = ONE._replace(map=OFFSET + 0.11)
    seen = Seen(figures.explanation(FLAT, [ONE, other], **CLEAR))
    _, *drawn = seen.pictures()
    expected = np.arange(12.0).reshape(3, 4)
    for axis, share in zip(drawn, (expected / 22, (expected + 11) / 22), strict=True):
        found = values(seen.cells(axis, 3, 4), "sequential")
        np.testing.assert_allclose(found, share, atol=2.5 / 254)
    ((bar, names),) = seen.bars()
    assert (names["min S"], names["max S"]) == ("white", "violet")
    assert [text for text, *_ in seen.words(bar)] == ["no sign"]
    assert "from min S = 50 (white) to max S = 50.22" in [text for text, *_ in seen.words()]
    assert [(sign, words) for sign, _, words in seen.legend(drawn[0])] == [("", "for fox")]


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_rounding_is_not_drawn_as_a_map(value):
    noise = np.random.default_rng(0).normal(size=(3, 4)) * 1e-8
    flat = ONE._replace(map=(value * (1 + noise)).astype(np.float32))
    seen = Seen(figures.explanation(FLAT, [flat], **CLEAR))
    assert (seen.cells(seen.pictures()[1], 3, 4) > 250).all()
    assert "S is the same everywhere" in [text for text, *_ in seen.words()]
    assert heatmap.constant(flat.map)
    assert not heatmap.constant(OFFSET)


def test_a_smooth_map_keeps_its_places():
    corner = np.zeros((3, 4))
    corner[0, 3] = 1
    seen = Seen(figures.explanation(FLAT, [BOTH._replace(map=corner)], alpha=0.0))
    found = of_signed(seen, seen.pictures()[1])
    assert found[0, 3] > 0.95
    assert np.abs(np.delete(found.ravel(), 3)).max() < 0.05


def test_the_grid_puts_each_map_under_its_method_and_beside_its_photo():
    other = np.rot90(CORNERS, 2).repeat(30, 0).repeat(40, 1)
    rows = [Row(PHOTO, "first.png"), Row(other, "second.png")]
    columns = [
        Column("signed", [MAP, -MAP[:, ::-1]], True, "3 ms"),
        Column("unsigned", [OFFSET, OFFSET[::-1] * 3], False, "4 ms"),
        Column("mirrored", [MAP[::-1], MAP[:, ::-1]], True, "5 ms"),
    ]
    seen = Seen(grid(rows, columns, per_band=2, footer="a model", alpha=0.0, smooth=False))
    words = {text: (x, y) for text, x, y in seen.words()}
    assert [hue for _, hue in seen.bars()][1]["min S"] == "white"
    assert {
        "a model",
        "with a sign: each map divided by its own max|S|",
        "no sign: from each map's min S (white) to its max S",
    } <= set(words)
    ramp = np.arange(12.0).reshape(3, 4) / 11
    expected = {
        "signed": (MAP / 4, -MAP[:, ::-1] / 4),
        "unsigned": (ramp, ramp[::-1]),
        "mirrored": (MAP[::-1] / 4, MAP[:, ::-1] / 4),
    }
    boxes = {axis: axis.get_window_extent() for axis in seen.pictures()}
    for column in columns:
        x, y = words[column.name]
        assert abs(words[column.detail][0] - x) < 1
        own = [axis for axis, box in boxes.items() if abs(box.x0 - x) < 3 and box.y1 < y]
        own = sorted(own, key=lambda one: -boxes[one].y1)[:2]
        for axis, wanted, row in zip(own, expected[column.name], rows, strict=True):
            palette = "diverging" if column.signed else "sequential"
            np.testing.assert_allclose(values(seen.cells(axis, 3, 4), palette), wanted, atol=0.02)
            level = boxes[axis].y0
            beside = [one for one, box in boxes.items() if abs(box.y0 - level) < 3]
            photo = min(beside, key=lambda one: boxes[one].x0)
            np.testing.assert_allclose(seen.cells(photo, 2, 2), row.photo[15::30, 20::40], atol=2)
            above = [(ty - boxes[axis].y1, text) for text, tx, ty in seen.words()
                     if abs(tx - boxes[photo].x0) < 3 and ty > boxes[axis].y1]  # fmt: skip
            assert min(above)[1] == row.title


@pytest.mark.parametrize(("signed", "other"), [(True, "no sign:"), (False, "with a sign:")])
def test_the_grid_says_only_the_scale_that_it_uses(signed, other):
    seen = Seen(grid([Row(FLAT, "a")], [Column("one", [OFFSET], signed)]))
    words = [text for text, *_ in seen.words()]
    assert not any(text.startswith(other) for text in words)
    assert any(text.startswith(("no sign:", "with a sign:")) for text in words)


def test_a_sheet_keeps_cells_groups_and_legends():
    panels = {
        "strong": BOTH,
        "weak": BOTH._replace(map=MAP[::-1] / 2),
        "alone": BOTH._replace(map=MAP / 100, positive="for a", negative="against a"),
        "spread": ONE._replace(map=np.abs(MAP)),
        "offset": ONE,
    }
    groups = {"strong": "g", "weak": "g", "spread": "g", "alone": "h", "offset": "i"}
    order = (("strong", "weak", "alone"), ("spread", None, "offset"))
    rows = [
        [Cell(FLAT, name, "said", panels[name], groups[name]) if name else None for name in row]
        for row in order
    ]
    seen = Seen(sheet(rows, **CLEAR))
    cells = {seen.words(axis)[0][0]: axis for axis in seen.pictures()}
    assert list(cells) == ["strong", "weak", "alone", "spread", "offset"]
    wanted = {"strong": MAP / 4, "weak": MAP[::-1] / 8, "alone": MAP / 4}
    for name, one in wanted.items():
        np.testing.assert_allclose(of_signed(seen, cells[name]), one, **CLOSE)
    # Beside signed maps of its group zero is white; else the smallest value is.
    spread = values(seen.cells(cells["spread"], 3, 4), "sequential")
    np.testing.assert_allclose(spread, np.abs(MAP) / 4, atol=0.02)
    offset = values(seen.cells(cells["offset"], 3, 4), "sequential")
    np.testing.assert_allclose(offset, np.arange(12.0).reshape(3, 4) / 11, atol=0.02)
    details = {name: seen.words(axis)[1][0] for name, axis in cells.items()}
    assert details["weak"] == details["spread"] == "said · max|S| = 4"
    assert details["alone"] == "said · max|S| = 0.04"
    assert details["offset"] == "said · S 50 to 50.1"
    assert seen.legend(cells["alone"]) == [("+", "orange", "for a"), ("−", "blue", "against a")]
    names = [list(found.items()) for _, found in seen.bars()]
    assert names[0][0] == ("−1.0", "blue")
    assert {names[1][0], names[2][0]} == {("0.0", "white"), ("min S", "white")}


def film(frames=9):
    """Two maps whose sign and place tell the frame: positive cell `frame` grows along the rows."""
    maps = np.zeros((frames, 2, 3, 4))
    for frame in range(frames):
        maps[frame, 0].ravel()[frame] = 1 + frame
        maps[frame, 1].ravel()[frame] = -1 - frame
    return Film(
        photo=FLAT,
        steps=np.arange(frames) * 10,
        maps=maps,
        logits=np.stack([np.arange(frames), -np.arange(frames)], 1).astype(float),
        moved=np.linspace(0, 0.5, frames),
        names=["zebra", "tusker"],
        first=[f"best {frame}" for frame in range(frames)],
    )


def test_a_filmstrip_shows_each_step_and_class_where_it_says():
    seen = Seen(filmstrip(film(), columns=4, smooth=False))
    words = {text: (x, y) for text, x, y in seen.words()}
    assert any("orange: for the class, blue: against it" in text for text in words)
    boxes = {axis: axis.get_window_extent() for axis in seen.pictures()}
    white = 0.35 * 120 + 0.65 * 255
    for frame in (0, 3, 5, 8):
        x = words[f"step {10 * frame}"][0]
        assert abs(words[f"best {frame}"][0] - x) < 1
        for name, expected in (("zebra", "orange"), ("tusker", "blue")):
            own = [axis for axis, box in boxes.items()
                   if abs(box.x0 - x) < 3 and box.y0 < words[name][1] < box.y1]  # fmt: skip
            (axis,) = own
            found = seen.cells(axis, 3, 4).reshape(-1, 3)
            assert hue(found[frame]) == expected
            np.testing.assert_allclose(np.delete(found, frame, axis=0), white, atol=2)
    logits, moved = [axis for axis in seen.figure.axes if axis not in boxes]
    for line, name, values_ in zip(logits.lines, film().names, film().logits.T, strict=True):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_xydata(), np.stack([film().steps, values_], 1))
    np.testing.assert_array_equal(moved.lines[0].get_ydata(), film().moved)
    assert logits.get_title(loc="left") == "logit"


def test_an_animation_plays_forwards_with_the_classes_side_by_side():
    frames, size = 5, (60, 80)
    with Image.open(io.BytesIO(animation(film(frames), "gif", smooth=False))) as file:
        for frame in range(frames):
            file.seek(frame)
            pixels = np.asarray(file.convert("RGB")).astype(int)
            for row, expected in enumerate(("orange", "blue")):
                left = 8 + row * (size[1] + 8)
                y, x = 8 + 10 + 20 * (frame // 4), left + 10 + 20 * (frame % 4)
                assert hue(pixels[y, x]) == expected, (frame, row)


def test_before_and_after_are_not_exchanged():
    after = PHOTO.copy()
    after[:30, :40] = (20, 20, 20)  # the red corner loses its red
    maps = np.stack([MAP, -MAP])
    seen = Seen(
        before_after(
            PHOTO,
            after,
            maps,
            titles=("zebra", "tusker"),
            details=("p 0.9", "p 0.7"),
            classes=("zebra", "tusker"),
            distance="far",
        )
    )
    pictures = {name: seen.under(name) for name in ("before: zebra", "after: tusker", "the change")}
    np.testing.assert_allclose(seen.cells(pictures["before: zebra"], 2, 2), CORNERS, atol=2)
    drawn = seen.cells(pictures["after: tusker"], 2, 2)
    np.testing.assert_allclose(drawn, after[15::30, 20::40], atol=2)
    change = seen.cells(pictures["the change"], 2, 2).reshape(4, 3)
    np.testing.assert_allclose(change[0], (0, 127.5, 127.5), atol=2)  # less red
    np.testing.assert_allclose(change[1:], 127.5, atol=2)
    for name, first in (("map before", "orange"), ("map after", "blue")):
        assert hue(seen.cells(seen.under(name), 3, 4)[0, 0]) == first
    texts = [text for text, *_ in seen.words()]
    assert texts.count("orange: for zebra, blue: for tusker") == 2
