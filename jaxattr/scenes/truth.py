"""What is known about a folder of scenes: one row per image in `truth.parquet`, and its masks."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from jaxattr.errors import JaxattrError
from jaxattr.scenes.animals import Look
from jaxattr.scenes.classes import FAMILY
from jaxattr.scenes.scene import Scene

WATERMARK = 7
"""The bit of the watermark; parts take the bits below."""

Mask = Bool[np.ndarray, "height width"]
Bits = UInt8[np.ndarray, "height width"]


class Truth(NamedTuple):
    """A row of `truth.parquet`; texts are empty where there is nothing to say."""

    file: str
    """Relative to the folder of `truth.parquet`, with forward slashes."""
    label: str
    """What the folder says."""
    true_label: str
    """What the image shows."""
    defect: str
    """Kinds of what was planted, joined by `+`."""
    background: str
    missing_part: str
    watermark: bool
    copy_of: str
    """The file that this image is a copy of."""
    change: str
    """What the copy went through: `exact`, `re-encoded`, `shifted` or `brightened`."""
    seed: tuple[int, ...]
    """Of `scenes.plan`; for a copy, its source's."""
    mask: str
    """The image's mask, relative as `file` is."""
    parts: tuple[str, ...]
    """Names of the mask's bits, lowest first."""


@lru_cache(maxsize=64)
def part_names(name: str) -> tuple[str, ...]:
    """All parts of a class, in the order in which they are drawn first."""
    dot = np.zeros((1, 1), np.float32)
    look = Look(name, FAMILY[name].palette(np.random.default_rng(0)), np.zeros(8, np.float32))
    return tuple(dict.fromkeys(layer.part for layer in FAMILY[name].draw(dot, dot, look)))


def pack_masks(scene: Scene, index: int = 0, watermark: Mask | None = None) -> Bits:
    """All masks of one object in one byte per pixel: bit k is set where its part k is visible.

    Parts overlap by their antialiased rims, so that one part number per pixel would not be exact.
    """
    names = part_names(scene.classes[index])
    if len(names) > WATERMARK:
        raise JaxattrError(
            f"{scene.classes[index]}: has {len(names)} parts, a mask has room for {WATERMARK}."
        )
    bits = np.zeros(scene.image.shape[:2], np.uint8)
    for part, mask in scene.parts[index].items():
        bits |= mask.astype(np.uint8) << names.index(part)
    return bits if watermark is None else bits | watermark.astype(np.uint8) << WATERMARK


def unpack_masks(bits: Bits, parts: Sequence[str]) -> dict[str, Mask]:
    """The masks by part, and `watermark`: the inverse of `pack_masks` for one row's `parts`."""
    masks = {name: (bits >> k & 1).astype(bool) for k, name in enumerate(parts)}
    return {**masks, "watermark": (bits >> WATERMARK).astype(bool)}


def mask_png(bits: Bits) -> bytes:
    """An indexed PNG whose values are the bits, coloured by the uppermost part."""
    image = Image.fromarray(bits)
    image.putpalette(_palette())
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def parquet(rows: Sequence[Truth], facts: Mapping[str, str]) -> bytes:
    """The rows as a Parquet file; `facts` are kept in its schema's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"watermark": pa.bool_(), "seed": pa.list_(pa.int64()), "parts": pa.list_(pa.string())}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in Truth._fields])
    columns = [list(column) for column in zip(*rows, strict=True)]
    arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=schema.with_metadata(dict(facts)))
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def read_truth(data: bytes) -> list[Truth]:
    """The rows of a Parquet file that `parquet` wrote."""
    import pyarrow.parquet as pq

    rows = pq.read_table(io.BytesIO(data)).to_pylist()
    return [Truth(**{**r, "seed": tuple(r["seed"]), "parts": tuple(r["parts"])}) for r in rows]


def read_facts(path: Path) -> dict[str, str]:
    """The facts of a Parquet file that `parquet` wrote; none of any other file, or of no file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return {}
    named = {key.decode(errors="replace"): value for key, value in found.items()}
    return {key: named[key].decode() for key in ("scenes", "defects") if key in named}


def _palette() -> list[int]:
    """A colour per value, by its highest bit: black for none, seven hues, white."""
    hues = "000000 4477aa ee6677 228833 ccbb44 66ccee aa3377 dd8844 ffffff"
    colours = [tuple(bytes.fromhex(hue)) for hue in hues.split()]
    return [channel for value in range(256) for channel in colours[value.bit_length()]]
