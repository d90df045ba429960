"""Reading tensors and JSON from disk; everything that is not what it says is one clear line."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxattr.checkpoints.wrappers import is_network
from jaxattr.errors import CheckpointError, quoted, short_name

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
INDEX = "model.safetensors.index.json"
_SAFETENSORS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_FLOATS = frozenset(_SAFETENSORS.values())
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, AttributeError),
    *(RuntimeError, NotImplementedError, MemoryError, SyntaxError),
)
"""What Python's readers raise for archives that are cut off or altered."""
# Trained weights hardly shrink at all.
_BLOWN_UP, _MUCH = 50, 1 << 28


class Stored(NamedTuple):
    """A tensor in a file, of which only the header has been read."""

    path: Path
    name: str
    dtype: str
    """NumPy's name, or safetensors' where NumPy has none."""
    shape: tuple[int, ...]


def read_headers(*paths: Path) -> dict[str, Stored]:
    """Name, dtype and shape of all tensors of one checkpoint, from one file or its shards."""
    headers: dict[str, Stored] = {}
    for path in paths:
        refuse_pickle(path)
        if path.suffix == ".npz":
            found = _npz_headers(path)
        elif path.suffix == ".safetensors":
            found = _safetensors_headers(path)
        else:
            raise CheckpointError(
                f"{path}: a checkpoint file ends in .safetensors or .npz; pass one of those, a "
                f"folder, a hub id (owner/name) or an alias."
            )
        twice = next((name for name in found if name in headers), None)
        if twice is not None:
            raise CheckpointError(
                f"{path}: tensor {short_name(twice)} is in {headers[twice].path.name}, too; remove "
                f"the shards that do not belong together."
            )
        headers |= found
    return headers


def read_values(stored: Mapping[str, Stored]) -> dict[str, np.ndarray]:
    """The values of these tensors, under the keys that they have here.

    Raises:
        CheckpointError: numbers of another kind than float16, bfloat16, float32 and float64.
    """
    for one in stored.values():
        if one.dtype not in _FLOATS:
            raise CheckpointError(
                f"{one.path}: tensor {short_name(one.name)} is stored as {one.dtype}, which is "
                f"quantised or not a weight at all; wanted float32, float64, float16 or bfloat16: "
                f"save the weights as such (in transformers model.dequantize(), where it is "
                f"quantised)."
            )
    keys: dict[Path, dict[str, str]] = {}
    for key, one in stored.items():
        keys.setdefault(one.path, {})[one.name] = key
    values: dict[str, np.ndarray] = {}
    for path, names in keys.items():
        read = _npz_values if path.suffix == ".npz" else _safetensors_values
        values |= {names[name]: value for name, value in read(path, names).items()}
    return values


def read_tensors(*paths: Path) -> dict[str, np.ndarray]:
    """All tensors of one checkpoint."""
    return read_values(read_headers(*paths))


def read_metadata(path: Path) -> dict[str, str]:
    """The free-form metadata of a `.safetensors` file."""
    with _open_safetensors(path) as file:
        return file.metadata() or {}


def read_bytes(path: Path) -> bytes:
    """A file's content."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({_reason(error)}).") from error


def read_json(path: Path) -> Any:
    """Parse a JSON file."""
    return parse_json(read_bytes(path), path)


def parse_json(content: bytes, path: Path) -> Any:
    """Parse the content of a JSON file; a key that comes twice with two values is an error."""
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_unique)
    except RecursionError as error:
        raise CheckpointError(f"{path}: nested too deeply; download the file again.") from error
    except ValueError as error:
        raise CheckpointError(
            f"{path}: not valid JSON ({_reason(error)}); download the file again."
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise ValueError(f"the key {quoted(key)} comes twice, with two values")
        found[key] = value
    return found


def read_object(path: Path) -> dict[str, Any]:
    """Parse a JSON file that holds one object."""
    content = read_json(path)
    if not isinstance(content, dict):
        kind = "null" if content is None else f"a JSON {type(content).__name__}"
        raise CheckpointError(f"{path}: holds {kind}, wanted a JSON object; download it again.")
    return content


def shards(index: Path) -> list[str]:
    """The file names that a sharded checkpoint's index lists."""
    content = read_object(index)
    weights = content.get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError(f"{index}: has no weight_map; download the checkpoint again.")
    names = sorted({str(name) for name in weights.values()})
    outside = [name for name in names if Path(name).name != name or not name.isprintable()]
    if outside:
        raise CheckpointError(
            f"{index}: lists {quoted(outside[0])}, which is not the name of a file in its own "
            f"folder; use an index that lists plain file names."
        )
    return names


def refuse_pickle(path: Path) -> None:
    """Raise for files that would run code when opened."""
    if path.suffix in PICKLES:
        raise CheckpointError(
            f"{path}: a pickle can run code when it is opened, so it is refused; convert it to "
            f".safetensors (safetensors.torch.save_file) or use the hub's .safetensors file."
        )


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights: one, or the shards of an index.

    As in transformers, `model.safetensors` goes before an index, which may be left over from an
    older save. Other files count only where those two are missing: safetensors before `.npz`, and
    of `.npz` files those alone whose tensors are a network's.
    """
    whole, index = folder / "model.safetensors", folder / INDEX
    if whole.is_file():
        return [whole]
    if whole.is_dir():
        raise CheckpointError(f"{whole}: a folder, wanted a file; pass the folder that holds it.")
    if index.is_file():
        found = [folder / name for name in shards(index)]
        missing = [path for path in found if not path.is_file()]
        if missing:
            raise CheckpointError(
                f"{index}: {len(missing)} of its {len(found)} shards are missing "
                f"({_names(missing)}) and there is no model.safetensors; download them, too."
            )
        return found
    found = [path for path in sorted(folder.glob("*.safetensors")) if path.is_file()]
    if not found:
        archives = [path for path in sorted(folder.glob("*.npz")) if path.is_file()]
        found = [path for path in archives if _is_network(path)] or archives[:0]
    if len(found) == 1:
        return found
    if found:
        raise CheckpointError(
            f"{folder}: holds {len(found)} weight files ({_names(found)}) and no "
            f"model.safetensors; pass the file itself."
        )
    try:
        pickles = sorted(path for path in folder.iterdir() if path.suffix in PICKLES)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read ({_reason(error)}).") from error
    if pickles:
        refuse_pickle(pickles[0])
    raise CheckpointError(
        f"{folder}: holds no .safetensors and no .npz file with a network's tensors; pass the "
        f"folder of a saved checkpoint."
    )


def _is_network(path: Path) -> bool:
    try:
        return is_network(_npz_headers(path))
    except CheckpointError:
        return False


def _names(paths: Iterable[Path]) -> str:
    names = [short_name(path.name) for path in paths]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _open_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    start = b""
    try:
        with path.open("rb") as file:
            start = file.read(200)
        return safe_open(path, framework="numpy")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path}: {_damage(start, str(error))}") from error


def _damage(start: bytes, reason: str) -> str:
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the weights; run `git lfs pull` in its repository."
    if start.lstrip()[:1] == b"<":
        return "a web page, not the weights; download the file itself (the hub's /resolve/ link)."
    if not start:
        return "an empty file; download it again."
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x04"):
        return "a pickle under another name, which is refused; convert it to safetensors."
    reason = reason.splitlines()[0]
    return f"not a whole safetensors file ({reason}); it is cut off or damaged: download it again."


def _safetensors_headers(path: Path) -> dict[str, Stored]:
    with _open_safetensors(path) as file:
        headers = {}
        for name in file.keys():  # noqa: SIM118  (no mapping)
            part = file.get_slice(name)
            kind = str(part.get_dtype())
            shape = tuple(part.get_shape())
            headers[name] = Stored(path, name, _SAFETENSORS.get(kind, kind), shape)
        return headers


def _safetensors_values(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError

    with _open_safetensors(path) as file:
        try:
            return {name: file.get_tensor(name) for name in names}
        except (SafetensorError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path}: a tensor cannot be read ({_reason(error)}); save the weights as float32, "
                f"float16 or bfloat16."
            ) from error


def _npz_headers(path: Path) -> dict[str, Stored]:
    """Read without unpacking: an archive of zeros may be a thousand times its size."""
    headers: dict[str, Stored] = {}
    packed = unpacked = 0
    with _open_npz(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as member:
                version = np.lib.format.read_magic(member)
                read = np.lib.format.read_array_header_1_0
                if version != (1, 0):
                    read = np.lib.format.read_array_header_2_0
                shape, _, dtype = read(member)
            if dtype.hasobject:
                raise ValueError("pickled objects")
            name = entry.filename.removesuffix(".npy")
            # JAX's bfloat16, for which NumPy's format has no name, is saved as two bytes.
            kind = "bfloat16" if dtype.str[1:] == "V2" else dtype.name
            if name in headers or any(side < 0 for side in shape):
                raise ValueError(f"{short_name(name)} comes twice or has a negative size")
            headers[name] = Stored(path, name, kind, tuple(map(int, shape)))
            packed += entry.compress_size
            unpacked += prod(shape) * dtype.itemsize
    if unpacked > _BLOWN_UP * packed and unpacked > _MUCH:
        raise CheckpointError(
            f"{path}: unpacks to {unpacked / 1e6:.0f} MB of almost nothing but equal numbers, so "
            f"it holds no trained weights; pass another file."
        )
    return headers


def _npz_values(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    values = {}
    with _open_npz(path) as archive:
        for name in names:
            member = f"{name}.npy" if f"{name}.npy" in archive.namelist() else name
            with archive.open(member) as file:
                value = np.lib.format.read_array(file, allow_pickle=False)
            values[name] = (
                value.view(jnp.dtype("bfloat16")) if value.dtype.str[1:] == "V2" else value
            )
    return values


@contextmanager
def _open_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    """NumPy's archive of arrays; what is wrong with it while it is read, as one line."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({_reason(error)}).") from error
    except ValueError as error:
        raise CheckpointError(
            f"{path}: holds pickled objects or other things than plain arrays "
            f"({_reason(error)}), which are refused; save plain arrays with numpy.savez."
        ) from error
    except _DAMAGED as error:
        raise CheckpointError(
            f"{path}: not a whole .npz archive ({_reason(error)}); it is cut off or damaged: "
            f"download it again."
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of what another library says."""
    text = str(getattr(error, "strerror", None) or error).strip()
    return quoted(text.splitlines()[0])[1:-1] if text else type(error).__name__
