"""Maps made elsewhere, by the names of their images, to be scored beside the methods."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float

from jaxattr.errors import DatasetError, printable, quoted
from jaxattr.vit import ViTConfig

MapsByFile = Mapping[str, np.ndarray]
"""A map for each image file: `[row, column]` of patches, or `[height, width]` of pixels as the
model sees them."""


def read_maps(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file, by the image files' names relative to their folder.

    Raises:
        DatasetError: no such file, or one that holds something else than numbers.
    """
    shown = printable(path)
    try:
        # Opened here, because numpy leaves a file open that is no archive.
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile):
                raise DatasetError(
                    f"{shown} holds one array; write an .npz with an array for each image file."
                )
            with found:
                return {name: found[name] for name in found.files}
    except DatasetError:
        raise
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise DatasetError(
            f"{shown}: these maps cannot be read ({reason}); write an .npz with an array for each "
            "image file."
        ) from None


def on_grid(
    name: str, maps: MapsByFile, files: Sequence[str], config: ViTConfig
) -> dict[str, Float[np.ndarray, "row column"]]:
    """The maps of these images on the model's grid; of pixels, the mean over each patch.

    Raises:
        DatasetError: an image without a map, or a map that does not fit.
    """
    shown = printable(name)
    if missing := [file for file in files if file not in maps]:
        there = next(iter(maps), None)
        names = "it is empty" if there is None else f"one of its names is {quoted(there)}"
        raise DatasetError(
            f"{shown}: no map for {len(missing)} of {len(files)} images, such as "
            f"{quoted(missing[0])}, and {names}; name arrays by the image files, relative to the "
            "folder."
        )
    return {file: _fitted(shown, file, np.asarray(maps[file]), config) for file in files}


def _fitted(
    name: str, file: str, array: np.ndarray, config: ViTConfig
) -> Float[np.ndarray, "row column"]:
    (rows, columns), (height, width) = config.grid, config.image_size
    if array.dtype.kind not in "fiub" or array.shape not in ((rows, columns), (height, width)):
        raise DatasetError(
            f"{name}: the map of {quoted(file)} is {array.dtype} of shape {array.shape}; wanted "
            f"numbers [{rows}, {columns}] for the patches, or [{height}, {width}] for the pixels "
            "that the model sees."
        )
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise DatasetError(f"{name}: the map of {quoted(file)} holds NaN or infinity.")
    if values.shape != (rows, columns):
        values = values.reshape(rows, height // rows, columns, width // columns).mean(axis=(1, 3))
    return values.astype(np.float32)


def digest(maps: MapsByFile) -> str:
    """What identifies them: names and numbers."""
    whole = hashlib.sha256()
    for part in _parts(maps):
        whole.update(part)
    return whole.hexdigest()[:16]


def _parts(maps: MapsByFile) -> Iterator[bytes]:
    for file, values in sorted(maps.items()):
        yield file.encode("utf-8", "surrogateescape")
        yield np.ascontiguousarray(values).tobytes()
