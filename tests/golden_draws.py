"""The authors' random draws in a golden file, as options of the methods."""

from __future__ import annotations

from typing import Any

import numpy as np

Tensors = dict[str, np.ndarray]


def draws(tensors: Tensors, dtype: str) -> dict[str, Any]:
    """By the part of a key that names them, with leading axes of images and targets."""
    shape = tensors["targets"].shape
    found: dict[str, Any] = {}
    if "smoothgrad/noise" in tensors:
        noise = tensors["smoothgrad/noise"].transpose(0, 1, 2, 4, 5, 3)
        found["smoothgrad"] = {"noise": noise.astype(dtype)}
    for name in (name.partition("/")[0] for name in tensors if name.endswith("/grids")):
        grids, shifts, share = (tensors[f"{name}/{part}"] for part in ("grids", "shifts", "p1"))
        given = {"grids": grids.astype(dtype), "shifts": shifts.astype(np.int32)}
        given["p1"] = share.astype(dtype)
        found[name] = {part: _everywhere(value[None], shape) for part, value in given.items()}
    for name in (name.partition("/")[0] for name in tensors if name.endswith("/labels/0")):
        labels, noise = clusters(tensors, name)
        given = {"labels": labels, "noise": noise.astype(dtype)}
        found[name] = {part: _everywhere(value, shape) for part, value in given.items()}
    if "tis/mask_indices" in tensors:
        indices = tensors["tis/mask_indices"].astype(np.int32)
        found["tis"] = {"indices": _everywhere(indices, shape)}
    return found


def clusters(tensors: Tensors, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and the noise of as many masks as there could be, the rest zero."""
    images = range(len(tensors["targets"]))
    labels = np.stack([tensors[f"{name}/labels/{i}"] for i in images]).astype(np.int32)
    unit = [tensors[f"{name}/noise_unit/{i}"].transpose(0, 2, 3, 1) for i in images]
    noise = np.zeros((len(unit), labels.shape[1], *unit[0].shape[1:]), np.float32)
    for row, one in zip(noise, unit, strict=True):
        row[: len(one)] = one
    return labels, noise


def _everywhere(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The same for all targets, and for all images where there is one."""
    return np.broadcast_to(values[:, None], (*shape, *values.shape[1:]))
