"""The model that comes with the library, so that the first command needs no download."""

from __future__ import annotations

import hashlib
import tomllib
from importlib.resources import as_file, files

from jaxattr.checkpoints.native import read
from jaxattr.errors import CheckpointError
from jaxattr.vit import Model


def load(name: str, *, dtype: str | None = None) -> Model:
    """Read an embedded model listed in `weights/manifest.toml`, after checking its SHA-256.

    Raises:
        CheckpointError: no such model in this installation, or its file was altered.
    """
    folder = files("jaxattr.weights")
    manifest = folder / "manifest.toml"
    listed = tomllib.loads(manifest.read_text("utf-8")) if manifest.is_file() else {}
    models = listed.get("model", [])
    models = models if isinstance(models, list) else [models]
    entry = next((entry for entry in models if entry.get("name") == name), None)
    if entry is None or not (folder / entry["file"]).is_file():
        there = [one["name"] for one in models if (folder / one["file"]).is_file()]
        known = ", ".join(there) or "none"
        raise CheckpointError(
            f"{name}: this installation holds no such embedded model, but {known}; name one of "
            f"them, or another checkpoint"
            + ("." if entry is None else ", or work in a checkout of the source, which holds it.")
        )
    with as_file(folder / entry["file"]) as path:
        if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            raise CheckpointError(
                f"{name}: {path.name} does not have the SHA-256 of weights/manifest.toml, so it is "
                f"damaged or altered; install jaxattr again."
            )
        return read(path, name=name, dtype=dtype)
