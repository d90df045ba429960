"""Where a result comes from: what must be said of it so that it can be cited and made again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version

import jax
import numpy as np

from jaxattr.vit.model import Model


@dataclass(frozen=True)
class Provenance:
    """The software, the weights and the device behind a result."""

    jaxattr: str
    """Version; so are the next two."""
    jax: str
    jaxlib: str
    device: str
    """Platform and kind of the device that computed it, such as `gpu: NVIDIA H200`."""
    model: str
    parameters: str
    """SHA-256, see `fingerprint`."""
    dtype: str


def provenance(model: Model) -> Provenance:
    """The provenance of what this model computes here."""
    device = jax.devices()[0]
    return Provenance(
        jaxattr=version("jaxattr"),
        jax=version("jax"),
        jaxlib=version("jaxlib"),
        device=f"{device.platform}: {device.device_kind}",
        model=model.name,
        parameters=fingerprint(model),
        dtype=model.config.dtype,
    )


def fingerprint(model: Model) -> str:
    """SHA-256 over names, types, shapes and bytes of all parameters."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.parameters):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
