"""Scaling, enlarging and colouring, against the formula, Pillow, torch and CIE lightness."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxattr.plot import heatmap

RANDOM = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)


def test_scale_divides_by_the_largest_magnitude():
    scaled = heatmap.scale(RANDOM)
    for one, raw in zip(scaled, RANDOM, strict=True):
        np.testing.assert_allclose(one, raw / np.abs(raw).max(), rtol=1e-6)
    assert scaled.dtype == np.float32


def test_shared_scale_keeps_maps_comparable():
    maps = RANDOM * np.array([1, 10, 100], np.float32)[:, None, None]
    scaled = heatmap.scale(maps, shared=True)
    np.testing.assert_allclose(scaled, maps / np.abs(maps).max(), rtol=1e-6)
    assert heatmap.limit(maps) == np.abs(maps).max()


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_a_constant_map_is_zeros_and_does_not_count(value):
    constant = np.full((5, 7), value, np.float32)
    assert not heatmap.scale(constant).any()
    assert heatmap.limit(constant) == 0
    both = heatmap.scale(np.stack([constant, RANDOM[0]]), shared=True)
    assert not both[0].any()
    np.testing.assert_array_equal(both[1], heatmap.scale(RANDOM[0]))


def test_tiny_and_huge_values_survive():
    for factor in (1e-30, 1e30):
        np.testing.assert_allclose(
            heatmap.scale(RANDOM * np.float32(factor)), heatmap.scale(RANDOM), rtol=1e-5
        )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_an_error(value):
    bad = RANDOM.copy()
    bad[1, 2, 3] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        heatmap.scale(bad)


def test_jax_arrays_are_welcome():
    np.testing.assert_array_equal(heatmap.scale(jnp.asarray(RANDOM)), heatmap.scale(RANDOM))


@pytest.mark.parametrize("size", [(5, 7), (10, 14), (33, 50), (224, 224)])
@pytest.mark.parametrize("smooth", [True, False])
def test_upsample_is_pillows(size, smooth):
    large = heatmap.upsample(RANDOM, size, smooth=smooth)
    resample = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    for one, raw in zip(large, RANDOM, strict=True):
        expected = np.asarray(Image.fromarray(raw).resize(size[::-1], resample))
        np.testing.assert_allclose(one, expected, atol=2e-6)


@pytest.mark.parity
def test_upsample_is_torchs():
    torch = pytest.importorskip("torch", reason="needs torch (extra `parity`)")
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(RANDOM)[None], (224, 300), mode="bilinear", align_corners=False
    )[0]
    large = heatmap.upsample(RANDOM, (224, 300))
    np.testing.assert_allclose(large, expected.numpy(), atol=3e-6)


@pytest.mark.parametrize("palette", ["diverging", "paper", "sequential"])
def test_zero_is_white_and_the_table_is_what_colorize_draws(palette):
    table = heatmap.palette_table(palette)
    low = 0 if palette == "sequential" else -1
    np.testing.assert_array_equal(heatmap.colorize(np.zeros((1, 1)), palette), 1)
    values = np.linspace(low, 1, 255)[None]
    drawn = heatmap.colorize(values, palette)[0] * 255
    np.testing.assert_allclose(drawn, table, atol=1e-3)
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 0


def test_the_papers_colors():
    drawn = heatmap.colorize(np.array([[1.0, 0.5, -0.5, -1.0]]), "paper")[0]
    expected = [(1, 0, 0), (1, 0.5, 0.5), (0.5, 0.5, 1), (0, 0, 1)]
    np.testing.assert_allclose(drawn, expected, atol=0.005)


# Viénot, Brettel and Mollon 1999 in linear sRGB; the full loss of one cone type.
DEFICIENCIES = {
    "protanopia": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deuteranopia": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


def lab(colors):
    """sRGB in 0..255 to CIE L*a*b* (D65), as the standard says."""
    rgb = np.asarray(colors) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return lab_of_linear(linear)


def lab_of_linear(linear):
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.clip(linear @ np.array(matrix).T, 0, None) / np.sum(matrix, axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def test_diverging_darkens_steadily_and_both_signs_alike():
    light = lab(heatmap.palette_table("diverging"))[:, 0]
    negative, positive = light[127::-1], light[127:]
    assert (np.diff(negative) < 0.05).all()
    assert (np.diff(positive) < 0.05).all()
    np.testing.assert_allclose(negative, positive, atol=6)
    assert light[127] > 99.9
    assert light[0] < 40


def test_sequential_darkens_steadily():
    light = lab(heatmap.palette_table("sequential"))[:, 0]
    assert (np.diff(light) < 0.05).all()


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_the_signs_stay_apart_for_the_colour_blind(deficiency):
    table = heatmap.palette_table("diverging") / 255
    linear = np.where(table <= 0.04045, table / 12.92, ((table + 0.055) / 1.055) ** 2.4)
    seen = lab_of_linear(np.clip(linear @ np.array(DEFICIENCIES[deficiency]).T, 0, 1))
    distance = np.linalg.norm(seen - seen[::-1], axis=1)
    assert distance[127 + 25 :].min() > 20  # from a fifth of the scale on
    assert distance[-1] > 50


@pytest.mark.parametrize(
    ("values", "palette", "message"),
    [
        ([[1.5]], "diverging", "from -1 to 1"),
        ([[-0.5]], "sequential", "from 0 to 1"),
        ([[np.nan]], "paper", "scale"),
    ],
)
def test_values_out_of_range_are_refused(values, palette, message):
    with pytest.raises(ValueError, match=message):
        heatmap.colorize(np.array(values), palette)


def test_overlay_lays_the_photo_over_the_map():
    photo = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
    colors = heatmap.colorize(np.linspace(-1, 1, 24).reshape(4, 6))
    expected = Image.blend(
        Image.fromarray(np.rint(colors * 255).astype(np.uint8)), Image.fromarray(photo), 0.25
    )
    drawn = heatmap.overlay(colors, photo, alpha=0.25)
    np.testing.assert_allclose(drawn * 255, np.asarray(expected), atol=1.5)
    np.testing.assert_allclose(heatmap.overlay(colors, photo, alpha=0), colors)
    np.testing.assert_allclose(heatmap.overlay(colors, photo, alpha=1) * 255, photo, atol=1e-3)
    grey = heatmap.overlay(colors, photo, alpha=1, grey=True)
    np.testing.assert_allclose(
        grey[..., 0] * 255, np.asarray(Image.fromarray(photo).convert("L")), atol=1
    )
    with pytest.raises(ValueError, match="alpha is 2"):
        heatmap.overlay(colors, photo, alpha=2)
