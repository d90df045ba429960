"""Perceptual hashes: 63 bits of a small picture that survive compression and brightness."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int8, UInt8
from scipy import fft

SIDE = 32
FREQUENCIES = 8
BITS = FREQUENCIES**2 - 1
_FLAT = 2.0  # grey levels: below this standard deviation there is nothing to hash


def perceptual_hash(thumbnail: bytes) -> Int8[np.ndarray, "63"]:
    """Signs of the low frequencies of a grey 32 x 32 image, as -1 and 1.

    Two-dimensional cosine transform, the 8 x 8 lowest frequencies but the mean, each above or
    below their median (Zauner 2010). Brightness and contrast drop out, and so does compression.
    All zero where the image is flat or cannot be read.
    """
    return hashes([thumbnail])[0]


def hashes(thumbnails: Iterable[bytes]) -> Int8[np.ndarray, "image 63"]:
    """`perceptual_hash` of many."""
    greys = [grey_picture(thumbnail, SIDE) for thumbnail in thumbnails]
    seen = {at: one for at, one in enumerate(greys) if one is not None and one.std() >= _FLAT}
    result = np.zeros((len(greys), BITS), np.int8)
    if seen:
        pictures = np.stack(list(seen.values())).astype(np.float64)
        waves = np.asarray(fft.dctn(pictures, axes=(1, 2), norm="ortho"))
        low = waves[:, :FREQUENCIES, :FREQUENCIES].reshape(len(seen), -1)[:, 1:]
        result[list(seen)] = np.where(low > np.median(low, axis=1, keepdims=True), 1, -1)
    return result


def packed_hash(thumbnail: bytes) -> bytes:
    """`perceptual_hash` in 8 bytes, as the ledger keeps it; nothing where there is none."""
    bits = perceptual_hash(thumbnail)
    return np.packbits(bits > 0, bitorder="little").tobytes() if bits.any() else b""


def unpacked(packed: Iterable[bytes]) -> Int8[np.ndarray, "image 63"]:
    """The inverse of `packed_hash`."""
    whole = list(packed)
    known = np.array([len(one) > 0 for one in whole], bool)
    numbers = np.frombuffer(b"".join(one or bytes(8) for one in whole), np.uint8).reshape(-1, 8)
    bits = np.unpackbits(numbers, axis=1, count=BITS, bitorder="little")
    return np.where(known[:, None], 2 * bits.astype(np.int8) - 1, 0).astype(np.int8)


def grey_picture(thumbnail: bytes, side: int) -> UInt8[np.ndarray, "row column"] | None:
    """A grey square, or nothing where the thumbnail cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(thumbnail)) as image:
            grey = image.convert("L").resize((side, side), Image.Resampling.BOX)
    except OSError:
        return None
    return np.asarray(grey)
