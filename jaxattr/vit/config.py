"""The architecture of a network, and the preprocessing that it was trained with."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np

from jaxattr.errors import CheckpointError

MAX_PIXELS = 89_478_485
"""Pillow's own limit: a quarter of a gigabyte of 24-bit pixels."""
Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu"]
Pooling = Literal["class_token", "mean", "mean_then_norm"]
Problem = Literal["single_label", "multi_label", "regression"]
Rounding = Literal["down", "even"]
Order = Literal["rgb", "bgr"]
Resample = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


@dataclass(frozen=True)
class ViTConfig:
    """The architecture of a Vision Transformer, hashable, so that it can be a static argument.

    Whole numbers may be NumPy's and pairs may be lists; they become Python's numbers and tuples.

    Raises:
        CheckpointError: a field of another kind, sizes that are not positive, an image that patches
            do not tile, a width that heads do not divide, or an unknown word.
    """

    image_size: tuple[int, int]
    patch_size: tuple[int, int]
    hidden_size: int
    layers: int
    heads: int
    mlp_size: int
    classes: int
    layer_norm_epsilon: float = 1e-6
    qkv_bias: bool = True
    activation: Activation = "gelu"
    distilled: bool = False
    distilled_head: bool = True
    """Whether the distillation token, where there is one, has its own head."""
    class_token: bool = True
    pooling: Pooling = "class_token"
    """What the head reads: the class token; the mean of the normalised patches; or the patches'
    mean, normalised afterwards (timm's `fc_norm`)."""
    channels: int = 3
    dtype: str = "float32"
    problem: Problem = "single_label"
    """What the logits are, in transformers' words (`problem_type`): one of the classes (softmax;
    a single logit is a class or not, sigmoid); each class or not (sigmoid); numbers. See
    `jaxattr.heads.probabilities`."""

    def __post_init__(self) -> None:
        check = _Fields(self)
        for name in ("image_size", "patch_size"):
            check.change(name, _pair)
        for name in ("hidden_size", "layers", "heads", "mlp_size", "classes", "channels"):
            check.change(name, _positive)
        check.change("layer_norm_epsilon", _finite)
        for name in ("qkv_bias", "distilled", "distilled_head", "class_token"):
            check.change(name, _truth)
        check.change("activation", _one_of(Activation))
        check.change("pooling", _one_of(Pooling))
        check.change("problem", _one_of(Problem))
        check.change("dtype", _floating)
        size, patch = self.image_size, self.patch_size
        if size[0] % patch[0] or size[1] % patch[1]:
            raise CheckpointError(
                f"ViTConfig: image size {size[0]} x {size[1]} is not a multiple of the patch size "
                f"{patch[0]} x {patch[1]}; choose a multiple of it."
            )
        if self.hidden_size % self.heads:
            raise CheckpointError(
                f"ViTConfig: hidden_size {self.hidden_size} is not a multiple of the heads, "
                f"{self.heads}; choose another of them."
            )
        if self.layer_norm_epsilon < 0:
            check.refuse("layer_norm_epsilon", "0 or more")
        if self.pooling == "class_token" and not self.class_token:
            check.refuse("pooling", "mean or mean_then_norm where class_token is False")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return (
            self.image_size[0] // self.patch_size[0],
            self.image_size[1] // self.patch_size[1],
        )

    @property
    def prefix_tokens(self) -> int:
        """Tokens before the patches: the class token and, in DeiT, the distillation token."""
        return int(self.class_token) + int(self.distilled)

    @property
    def tokens(self) -> int:
        """Prefix tokens plus patches."""
        return self.prefix_tokens + self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded photo becomes the model's input, as the checkpoint's own processor does it.

    `resize` is the size `(height, width)` of a plain resize, or one number: the length of the
    shorter side. `crop` is the centre crop that follows, or `None`. Pixels are multiplied by
    `rescale`, then `(pixel - mean) / std` per channel. One mean makes photos grey.

    Raises:
        CheckpointError: a size that is not positive, an unknown word, or numbers that are not
            finite, are of two lengths, or would divide by zero.
    """

    resize: tuple[int, int] | int | None
    crop: tuple[int, int] | None = None
    resample: Resample = "bilinear"
    rescale: float = 1 / 255
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    crop_rounding: Rounding = "down"
    """Of half a pixel in the crop's offset: down as in transformers, or to the even number as in
    torchvision, and so in timm."""
    order: Order = "rgb"
    """Of the channels in the model's input, and so of `mean` and `std`."""
    max_pixels: int = MAX_PIXELS
    """Photos of more pixels are refused, as possible decompression bombs."""

    def __post_init__(self) -> None:
        check = _Fields(self)
        if isinstance(self.resize, tuple | list):
            check.change("resize", _pair)
        elif self.resize is not None:
            check.change("resize", _positive, "a positive whole number, (height, width) or None")
        if self.crop is not None:
            check.change("crop", _pair, "(height, width), two positive whole numbers, or None")
        check.change("resample", _one_of(Resample))
        check.change("rescale", _finite)
        check.change("mean", _finites)
        check.change("std", _finites)
        if self.rescale == 0:
            check.refuse("rescale", "another number than 0")
        if 0 in self.std:
            check.refuse("std", "no 0, for pixels are divided by it")
        if len(self.mean) != len(self.std):
            check.refuse("std", f"one number for each of the mean's {len(self.mean)}")
        check.change("crop_rounding", _one_of(Rounding))
        check.change("order", _one_of(Order))
        check.change("max_pixels", _positive)

    def record(self) -> dict[str, Any]:
        """The fields for a receipt: what is at its default and came later is left out, so that a
        ledger of an earlier version still matches."""
        later = ("crop_rounding", "order", "max_pixels")
        usual = {one.name: one.default for one in fields(self) if one.name in later}
        every = asdict(self)
        return {key: every[key] for key in every if usual.get(key, ...) != every[key]}


class _Fields:
    """The fields of a frozen dataclass while it checks them."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def change(self, name: str, convert: Callable[[Any], Any], wanted: str = "") -> None:
        """Replace a field by its usual form; `convert` gives `None` where there is none."""
        value = convert(getattr(self.owner, name))
        if value is None:
            self.refuse(name, wanted or _WANTED.get(convert) or convert.__doc__ or "")
        object.__setattr__(self.owner, name, value)

    def refuse(self, name: str, wanted: str) -> None:
        """Raise the one error that there is."""
        value = getattr(self.owner, name)
        raise CheckpointError(f"{type(self.owner).__name__}: {name} is {value!r}; wanted {wanted}.")


def _positive(value: Any) -> int | None:
    if isinstance(value, bool | np.bool_):
        return None
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return number if number > 0 else None


def _pair(value: Any) -> tuple[int, int] | None:
    if not isinstance(value, tuple | list) or len(value) != 2:
        return None
    first, second = map(_positive, value)
    return None if first is None or second is None else (first, second)


def _finite(value: Any) -> float | None:
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        return None
    return float(value) if math.isfinite(value) else None


def _finites(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, tuple | list) or not value:
        return None
    numbers = tuple(map(_finite, value))
    return None if None in numbers else numbers  # pyright: ignore[reportReturnType]


def _truth(value: Any) -> bool | None:
    return bool(value) if isinstance(value, bool | np.bool_) else None


def _floating(value: Any) -> str | None:
    try:
        kind = np.dtype(jnp.dtype(value))
    except TypeError:
        return None
    return kind.name if value is not None and jnp.issubdtype(kind, jnp.floating) else None


@cache
def _one_of(words: Any) -> Callable[[Any], str | None]:
    def convert(value: Any) -> str | None:
        return value if isinstance(value, str) and value in get_args(words) else None

    convert.__doc__ = f"one of {', '.join(get_args(words))}"
    return convert


_WANTED: dict[Callable[[Any], Any], str] = {
    _positive: "a positive whole number",
    _pair: "(height, width), two positive whole numbers",
    _finite: "a finite number",
    _finites: "a tuple of finite numbers, one for each channel",
    _truth: "True or False",
    _floating: "the name of a floating-point type, such as float32",
}
