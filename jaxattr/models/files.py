"""Reading tensors and JSON from disk; everything that is not what it says is one clear line."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jaxattr.errors import CheckpointError

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
INDEX = "model.safetensors.index.json"


def read_tensors(*paths: Path) -> dict[str, np.ndarray]:
    """All tensors of one checkpoint, from one file or its shards."""
    tensors: dict[str, np.ndarray] = {}
    for path in paths:
        refuse_pickle(path)
        if path.suffix == ".npz":
            tensors |= _read_npz(path)
        elif path.suffix == ".safetensors":
            tensors |= _read_safetensors(path)
        else:
            raise CheckpointError(
                f"{path}: a checkpoint file ends in .safetensors or .npz; pass one of those, a "
                f"folder, a hub id (owner/name) or an alias."
            )
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """The free-form metadata of a `.safetensors` file."""
    with _open_safetensors(path) as file:
        return file.metadata() or {}


def read_json(path: Path) -> Any:
    """Parse a JSON file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path}: not valid JSON ({reason}); download the file again."
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """Parse a JSON file that holds one object."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path}: holds a JSON {type(content).__name__}, wanted an object; download it again."
        )
    return content


def shards(index: Path) -> list[str]:
    """The file names that a sharded checkpoint's index lists."""
    content = read_object(index)
    weights = content.get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError(f"{index}: has no weight_map; download the checkpoint again.")
    names = sorted({str(name) for name in weights.values()})
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise CheckpointError(
            f"{index}: lists {outside[0]}, which lies outside its own folder; use an index that "
            f"lists plain file names."
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
    """The files that hold a folder's weights: one, or the shards of an index."""
    if (folder / INDEX).is_file():
        return [folder / name for name in shards(folder / INDEX)]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    found = sorted([*folder.glob("*.safetensors"), *folder.glob("*.npz")])
    if len(found) == 1:
        return found
    if found:
        raise CheckpointError(
            f"{folder}: holds {len(found)} weight files ({_names(found)}) and no "
            f"model.safetensors; pass the file itself."
        )
    pickles = sorted(path for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        refuse_pickle(pickles[0])
    raise CheckpointError(
        f"{folder}: holds no .safetensors or .npz file; pass the folder of a saved checkpoint."
    )


def _names(paths: Iterable[Path]) -> str:
    names = [path.name for path in paths]
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


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError

    with _open_safetensors(path) as file:
        try:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path}: a tensor cannot be read ({error}); save the weights as float32, float16 "
                f"or bfloat16."
            ) from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here, because NumPy leaves a damaged archive's file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: not a whole .npz archive ({error}); it is cut off or damaged: download it "
            f"again."
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"{path}: holds pickled objects (or is none of NumPy's formats), which are refused; "
            f"save plain arrays with numpy.savez."
        ) from error
