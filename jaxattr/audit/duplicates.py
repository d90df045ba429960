"""Which images are copies of each other: equal bytes, or equal but for small changes.

Candidates by perceptual hash, then by feature, then compared pixel by pixel. Hash and pixels are
those of the thumbnail in the ledger, so nothing but the ledger is read.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8
from scipy import fft
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from jaxattr.audit.ledger import Ledger

SIDE = 32
FREQUENCIES = 8
BITS = FREQUENCIES**2 - 1
NEAR = 20
"""Bits of 63 in which candidates may differ: a shift by 4 % of the side changes up to 18."""
LIKE = 0.8
"""Cosine of the class-token features, less their mean, that candidates must reach."""
ALIGNED = 0.88
"""Correlation of the pixels, best of all small shifts, that copies must reach."""
_PIXELS, _REACH = 64, 3
_FLAT = 2.0  # grey levels: below this standard deviation there is nothing to hash
_BLOCK = 1024


class Signatures(NamedTuple):
    """What copies are recognised by, of the readable images in index order."""

    image: Int[np.ndarray, " image"]
    """Ledger index."""
    label: Int[np.ndarray, " image"]
    sha256: np.ndarray
    hash: Int8[np.ndarray, "image 63"]
    """Bits as -1 and 1; all zero where an image is flat or its thumbnail cannot be read."""
    feature: Float[np.ndarray, "image feature"]
    """Features less their mean, of unit length."""


class Match(NamedTuple):
    """Two images that are copies, by position."""

    first: int
    second: int
    exact: bool
    """Equal files, byte by byte."""
    correlation: float
    """Of their pixels, after the best small shift; 1 for equal files."""


def perceptual_hash(thumbnail: bytes) -> Int8[np.ndarray, "63"]:
    """Signs of the low frequencies of a grey 32 x 32 image, as -1 and 1.

    Two-dimensional cosine transform, the 8 x 8 lowest frequencies but the mean, each above or
    below their median (Zauner 2010). Brightness and contrast drop out, and so does compression.
    """
    values = _grey(thumbnail, SIDE)
    if values is None or values.std() < _FLAT:
        return np.zeros(BITS, np.int8)
    low = np.asarray(fft.dctn(values, norm="ortho"))[:FREQUENCIES, :FREQUENCIES].ravel()[1:]
    return np.where(low > np.median(low), 1, -1).astype(np.int8)


def signatures(ledger: Ledger) -> Signatures:
    """Read a ledger's signatures: 63 bytes and one feature an image."""
    small = ledger.read("index", "label", "sha256", "feature")
    hashes = [
        perceptual_hash(one) for shard in ledger.iterate("thumbnail") for one in shard["thumbnail"]
    ]
    feature = small["feature"].astype(np.float32)
    feature = feature - feature.mean(axis=0) if len(feature) else feature
    length = np.maximum(np.linalg.norm(feature, axis=1, keepdims=True), 1e-12)
    bits = np.array(hashes, np.int8).reshape(-1, BITS)
    return Signatures(small["index"], small["label"], small["sha256"], bits, feature / length)


def aligned(first: bytes, second: bytes) -> float:
    """Correlation of two thumbnails' grey 64 x 64 pixels, the best of all shifts by up to 3.

    Taken over the part that both show. 0 where one cannot be read or has nothing to compare.
    """
    one, other = _grey(first, _PIXELS), _grey(second, _PIXELS)
    if one is None or other is None:
        return 0.0
    steps = range(-_REACH, _REACH + 1)
    best = 0.0
    for row in steps:
        for column in steps:
            parts = [
                image[
                    max(sign * row, 0) : _PIXELS + min(sign * row, 0),
                    max(sign * column, 0) : _PIXELS + min(sign * column, 0),
                ]
                for image, sign in ((one, 1), (other, -1))
            ]
            a, b = (part - part.mean() for part in parts)
            spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
            best = max(best, float((a * b).sum()) / spread if spread > 0 else 0.0)
    return best


def candidates(of: Signatures) -> list[tuple[int, int, bool]]:
    """Pairs that may be copies, and whether their files are equal.

    Every pair is compared, in blocks of 1,024: bits differ in `(63 - h·h') / 2` places.
    """
    found: list[tuple[int, int, bool]] = []
    hashes = of.hash.astype(np.float32)
    names = np.unique(of.sha256.astype(str), return_inverse=True)[1]
    for start in range(0, len(hashes), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(hashes)))
        for first in range(start, len(hashes), _BLOCK):
            columns = np.arange(first, min(first + _BLOCK, len(hashes)))
            agreement = hashes[rows] @ hashes[columns].T
            same = names[rows, None] == names[columns]
            near = ((agreement >= BITS - 2 * NEAR) | same) & (rows[:, None] < columns)
            for i, j in np.argwhere(near):
                one, other = int(rows[i]), int(columns[j])
                if same[i, j] or float(of.feature[one] @ of.feature[other]) >= LIKE:
                    found.append((one, other, bool(same[i, j])))
    return found


def matches(of: Signatures, thumbnails: Callable[[list[int]], dict[int, bytes]]) -> list[Match]:
    """All pairs of copies: equal files, and candidates whose pixels correlate at least `ALIGNED`.

    `thumbnails` gives those of some images, by ledger index.
    """
    found = candidates(of)
    wanted = {int(of.image[one]) for pair in found if not pair[2] for one in pair[:2]}
    seen = thumbnails(sorted(wanted))
    result = []
    for one, other, exact in found:
        value = 1.0 if exact else aligned(seen[int(of.image[one])], seen[int(of.image[other])])
        if exact or value >= ALIGNED:
            result.append(Match(one, other, exact, value))
    return result


def groups(found: list[Match], count: int) -> list[list[Match]]:
    """The matches of images that hang together, each group once, in order of its first image."""
    if not found:
        return []
    first, second = (np.array([one[i] for one in found]) for i in (0, 1))
    graph = coo_array((np.ones(len(found)), (first, second)), shape=(count, count))
    group = connected_components(graph, directed=False)[1]
    members: dict[int, list[Match]] = {}
    for one in sorted(found):
        members.setdefault(int(group[one.first]), []).append(one)
    return list(members.values())


def _grey(thumbnail: bytes, side: int) -> np.ndarray | None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(thumbnail)) as image:
            grey = image.convert("L").resize((side, side), Image.Resampling.BOX)
    except OSError:
        return None
    return np.asarray(grey, np.float64)
