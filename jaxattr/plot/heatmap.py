"""From a raw map to colours: scaling, enlarging, colouring, laying a photo over it.

Arrays in, arrays out; colours are RGB numbers from 0 to 1. Nothing here changes a map's meaning:
zero stays white, and the two signs are treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from jaxattr.resampling import linear, nearest

Numbers = Float[np.ndarray, "*batch row column"] | Float[jax.Array, "*batch row column"]
Scaled = Float32[np.ndarray, "*batch row column"]
Colors = Float32[np.ndarray, "*batch row column 3"]
Palette = Literal["diverging", "paper", "sequential"]

# The anchors are (OKLab lightness, chroma, hue in degrees), outwards from zero. The two sides of
# "diverging" have the same lightness at the same distance from zero, so that neither sign looks
# stronger, and differ in blue against orange, which all common colour vision deficiencies keep.
_WARM = ((1.0, 0.0, 65.0), (0.80, 0.135, 62.0), (0.60, 0.165, 48.0), (0.42, 0.125, 40.0))
_COOL = ((1.0, 0.0, 245.0), (0.80, 0.105, 240.0), (0.60, 0.150, 252.0), (0.42, 0.125, 258.0))
_GROWING = (
    (1.0, 0.0, 95.0),
    (0.86, 0.120, 85.0),
    (0.66, 0.150, 35.0),
    (0.46, 0.140, 350.0),
    (0.27, 0.080, 310.0),
)


def limit(maps: Numbers) -> float:
    """`max|S|` over one or several maps: what a shared scale divides by.

    A constant map says nothing about places and counts as zero.

    Raises:
        ValueError: a map holds NaN or infinity.
    """
    maps = np.asarray(maps)
    if not np.isfinite(maps).all():
        raise ValueError("the map holds NaN or infinity and cannot be scaled; was the loss finite?")
    flat = maps.reshape(-1, maps.shape[-2] * maps.shape[-1])
    return float(np.abs(flat[~constant(maps).ravel()]).max(initial=0))


def constant(maps: Numbers) -> Bool[np.ndarray, "*batch"]:
    """Which maps are the same everywhere, up to the rounding of float32: `max S - min S <= 4 eps
    max|S|`."""
    maps = np.asarray(maps, np.float64)
    low, high = maps.min(axis=(-2, -1)), maps.max(axis=(-2, -1))
    tolerance = 4 * float(np.finfo(np.float32).eps) * np.maximum(-low, high)
    return np.asarray(high <= low + tolerance)


class Span(NamedTuple):
    """The values that the two ends of a palette stand for."""

    low: float
    high: float
    centred: bool
    """Whether zero is white, and `low` is `-high`; else `low` is white."""

    def place(self, one: Numbers) -> Scaled:
        """Where a map's values lie: `S / high` if centred, else `(S - low) / (high - low)`.

        Of a constant map nowhere: it becomes zeros.
        """
        one = np.asarray(one)
        if self.low == self.high or constant(one):
            return np.zeros(one.shape, np.float32)
        if self.centred:
            return (one / self.high).astype(np.float32)
        return np.clip((one - self.low) / (self.high - self.low), 0, 1).astype(np.float32)

    def short(self) -> str:
        """The two ends in few characters."""
        if self.centred:
            return f"max|S| = {self.high:.3g}"
        return f"S {self.low:.3g} to {self.high:.3g}"

    def words(self) -> str:
        """The caption that says so."""
        if self.centred:
            return f"1 = max|S| = {self.high:.3g}" if self.high else "S = 0 everywhere"
        if self.low == self.high:
            return "S is the same everywhere"
        return f"from min S = {self.low:.4g} (white) to max S = {self.high:.4g}"


def span(maps: Sequence[Numbers], *, signed: bool) -> Span:
    """What one palette for all these maps spans: with a sign `-max|S|` to `max|S|`, without one
    `min S` to `max S`, for such maps may stand on a common offset that would hide the rest.

    Constant maps do not count.

    Raises:
        ValueError: a map holds NaN or infinity.
    """
    largest = max((limit(one) for one in maps), default=0.0)
    if signed:
        return Span(-largest, largest, True)
    telling = [np.asarray(one) for one in maps if not constant(one)]
    ends = [(float(one.min()), float(one.max())) for one in telling] or [(0.0, 0.0)]
    return Span(min(low for low, _ in ends), max(high for _, high in ends), False)


def scale(maps: Numbers, *, shared: bool = False) -> Scaled:
    """`S / max|S|` per map (paper, section 4.2): linear, keeps signs, within -1 and 1.

    A constant map, the zero map among them, becomes zeros. With `shared` all maps are divided by
    the largest of their maxima, so that they can be compared.
    """
    maps = np.asarray(maps)
    flat = maps.reshape(-1, *maps.shape[-2:])
    limits = [limit(one) for one in flat]
    shared_limit = max(limits, default=0.0)
    scaled = np.zeros(flat.shape, np.float32)
    for result, one, own in zip(scaled, flat, limits, strict=True):
        if own:
            result[...] = one / (shared_limit if shared else own)
    return scaled.reshape(maps.shape)


def upsample(
    maps: Numbers, size: tuple[int, int], *, smooth: bool = True
) -> Float32[np.ndarray, "*batch height width"]:
    """Enlarge maps to `size` = (height, width): bilinear between patch centres, or nearest patch.

    Beyond the outermost centres the value stays as it is (half-pixel centres, edges clamped).
    """
    maps = np.asarray(maps, np.float32)
    matrix = linear if smooth else nearest
    rows = matrix(maps.shape[-2], size[0]).astype(np.float32)
    columns = matrix(maps.shape[-1], size[1]).astype(np.float32)
    return rows @ maps @ columns.T


def colorize(scaled: Numbers, palette: Palette = "diverging") -> Colors:
    """The colours of values between -1 and 1 (`sequential`: 0 and 1); 0 is white in all palettes.

    `diverging`: orange for positive, blue for negative, equally dark; `paper`: the paper's red,
    white and blue; `sequential`: for methods without a sign.

    Raises:
        ValueError: no such palette, or a value outside the palette's range.
    """
    values = np.asarray(scaled, np.float64)
    lowest = 0 if palette == "sequential" else -1
    if values.size and not (lowest <= values.min() and values.max() <= 1):
        raise ValueError(
            f"the palette {palette!r} is for values from {lowest} to 1, got {values.min():.3g} to "
            f"{values.max():.3g}; scale() the map first."
        )
    table = palette_table(palette).astype(np.float32)
    position = (values - lowest) / (1 - lowest) * (len(table) - 1)
    below = np.minimum(position.astype(np.int64), len(table) - 2)
    part = (position - below)[..., None].astype(np.float32)
    return (table[below] * (1 - part) + table[below + 1] * part) / np.float32(255)


@cache
def palette_table(palette: Palette) -> UInt8[np.ndarray, "255 3"]:
    """A palette as 8-bit colours of the values -127/127, ..., 127/127 (sequential: from 0 to 1)."""
    values = np.linspace(-1, 1, 255)
    if palette == "paper":
        fading = 1 - np.abs(values)
        one = np.ones_like(values)
        positive = values[:, None] > 0
        colors = np.where(
            positive, np.stack([one, fading, fading], -1), np.stack([fading, fading, one], -1)
        )
    elif palette == "diverging":
        warm, cool = _path(_WARM, np.abs(values)), _path(_COOL, np.abs(values))
        colors = np.where(values[:, None] > 0, warm, cool)
    elif palette == "sequential":
        colors = _path(_GROWING, np.linspace(0, 1, 255))
    else:
        raise ValueError(f"no palette {palette!r}; there are diverging, paper and sequential.")
    table = np.rint(255 * colors).astype(np.uint8)
    table.setflags(write=False)
    return table


def overlay(
    colors: Float32[np.ndarray, "height width 3"],
    photo: UInt8[np.ndarray, "height width 3"],
    *,
    alpha: float | int = 0.4,
    grey: bool = False,
) -> Colors:
    """The heat map as the bottom layer and the photo over it, `alpha` opaque (paper, section 4.2).

    `grey` takes the colours out of the photo first, so that all colours are the map's.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}, wanted 0 (only the map) to 1 (only the photo).")
    top = photo.astype(np.float32) / 255
    if grey:
        top = (top @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    return np.float32(alpha) * top + np.float32(1 - alpha) * colors


def _path(anchors: tuple[tuple[float, float, float], ...], along: Any) -> np.ndarray:
    """sRGB colours along straight lines between anchors in OKLab, clipped to what screens show."""
    light, chroma, hue = np.array(anchors).T
    points = np.stack(
        [light, chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))], axis=1
    )
    at = np.linspace(0, 1, len(points))
    lab = np.stack([np.interp(along, at, one) for one in points.T], axis=-1)
    # OKLab to linear sRGB (Ottosson 2020), then the sRGB transfer curve.
    cones = lab @ np.array(
        [
            [1.0, 1.0, 1.0],
            [0.3963377774, -0.1055613458, -0.0894841775],
            [0.2158037573, -0.0638541728, -1.2914855480],
        ]
    )
    linear = cones**3 @ np.array(
        [
            [4.0767416621, -1.2684380046, -0.0041960863],
            [-3.3077115913, 2.6097574011, -0.7034186147],
            [0.2309699292, -0.3413193965, 1.7076147010],
        ]
    )
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
