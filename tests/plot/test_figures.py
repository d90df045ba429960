"""Figures: same bytes each time, whatever the user's style; right pixels; odd labels."""

from __future__ import annotations

import io
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from jaxattr.plot import figures, heatmap

PHOTO = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
MAP = np.linspace(-1, 2, 12, dtype=np.float32).reshape(3, 4)
PANEL = figures.Panel(MAP, "zebra", "p 0.8 · logit 9.1", "for zebra", "against zebra")
UNSIGNED = PANEL._replace(map=np.abs(MAP), negative=None)


def draw(panels=(PANEL,), **options):
    return figures.explanation(PHOTO, list(panels), title="a.png", **options)


def pixels(figure):
    """The figure as drawn, and each panel's place in it: `[height, width, 3]`, boxes."""
    image = np.asarray(Image.open(io.BytesIO(figures.encode(figure, "png"))).convert("RGB"))
    return image, [axis.get_window_extent() for axis in figure.axes]


@pytest.mark.parametrize("format", figures.FORMATS)
def test_the_same_figure_is_the_same_bytes(format, tmp_path, monkeypatch):
    first = figures.encode(draw(), format)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 20}):
        assert figures.encode(draw(), format) == first
    figures.save(draw(), tmp_path / f"a.{format.upper()}")
    assert (tmp_path / f"a.{format.upper()}").read_bytes() == first
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[format]
    assert first.startswith(start)


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="png, svg, pdf"):
        figures.save(draw(), tmp_path / "a.bmp")
    with pytest.raises(ValueError, match="at least one panel"):
        draw(())


def test_no_pyplot_and_no_lasting_settings():
    code = (
        "import sys, matplotlib, numpy as np; before = matplotlib.rcParams.copy()\n"
        "from jaxattr.plot import figures\n"
        "panel = figures.Panel(np.eye(3, dtype='f4'), 'a', 'b', 'c', 'd')\n"
        "figures.encode(figures.explanation(np.zeros((9, 9, 3), 'u1'), [panel]), 'svg')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert dict.__eq__(matplotlib.rcParams.copy(), before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_colors_are_those_of_the_scaled_map_under_the_photo():
    figure = draw(alpha=0.0, smooth=False)
    image, boxes = pixels(figure)
    box = boxes[1]
    scale = figures._DPI / figure.dpi
    expected = np.rint(255 * heatmap.colorize(MAP / 2))
    for row in range(3):
        for column in range(4):
            x = (box.x0 + (column + 0.5) / 4 * box.width) * scale
            y = image.shape[0] - (box.y1 - (row + 0.5) / 3 * box.height) * scale
            assert np.abs(image[int(y), int(x)] - expected[row, column]).max() <= 2


def test_side_by_side_maps_share_one_scale():
    weak = PANEL._replace(map=MAP / 4)
    figure = draw((PANEL, weak), alpha=0.0, smooth=False)
    image, boxes = pixels(figure)
    scale = figures._DPI / figure.dpi

    def corner(box):
        y = image.shape[0] - (box.y1 - 5 / 6 * box.height) * scale
        return image[int(y), int((box.x0 + 7 / 8 * box.width) * scale)]

    strongest = np.array([1.0, 0.25])[None]
    expected = np.rint(255 * heatmap.colorize(strongest))[0]
    for box, color in zip(boxes[1:3], expected, strict=True):
        assert np.abs(corner(box) - color).max() <= 2


def texts(figure):
    axes = [text.get_text() for axis in figure.axes for text in axis.texts]
    return axes + [text.get_text() for text in figure.texts]


def test_words_say_sign_class_scale():
    words = texts(draw((PANEL, UNSIGNED), footer="vit-tiny"))
    for word in ("a.png", "zebra", "p 0.8 · logit 9.1", "for zebra", "against zebra", "+", "−"):
        assert word in words
    assert "vit-tiny  ·  1 = max|S| = 2" in words


def test_maps_without_a_sign_get_the_sequential_colors():
    bar = draw((UNSIGNED,)).axes[-1]
    assert [label.get_text() for label in bar.get_yticklabels()] == ["min S", "", "max S"]
    bar = draw((PANEL,)).axes[-1]
    assert [label.get_text() for label in bar.get_yticklabels()] == [
        "−1.0",
        "−0.5",
        "0.0",
        "+0.5",
        "+1.0",
    ]


def test_a_zero_map_is_white():
    figure = draw((PANEL._replace(map=np.zeros((3, 4))),), alpha=0.0)
    image, boxes = pixels(figure)
    scale = figures._DPI / figure.dpi
    box = boxes[1]
    y = image.shape[0] - int((box.y0 + box.height / 2) * scale)
    assert (image[y, int((box.x0 + box.width / 2) * scale)] == 255).all()
    assert "S = 0 everywhere" in texts(figure)


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")  # when this test measures
@pytest.mark.parametrize(
    "label", ["$x^2$ and $", "50 % \\frac", "斑馬" * 30, "a\nb\tc", "x" * 300], ids=range(5)
)
def test_odd_labels_are_drawn_as_they_are(label):
    panel = PANEL._replace(title=label, positive=label, detail=label)
    figure = draw((panel,))
    assert figures.encode(figure, "png")
    width = figure.get_window_extent().x1
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for text in figure.axes[1].texts:
        assert text.get_window_extent(renderer).x1 <= width
        assert "\n" not in text.get_text()


@pytest.mark.parametrize("shape", [(4, 400, 3), (400, 4, 3), (1, 1, 3)])
def test_extreme_photos(shape):
    figure = figures.explanation(np.zeros(shape, np.uint8), [PANEL])
    height, width = pixels(figure)[0].shape[:2]
    assert max(height, width) < 2500
