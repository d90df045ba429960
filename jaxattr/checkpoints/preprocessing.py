"""How a checkpoint wants its photos: transformers' processor JSON or timm's `pretrained_cfg`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import floor, isfinite
from typing import Any, Literal, NamedTuple, get_args

from jaxattr.errors import CheckpointError, quoted, short_name
from jaxattr.vit import Preprocessing

Resample = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
Resize = tuple[int, int] | int
Crop = tuple[int, int] | None

PROCESSOR, NESTED = "preprocessor_config.json", "processor_config.json"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_PILLOW: tuple[Resample, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
_LARGEST = 2**14
"""Pixels of a side that a file may ask for."""


class _File(NamedTuple):
    """A JSON object whose settings are read with their names in the errors."""

    name: str
    json: Mapping[str, Any]

    def flag(self, key: str, default: bool) -> bool:
        """Null is no, as in transformers."""
        value = self.json.get(key, default)
        if value is not None and not isinstance(value, bool):
            raise self.refusal(key, value, "true or false")
        return bool(value)

    def number(self, key: str, default: float) -> float:
        value = self.json.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
            raise self.refusal(key, value, "a finite number")
        return float(value)

    def numbers(self, key: str, default: tuple[float, ...], channels: int) -> tuple[float, ...]:
        """One for each channel; a bare number stands for all of them."""
        value = self.json.get(key, default if channels == len(default) else default[0])
        values = value if isinstance(value, list | tuple) else [value] * channels
        wrong = (isinstance(v, bool) or not isinstance(v, int | float) for v in values)
        if any(wrong) or not all(map(_finite, values)) or len(values) != channels:
            wanted = "a finite number" if channels == 1 else f"{channels} finite numbers"
            raise self.refusal(key, value, f"{wanted}, one for each channel of the model")
        return tuple(float(v) for v in values)

    def deviations(self, key: str, default: tuple[float, ...], channels: int) -> tuple[float, ...]:
        values = self.numbers(key, default, channels)
        if min(values) <= 0:
            raise self.refusal(key, self.json.get(key, default), "numbers above 0, for it divides")
        return values

    def refusal(self, key: str, value: Any, wanted: str) -> CheckpointError:
        came = repr(value)
        came = came if len(came) <= 100 else f"{came[:97]}..."
        return CheckpointError(
            f"{self.name}: {key} {came} is not supported; wanted {wanted}: correct the file."
        )


class _Processor(NamedTuple):
    """What an image processor of transformers does where its file says nothing.

    `resized` turns the file and the size in it into the resize and a crop that belongs to it.
    """

    size: Mapping[str, int]
    square: bool = True
    """Whether a bare number as the size is that of a square, not of the shorter side."""
    crop: Crop = None
    resample: Resample = "bicubic"
    mean: tuple[float, ...] = _HALF
    std: tuple[float, ...] = _HALF
    resized: Callable[[_File, Resize], tuple[Resize, Crop]] = lambda _, size: (size, None)
    own: frozenset[str] = frozenset()
    """Keys that only it follows."""
    normalizes: bool = True


def _levit_size(_: _File, size: Resize) -> tuple[Resize, Crop]:
    return (int((256 / 224) * size) if isinstance(size, int) else size), None


def _convnext_size(file: _File, size: Resize) -> tuple[Resize, Crop]:
    if not isinstance(size, int):
        raise file.refusal("size", file.json.get("size"), "a shortest_edge for this processor")
    if size >= 384:
        return (size, size), None
    return int(size / _fraction(file, "crop_pct", 224 / 256)), (size, size)


def _poolformer_size(file: _File, size: Resize) -> tuple[Resize, Crop]:
    fraction = _fraction(file, "crop_pct", 0.9)
    if isinstance(size, int):
        return int(size / fraction), None
    height, width = size
    if height == width:
        return int(height / fraction), None
    return (int(height / fraction), int(width / fraction)), None


_SQUARE, _SHORTER = {"height": 224, "width": 224}, {"shortest_edge": 224}
_CLIP = _Processor(_SHORTER, False, (224, 224), mean=_CLIP_MEAN, std=_CLIP_STD)
_MOBILE = _Processor({"shortest_edge": 256}, False, (224, 224), "bilinear")
_PROCESSORS = {
    "ViT": _Processor(_SQUARE, resample="bilinear"),
    "DeiT": _Processor({"height": 256, "width": 256}, crop=(224, 224)),
    "Beit": _Processor(_SQUARE),
    "Bit": _CLIP,
    "Blip": _Processor({"height": 384, "width": 384}, mean=_CLIP_MEAN, std=_CLIP_STD),
    "CLIP": _CLIP,
    "ChineseCLIP": _CLIP,
    "ConvNext": _Processor(
        {"shortest_edge": 384}, False, resized=_convnext_size, own=frozenset({"crop_pct"})
    ),
    "EfficientNet": _Processor(
        {"height": 346, "width": 346}, own=frozenset({"rescale_offset", "include_top"})
    ),
    "Levit": _Processor(
        _SHORTER, False, (224, 224), mean=IMAGENET_MEAN, std=IMAGENET_STD, resized=_levit_size
    ),
    "MobileNetV1": _MOBILE,
    "MobileNetV2": _MOBILE,
    "MobileViT": _Processor(
        _SHORTER, False, (256, 256), own=frozenset({"do_flip_channel_order"}), normalizes=False
    ),
    "PoolFormer": _Processor(
        _SHORTER,
        False,
        (224, 224),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        resized=_poolformer_size,
        own=frozenset({"crop_pct"}),
    ),
    "Pvt": _Processor(_SQUARE, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "Siglip": _Processor(_SQUARE, False),
}
# Those that have a crop size but do not crop unless told, and sizes that wait for it.
_CROP_ON_REQUEST = {"Beit": (224, 224), "EfficientNet": (289, 289)}
_OF_MODELS = {
    "deit": "DeiT",
    "beit": "Beit",
    "data2vec-vision": "Beit",
    "dinov2": "Bit",
    "dinov2_with_registers": "Bit",
    "clip": "CLIP",
    "metaclip_2": "CLIP",
    "siglip": "Siglip",
}
_FOLLOWED = {
    *("do_resize", "size", "default_to_square", "resample", "do_center_crop", "crop_size"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
}
# Photos are always made RGB first (or grey, for a model of one channel); labels of segmentation,
# layouts, devices and text have no part in an image's pixels; a padding that is not done neither.
_WITHOUT_EFFECT = {
    *("image_processor_type", "feature_extractor_type", "processor_class", "_processor_class"),
    *("_valid_processor_keys", "_valid_kwargs_names", "do_convert_rgb", "data_format", "device"),
    *("input_data_format", "return_tensors", "disable_grouping", "image_seq_length", "pad_size"),
    *("do_reduce_labels", "reduce_labels", "backend", "use_fast", "transformers_version"),
}


def default(image_size: tuple[int, int]) -> Preprocessing:
    """For bare weights: a plain bilinear resize and mean = std = 0.5, the original ViT's recipe."""
    return Preprocessing(image_size)


def from_processor(
    json: Mapping[str, Any],
    image_size: tuple[int, int],
    *,
    model_type: str = "vit",
    channels: int = 3,
    file: str = PROCESSOR,
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Read transformers' `preprocessor_config.json`, and what a user must know of the reading.

    Args:
        json: what the file holds; `{}` gives the defaults of the model's own processor.
        image_size: of the model; other sizes in the file are scaled to it, and it is said.
        model_type: of the model, whose processor it is where the file names none.
        channels: of the model.
        file: what errors call it.

    Raises:
        CheckpointError: a processor or a setting that this library cannot follow, by its name.
    """
    settings = _File(file, json)
    kind = _kind(settings, model_type)
    processor = _PROCESSORS[kind]
    _check_keys(settings, kind, processor)
    resize, crop = _sizes(settings, kind, processor)
    mean, std = (0.0,) * channels, (1.0,) * channels
    normalizes = processor.normalizes and settings.flag("do_normalize", True)
    include_top = kind == "EfficientNet" and settings.flag("include_top", True)
    if normalizes or include_top:
        divisor = settings.deviations("image_std", processor.std, channels)
        if normalizes:
            mean, std = settings.numbers("image_mean", processor.mean, channels), divisor
        if include_top:  # once more, by the standard deviation alone
            std = tuple(one * again for one, again in zip(std, divisor, strict=True))
    rescale = 1.0
    if settings.flag("do_rescale", True):
        rescale = settings.number("rescale_factor", 1 / 255)
        if rescale <= 0:
            raise settings.refusal("rescale_factor", rescale, "a number above 0")
        if kind == "EfficientNet" and settings.flag("rescale_offset", False):
            mean = tuple(one + 1 for one in mean)
    flips = kind == "MobileViT" and settings.flag("do_flip_channel_order", True) and channels == 3
    read = Preprocessing(
        resize=resize,
        crop=crop,
        resample=_resample(settings, processor),
        rescale=rescale,
        mean=mean,
        std=std,
        order="bgr" if flips else "rgb",
    )
    if resize is None and crop is None:
        fitted = replace(read, resize=image_size)
    else:
        fitted = fit_to(read, image_size)
    return fitted, _scaled(read, fitted, file, image_size)


def from_timm(
    json: Mapping[str, Any],
    image_size: tuple[int, int],
    *,
    channels: int = 3,
    file: str = "config.json",
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Read timm's `pretrained_cfg`: shorter side to `floor(size / crop_pct)`, then centre crop.

    What it gives, the arguments, and the errors are those of `from_processor`.

    Raises:
        CheckpointError: a setting that this library cannot follow, by its name.
    """
    settings = _File(file, {key: value for key, value in json.items() if value is not None})
    said = settings.json.get("input_size", [channels, *image_size])
    if not isinstance(said, list | tuple) or len(said) != 3:
        raise settings.refusal("input_size", said, "[channels, height, width]")
    height, width = _pair(settings, "input_size", list(said)[1:])
    fraction = _fraction(settings, "crop_pct", 0.875)
    scaled = floor(height / fraction), floor(width / fraction)
    mode = settings.json.get("crop_mode", "center")
    if mode == "squash":
        resize: Resize = scaled
    elif mode == "center" and scaled[0] == scaled[1]:
        resize = scaled[0]
    else:
        raise settings.refusal(
            "crop_mode", mode, f'"squash", or "center" for square images (not {height} x {width})'
        )
    resample = settings.json.get("interpolation", "bicubic")
    if resample not in _PILLOW:
        known = f"one of {', '.join(get_args(Resample))}"
        raise settings.refusal("interpolation", resample, known)
    read = Preprocessing(
        resize,
        crop=(height, width),
        crop_rounding="even",
        resample=resample,
        mean=settings.numbers("mean", IMAGENET_MEAN, channels),
        std=settings.deviations("std", IMAGENET_STD, channels),
    )
    fitted = fit_to(read, image_size)
    return fitted, _scaled(read, fitted, file, image_size)


def fit_to(preprocessing: Preprocessing, image_size: tuple[int, int]) -> Preprocessing:
    """The same recipe for another model size: the resize keeps its ratio to the final size."""
    resize, crop = preprocessing.resize, preprocessing.crop
    final = crop or (resize if isinstance(resize, tuple) else None)
    if final == image_size or (final is None and resize is None):
        return preprocessing
    if crop is None and isinstance(resize, tuple):
        return replace(preprocessing, resize=image_size)
    if crop is None:  # a shorter side alone leaves the longer one free, which no model takes
        return replace(preprocessing, crop=image_size, resize=max(image_size))
    if isinstance(resize, tuple):
        scaled = tuple(
            round(size * new / old) for size, new, old in zip(resize, image_size, crop, strict=True)
        )
        return replace(preprocessing, resize=(scaled[0], scaled[1]), crop=image_size)
    if resize is not None:
        ratio = max(new / old for new, old in zip(image_size, crop, strict=True))
        resize = max(round(resize * ratio), *image_size)
    return replace(preprocessing, resize=resize, crop=image_size)


def _kind(file: _File, model_type: str) -> str:
    """The processor's family, by its name without `ImageProcessor`; or the model's own."""
    key = "image_processor_type"
    if file.json.get(key) is None:
        key = "feature_extractor_type"
    name = file.json.get(key)
    if name is None:
        return _OF_MODELS.get(model_type, "ViT")
    kind = str(name).removesuffix("Fast").removesuffix("Pil")
    kind = kind.removesuffix("FeatureExtractor").removesuffix("ImageProcessor")
    if kind not in _PROCESSORS or kind == name:
        raise file.refusal(key, name, f"the ImageProcessor of {', '.join(sorted(_PROCESSORS))}")
    return kind


def _check_keys(file: _File, kind: str, processor: _Processor) -> None:
    """Refuse what is not understood, unless it is off; and padding, which no ViT needs."""
    for key, value in file.json.items():
        if value is None or value is False or key in _WITHOUT_EFFECT:
            continue
        if key == "do_pad" or key not in _FOLLOWED | processor.own:
            raise CheckpointError(
                f"{file.name}: {short_name(key)} {quoted(value)} is not supported for the {kind} "
                f"processor; remove it if the images are to be prepared without it."
            )


def _sizes(file: _File, kind: str, processor: _Processor) -> tuple[Resize | None, Crop]:
    resize, crop = None, None
    if file.flag("do_resize", True):
        square = file.flag("default_to_square", processor.square)
        resize, crop = processor.resized(file, _size(file, processor.size, square))
    if file.flag("do_center_crop", processor.crop is not None):
        value = file.json.get("crop_size", processor.crop or _CROP_ON_REQUEST.get(kind))
        again = _pair(file, "crop_size", value)
        if crop not in (None, again):
            wanted = f"{list(crop)}, to which this processor crops already"
            raise file.refusal("crop_size", value, wanted)
        crop = again
    return resize, crop


def _size(file: _File, default: Mapping[str, int], square: bool) -> Resize:
    value = file.json.get("size", default)
    if isinstance(value, Mapping) and value.keys() == {"shortest_edge"}:
        return _side(file, "size", value["shortest_edge"])
    if not square and not isinstance(value, Mapping | list):
        return _side(file, "size", value)
    return _pair(file, "size", value)


def _pair(file: _File, key: str, value: Any) -> tuple[int, int]:
    """A height and a width as transformers writes them; a bare number means a square."""
    sides = value
    if isinstance(value, Mapping):
        sides = [value["height"], value["width"]] if value.keys() == {"height", "width"} else []
    elif not isinstance(value, list | tuple):
        sides = [value, value]
    if len(sides) != 2:
        raise file.refusal(key, value, "a height and a width")
    return _side(file, key, sides[0]), _side(file, key, sides[1])


def _side(file: _File, key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST:
        raise file.refusal(key, value, f"whole numbers of pixels, from 1 to {_LARGEST}")
    return value


def _fraction(file: _File, key: str, default: float) -> float:
    value = file.number(key, default) or default  # in timm, 0 is not said
    if not 0.01 <= value <= 100:
        raise file.refusal(key, value, "a fraction of the side, as 0.875")
    return value


def _resample(file: _File, processor: _Processor) -> Resample:
    value = file.json.get("resample", _PILLOW.index(processor.resample))
    if value is None:
        return "bilinear"
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(_PILLOW):
        known = ", ".join(f"{number} ({name})" for number, name in enumerate(_PILLOW))
        raise file.refusal("resample", value, f"one of Pillow's numbers {known}")
    return _PILLOW[value]


def _scaled(
    read: Preprocessing, fitted: Preprocessing, file: str, image_size: tuple[int, int]
) -> tuple[str, ...]:
    """A note where the model's size is not that of the file."""
    if read == fitted:
        return ()
    height, width = image_size
    if read.crop is None and isinstance(read.resize, int):
        return (
            f"{file} resizes the shorter side and cuts nothing, but the model takes {height} x "
            f"{width} pixels; the centre is cut out.",
        )
    size = read.crop or read.resize
    if size is None:
        return (
            f"{file} does not resize, but the model takes {height} x {width} pixels only; images "
            f"of other sizes are resized.",
        )
    assert isinstance(size, tuple)
    return (
        f"{file} makes {size[0]} x {size[1]} pixels, but the model takes {height} x {width}; its "
        f"sizes are scaled.",
    )


def _finite(value: int | float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False
