"""How far two pictures are apart, for people and for budgets: 8-bit pixels in, numbers out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from scipy.ndimage import gaussian_filter

from jaxattr.errors import JaxattrError

Pixels = UInt8[np.ndarray, "height width channel"]
Other = UInt8[np.ndarray, "other_height other_width other_channel"]


class Distances(NamedTuple):
    """Between two pictures of one size; lengths in grey levels of 255."""

    linf: int
    """Largest change of a channel of a pixel."""
    l2: float
    """Root of the sum of squared changes, over all channels of all pixels."""
    psnr: float
    """Peak signal-to-noise ratio in dB, `20 log10(255 / rms)`; infinite for equal pictures."""
    ssim: float
    changed: float
    """Share of pixels in which any channel differs."""


def distances(first: Pixels, second: Other) -> Distances:
    """All of `Distances` between two pictures.

    Raises:
        JaxattrError: pictures of different sizes, or too small for `ssim`.
    """
    if first.shape != second.shape:
        raise JaxattrError(
            f"pictures of {first.shape} and {second.shape} cannot be compared; give both one size."
        )
    change = second.astype(np.float64) - first
    square = float((change**2).mean())
    psnr = float("inf") if square == 0 else float(10 * np.log10(255**2 / square))
    return Distances(
        linf=int(np.abs(change).max()),
        l2=float(np.sqrt((change**2).sum())),
        psnr=psnr,
        ssim=ssim(first, second),
        changed=float((change != 0).any(axis=-1).mean()),
    )


def ssim(first: Pixels, second: Pixels) -> float:
    """Mean structural similarity of Wang, Bovik, Sheikh, Simoncelli (2004): 1 for equal pictures.

    Their constants: a Gaussian window of 11 x 11 with standard deviation 1.5, `K1 = 0.01`,
    `K2 = 0.03`, `L = 255`; moments of the window's distribution (not the sample's), for each
    channel apart, averaged over channels and over all windows that lie inside the picture; a
    picture smaller than the window counts as mirrored beyond its edges, all windows taken.
    """
    x, y = first.astype(np.float64), second.astype(np.float64)

    def blur(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, (1.5, 1.5, 0), truncate=3.5)

    mean_x, mean_y = blur(x), blur(y)
    variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    inside = above / below
    if min(inside.shape[:2]) > 10:
        inside = inside[5:-5, 5:-5]
    return float(inside.mean())
