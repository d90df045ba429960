"""How a checkpoint wants its photos: transformers' processor JSON or timm's `pretrained_cfg`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import floor
from typing import Any, Literal, get_args

from jaxattr.errors import CheckpointError
from jaxattr.types import Preprocessing

Resample = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
_PILLOW: tuple[Resample, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def default(image_size: tuple[int, int]) -> Preprocessing:
    """For bare weights: a plain bilinear resize and mean = std = 0.5, the original ViT's recipe."""
    return Preprocessing(image_size)


def from_processor(json: Mapping[str, Any], image_size: tuple[int, int]) -> Preprocessing:
    """Read transformers' `preprocessor_config.json`.

    Raises:
        CheckpointError: a setting that this library cannot follow, by its name.
    """
    deit = "DeiT" in str(json.get("image_processor_type", json.get("feature_extractor_type", "")))
    if json.get("do_pad"):
        raise CheckpointError("preprocessor_config.json: do_pad is not supported; set it to false.")
    resize = (
        _resize(json.get("size", 256 if deit else 224)) if json.get("do_resize", True) else None
    )
    crop = None
    if json.get("do_center_crop", deit):
        crop = _pair(json.get("crop_size", 224), "crop_size")
    normalized = json.get("do_normalize", True)
    mean = _numbers(json.get("image_mean", IMAGENET_MEAN if deit else 0.5), "image_mean")
    std = _numbers(json.get("image_std", IMAGENET_STD if deit else 0.5), "image_std")
    if len(mean) != len(std) or not all(std):
        raise CheckpointError(
            f"preprocessor_config.json: image_mean {mean} and image_std {std} do not belong "
            f"together; wanted one non-zero std for each mean."
        )
    preprocessing = Preprocessing(
        resize=resize,
        crop=crop,
        resample=_pillow(json.get("resample", 3 if deit else 2)),
        rescale=float(json.get("rescale_factor", 1 / 255)) if json.get("do_rescale", True) else 1.0,
        mean=mean if normalized else (0.0,) * len(mean),
        std=std if normalized else (1.0,) * len(std),
    )
    return fit_to(preprocessing, image_size)


def from_timm(json: Mapping[str, Any], image_size: tuple[int, int]) -> Preprocessing:
    """Read timm's `pretrained_cfg`: shorter side to `floor(size / crop_pct)`, then centre crop."""
    height, width = image_size
    fraction = float(json.get("crop_pct", 0.875))
    scaled = floor(height / fraction), floor(width / fraction)
    mode = json.get("crop_mode", "center")
    if mode == "squash":
        resize: tuple[int, int] | int = scaled
    elif mode == "center" and height == width:
        resize = scaled[0]
    else:
        raise CheckpointError(
            f'config.json: crop_mode "{mode}" for a {height} x {width} image is not supported; '
            f'set it to "squash", or "center" for square images.'
        )
    resample = str(json.get("interpolation", "bicubic"))
    if resample == "random":
        resample = "bilinear"
    if resample not in _PILLOW:
        raise _unknown("config.json", "interpolation", resample)
    return Preprocessing(
        resize,
        crop=image_size,
        resample=resample,
        mean=_numbers(json.get("mean", IMAGENET_MEAN), "mean"),
        std=_numbers(json.get("std", IMAGENET_STD), "std"),
    )


def fit_to(preprocessing: Preprocessing, image_size: tuple[int, int]) -> Preprocessing:
    """The same recipe for another model size: the resize keeps its ratio to the final size."""
    resize, crop = preprocessing.resize, preprocessing.crop
    final = crop or (resize if isinstance(resize, tuple) else None)
    if final == image_size or (final is None and resize is None):
        return preprocessing
    if crop is None and isinstance(resize, tuple):
        return replace(preprocessing, resize=image_size)
    if crop is None:  # a shorter side alone leaves the longer one free, which no model takes
        return replace(preprocessing, crop=image_size, resize=min(image_size))
    if isinstance(resize, tuple):
        scaled = tuple(
            round(size * new / old) for size, new, old in zip(resize, image_size, crop, strict=True)
        )
        return replace(preprocessing, resize=(scaled[0], scaled[1]), crop=image_size)
    if resize is not None:
        ratio = max(new / old for new, old in zip(image_size, crop, strict=True))
        resize = max(round(resize * ratio), *image_size)
    return replace(preprocessing, resize=resize, crop=image_size)


def _resize(size: Any) -> tuple[int, int] | int:
    if isinstance(size, Mapping) and "shortest_edge" in size:
        if "longest_edge" in size:
            raise _unknown("preprocessor_config.json", "size", dict(size))
        return int(size["shortest_edge"])
    return _pair(size, "size")


def _pair(size: Any, key: str) -> tuple[int, int]:
    """A size as transformers writes it; a bare number means a square."""
    if isinstance(size, Mapping) and {"height", "width"} <= size.keys():
        size = size["height"], size["width"]
    if isinstance(size, int | float):
        size = size, size
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise _unknown("preprocessor_config.json", key, size)
    return int(size[0]), int(size[1])


def _pillow(resample: Any) -> Resample:
    if isinstance(resample, int) and 0 <= resample < len(_PILLOW):
        return _PILLOW[resample]
    raise _unknown("preprocessor_config.json", "resample", resample)


def _numbers(value: Any, key: str) -> tuple[float, ...]:
    values = [value] * 3 if isinstance(value, int | float) else value
    if not isinstance(values, list | tuple) or not all(isinstance(v, int | float) for v in values):
        raise _unknown("preprocessing", key, value)
    return tuple(float(v) for v in values)


def _unknown(file: str, key: str, value: Any) -> CheckpointError:
    known = f" (known: {', '.join(get_args(Resample))})" if key == "interpolation" else ""
    return CheckpointError(
        f"{file}: {key} {value!r} is not supported{known}; correct the file, or remove it to use "
        f"a plain bilinear resize with mean = std = 0.5."
    )
