"""Which images are copies of each other: equal bytes, or equal but for small changes.

Candidates by perceptual hash, then by feature, then compared pixel by pixel. Hash and pixels are
those of the thumbnail in the ledger, so nothing but the ledger is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from jaxattr.audit.copies.alignment import correlations, picture
from jaxattr.audit.ledger import Columns, LedgerView
from jaxattr.audit.ledger.hashing import hashes, unpacked
from jaxattr.data.threads import map_ahead

NEAR = 20
"""Bits of 63 in which candidates may differ: a shift by 4 % of the side changes up to 18."""
LIKE = 0.8
"""Cosine of the class-token features, less their mean, that candidates must reach."""
CLOSE, ROUGHLY_LIKE = 16, 0.5
"""With at most so many bits apart a smaller cosine will do: a shift in both directions changes the
features of a small photo to a cosine of .65."""
ALIGNED, SURELY_ALIGNED = 0.88, 0.95
"""Correlation of the pixels, best of all small shifts, that copies must reach, and those whose
features are only roughly alike."""
_PARTS, _ROUNDING = 32, 1e-4
_SAMPLE = 4096  # images that the principal parts are taken from: any axes would do
_READ = 512
_ROWS, _COLUMNS, _PAIRS = 256, 2048, 8192
_TOGETHER, _BLOCK = 1024, 64  # pairs of pictures


class Signatures(NamedTuple):
    """What copies are recognised by, of the readable images in index order."""

    image: Int[np.ndarray, " image"]
    """Ledger index."""
    label: Int[np.ndarray, " image"]
    file: Int[np.ndarray, " image"]
    """The first image, by position, whose file is equal byte by byte."""
    hash: Int8[np.ndarray, "image 63"]
    """Bits as -1 and 1; all zero where an image is flat or its thumbnail cannot be read."""
    direction: Float[np.ndarray, "image part"]
    """Centred features of unit length: their largest principal parts, then the length of the rest.

    The product of two is never below their cosine, so no pair is lost by asking it first."""
    mean: Float[np.ndarray, " feature"]
    """Of the features, which are compared less this."""


class Match(NamedTuple):
    """Two images that are copies, by position."""

    first: int
    second: int
    exact: bool
    """Equal files, byte by byte."""
    correlation: float
    """Of their pixels, after the best small shift; 1 for equal files."""


def signatures(ledger: LedgerView) -> Signatures:
    """Read a ledger's signatures: 63 bytes and at most 33 numbers of its feature an image."""
    mean, axes = _principal(ledger)

    def read(shard: Columns) -> tuple[np.ndarray, ...]:
        direction = _directions(shard["feature"] - mean, axes)
        return (*(shard[name] for name in ("index", "label", "sha256", "hash")), direction)

    parts = ledger.each(read, "index", "label", "sha256", "hash", "feature", rows=_READ)
    image, label, name, packed, direction = map(np.concatenate, zip(*parts, strict=True))
    files: dict[str, int] = {}
    file = np.array([files.setdefault(one, at) for at, one in enumerate(name)], np.int64)
    bits = unpacked(packed) if None not in packed else _hashed_again(ledger)
    return Signatures(image, label, file, bits, direction, mean)


def candidates(
    of: Signatures,
    features: Callable[[Int[np.ndarray, " some"]], Float[np.ndarray, "some feature"]],
    first_in: int | None = None,
) -> list[tuple[int, int, float]]:
    """Pairs of different files that may be copies, by position, the most alike hashes first.

    With each pair comes the correlation that its pixels must reach.

    Every pair of hashes is compared, in blocks; then the few that are left by their features, which
    `features` gives for ascending positions. With `first_in` only pairs whose first is one of so
    many first positions are wanted (a few more may come).
    """
    each = np.flatnonzero((of.file == np.arange(len(of.file))) & of.hash.any(axis=1))
    bits, direction = _packed(of.hash[each]), of.direction[each]
    wanted = len(each) if first_in is None else int(np.searchsorted(each, first_in))
    starts = range(0, wanted, _ROWS)
    parts = map_ahead(lambda start: _near(bits, direction, start), starts)
    first, second, apart = np.concatenate([np.zeros((3, 0), np.int64), *parts], axis=1)
    some, place = np.unique(np.stack([each[first], each[second]]), return_inverse=True)
    unit = _unit(features(some) - of.mean) if len(some) else np.zeros((0, len(of.mean)))
    first, second = place.reshape(2, -1)
    cosine = _products(unit, first, second)
    keep = cosine >= _like(apart)
    first, second, apart = some[first[keep]], some[second[keep]], apart[keep]
    needed = np.where(cosine[keep] >= LIKE, ALIGNED, SURELY_ALIGNED)
    order = np.lexsort((second, first, apart))
    return [(int(first[one]), int(second[one]), float(needed[one])) for one in order]


def matches(ledger: LedgerView, of: Signatures, first_in: int | None = None) -> list[Match]:
    """Copies: equal files, and candidates whose pixels correlate as much as they must.

    Pairs that hang together by earlier ones are not looked at again, so a group of n images has
    n - 1 matches: equal files with their first one, then the most alike hashes first. `first_in`
    as in `candidates`.
    """
    found = [
        Match(file, image, True, 1.0) for image, file in enumerate(of.file.tolist()) if file < image
    ]
    pairs = candidates(of, lambda positions: _features(ledger, of.image[positions]), first_in)
    wanted = np.unique(np.array([pair[:2] for pair in pairs], np.int64))
    pictures = _pictures(ledger, of.image[wanted]) if pairs else {}
    group = list(range(len(of.image)))

    def apart(pair: tuple[int, int, float]) -> bool:
        return _root(group, pair[0]) != _root(group, pair[1])

    def compared(block: list[tuple[int, int, float]]) -> np.ndarray:
        one = np.stack([pictures[int(of.image[first])] for first, _, _ in block])
        other = np.stack([pictures[int(of.image[second])] for _, second, _ in block])
        return correlations(one, other)

    for start in range(0, len(pairs), _TOGETHER):
        some = [pair for pair in pairs[start : start + _TOGETHER] if apart(pair)]
        blocks = [some[at : at + _BLOCK] for at in range(0, len(some), _BLOCK)]
        values = np.concatenate([np.zeros(0), *map_ahead(compared, blocks)])
        for pair, value in zip(some, values.tolist(), strict=True):
            if value >= pair[2] and apart(pair):
                group[_root(group, pair[1])] = _root(group, pair[0])
                found.append(Match(pair[0], pair[1], False, value))
    return found


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


def _hashed_again(ledger: LedgerView) -> np.ndarray:
    """Hashes of a ledger that was made without them, from its thumbnails."""
    return np.concatenate(list(ledger.each(lambda shard: hashes(shard["thumbnail"]), "thumbnail")))


def _principal(ledger: LedgerView) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the features, and the axes in which they differ most."""
    count, total = 0, np.zeros(ledger.receipt.feature_size)
    every, some = -(-ledger.receipt.count // _SAMPLE), []
    for shard in ledger.each(lambda shard: shard, "feature", rows=_READ):
        feature = shard["feature"].astype(np.float64)
        count, total = count + len(feature), total + feature.sum(axis=0)
        some.append(feature[::every])
    mean = total / max(count, 1)
    centred = np.concatenate(some) - mean
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :_PARTS]
    return mean.astype(np.float32), axes.astype(np.float32)


def _packed(hashes: np.ndarray) -> np.ndarray:
    """63 signs as the bits of one number each."""
    packed = np.packbits(hashes > 0, axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view(np.uint64).ravel()


def _near(bits: np.ndarray, direction: np.ndarray, start: int) -> np.ndarray:
    """First, second and bits apart, of a block's images and those after it, that may be copies."""
    found = [np.zeros((3, 0), np.int64)]
    block = bits[start : start + _ROWS, None]
    differing = np.empty((len(block), _COLUMNS), np.uint64)  # one for all: memory is slow to get
    count = np.empty(differing.shape, np.uint8)
    for at in range(start, len(bits), _COLUMNS):
        others = bits[None, at : at + _COLUMNS]
        cut = np.s_[:, : others.shape[1]]
        np.bitwise_xor(block, others, out=differing[cut])
        apart = np.bitwise_count(differing[cut], out=count[cut])
        near = np.flatnonzero(apart <= NEAR)
        first, second = np.divmod(near, apart.shape[1])
        apart = apart[first, second]
        first, second = start + first, at + second
        most = _products(direction, first, second)
        keep = (first < second) & (most >= _like(apart) - _ROUNDING)
        found.append(np.stack([first[keep], second[keep], apart[keep]]).astype(np.int64))
    return np.concatenate(found, axis=1)


def _like(apart: np.ndarray) -> np.ndarray:
    """The cosine that pairs so many bits apart must reach."""
    return np.where(apart <= CLOSE, ROUGHLY_LIKE, LIKE)


def _features(ledger: LedgerView, images: np.ndarray) -> np.ndarray:
    def some(shard: Columns) -> np.ndarray:
        return shard["feature"][np.isin(shard["index"], images)]

    return np.concatenate(list(ledger.each(some, "index", "feature", rows=_READ)))


def _pictures(ledger: LedgerView, images: np.ndarray) -> dict[int, np.ndarray]:
    """Grey pictures by ledger index."""

    def some(shard: Columns) -> dict[int, np.ndarray]:
        rows = np.flatnonzero(np.isin(shard["index"], images))
        return {int(shard["index"][row]): picture(shard["thumbnail"][row]) for row in rows}

    found: dict[int, np.ndarray] = {}
    for part in ledger.each(some, "index", "thumbnail", rows=_READ):
        found |= part
    return found


def _products(vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Scalar products of pairs of rows."""
    cuts = [slice(at, at + _PAIRS) for at in range(0, len(first), _PAIRS)]
    parts = [np.einsum("ij,ij->i", vectors[first[cut]], vectors[second[cut]]) for cut in cuts]
    return np.concatenate(parts) if parts else np.zeros(0)


def _root(group: list[int], member: int) -> int:
    while group[member] != member:
        group[member] = group[group[member]]
        member = group[member]
    return member


def _unit(feature: np.ndarray) -> np.ndarray:
    return feature / np.maximum(np.linalg.norm(feature, axis=1, keepdims=True), 1e-12)


def _directions(centred: np.ndarray, axes: np.ndarray) -> np.ndarray:
    lead = _unit(centred) @ axes
    rest = np.sqrt(np.maximum(1 - np.einsum("ij,ij->i", lead, lead), 0))
    return np.concatenate([lead, rest[:, None]], axis=1, dtype=np.float32)
