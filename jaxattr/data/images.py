"""Photos in, pixels out: decoding, the checkpoint's own preprocessing, reading ahead in threads.

Colours are Pillow's `convert("RGB")`, because that is what the checkpoints' own pipelines apply:
transparency is dropped, not composited, and CMYK is converted without a colour profile. The one
exception is 16-bit grey, which Pillow would clip at 255 and which is scaled here.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Array, Bool, Float, Float32, UInt8
from PIL import Image, TiffImagePlugin

from jaxattr.data.formats import HEIC_ADVICE
from jaxattr.data.formats import kind as kind_of
from jaxattr.data.threads import map_ahead
from jaxattr.errors import ImageError, ImageWarning, printable
from jaxattr.vit import MAX_PIXELS, Preprocessing

Item = TypeVar("Item")
Result = TypeVar("Result")
File = io.BytesIO | io.BufferedReader
Pixels = UInt8[np.ndarray, "height width channel"]
"""Three channels in the order red, green, blue, or one of grey."""

# A closed list: some of Pillow's other plugins start external programs on what they open. HEIF
# needs pillow-heif. TGA has no mark at the front, so it is asked last.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "HEIF", "AVIF", "TGA"),
)
SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".tga"),
    ]
)

# Registered here, once, so that threads do not race to load them. A build may lack some.
for _plugin in ("Jpeg", "Mpo", "Png", "WebP", "Gif", "Bmp", "Tiff", "Ppm", "Jpeg2K", "Avif", "Tga"):
    with contextlib.suppress(ImportError):
        importlib.import_module(f"PIL.{_plugin}ImagePlugin")

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 0x0102
_PHOTOMETRIC = 0x0106
_SAMPLES_PER_PIXEL = 0x0115
_LARGEST_SAMPLE = 0x0119
_RESIZED_PIXELS = 2**26
_TEXT_BYTES = 2**20  # Pillow's limit of a text chunk in a PNG
_PNG_TEXTS = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")
_BITS, _SIGNIFICANT = "bits of a sample", "significant bits of a sample"
_FULL_RANGE = 2**16 - 1
_DARK = 2**12  # 16-bit pictures whose values stay below look black


def decode(
    source: str | os.PathLike[str] | bytes, *, name: str = "", max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode an image file (or its bytes) into RGB, upright; of an animation the first frame.

    `name` is what errors call the image; default: the path. Raises `ImageError` for what is
    missing, unreadable, damaged, in no supported format, or larger than `max_pixels` or 6 bytes
    for each of them (refused before its pixels are allocated). Gives an `ImageWarning` where
    16-bit values are so small that the picture is nearly black.
    """
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), printable(name or "image bytes"), max_pixels)
    with _opened(source, name) as file:
        return _decode(file, printable(name or source), max_pixels)


def as_decoded(
    image: Image.Image, *, name: str = "image", max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """An image that Pillow holds, as `decode` gives one of a file: RGB, upright; errors as there.

    `name` is what errors call it.
    """
    _check_pixels(image.size, name, max_pixels)
    try:
        return _upright_rgb(image, name)
    except OSError as error:  # Pillow reads pixels when they are first looked at
        raise ImageError(f"{name}: damaged or cut off ({_reason(error)}); open another") from error


def read_mask(
    source: str | os.PathLike[str] | bytes,
    *,
    name: str = "",
    ignored: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> Bool[np.ndarray, "height width"]:
    """Where a mask is not 0: the object, whatever its value; upright as `decode`.

    Any channel counts; transparent pixels are background; of a palette that begins with black the
    indices count, else the colours. JPEG blurs, so there more than half of the largest value.

    Args:
        source: the file or its bytes.
        name: what errors call it; default: the path.
        ignored: bits of the values (of a palette: of the indices) that do not count.
        max_pixels: see `decode`.

    Raises:
        ImageError: as `decode`.
    """
    if isinstance(source, bytes):
        with _loaded(io.BytesIO(source), printable(name or "mask bytes"), max_pixels) as image:
            return _object(image, ignored)
    with (
        _opened(source, name) as file,
        _loaded(file, printable(name or source), max_pixels) as image,
    ):
        return _object(image, ignored)


def read_bytes(source: str | os.PathLike[str], *, name: str = "") -> bytes:
    """The bytes of an image file, for `decode` and a hash of the content; errors as there."""
    with _opened(source, name) as file:
        return file.read()


def fit(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Resize and centre-crop to the model's input size, as the checkpoint's own processor does."""
    mode = "L" if len(preprocessing.mean) == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    pixels = np.array(_cropped(_resized(image, preprocessing), preprocessing))
    return pixels[..., None] if mode == "L" else pixels


def fit_mask(
    mask: Bool[np.ndarray, "height width"], preprocessing: Preprocessing
) -> Bool[np.ndarray, "row column"]:
    """A mask in the model's input: where any of the pixels that fall there is of the object.

    So a thin object is not lost in a smaller picture.
    """
    resized = _resized_size(mask.shape[::-1], preprocessing.resize)
    _check_size(mask.shape[::-1], resized, preprocessing)
    for axis, size in ((0, resized[1]), (1, resized[0])):
        mask = _any_of(mask, axis, size)
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.array(_cropped(image, preprocessing)) > 0


def crop_offset(size: int, crop: int, rounding: str) -> int:
    """Where a centre crop begins, below 0 where it is larger than the picture."""
    margin = size - crop
    if rounding == "down":
        return margin // 2
    return round(margin / 2) if margin >= 0 else -(-margin // 2)  # torchvision pads first


def normalize(
    pixels: Pixels, preprocessing: Preprocessing
) -> Float32[np.ndarray, "height width channel"]:
    """`(pixel * rescale - mean) / std` per channel; colours become grey where one is wanted."""
    if len(preprocessing.mean) == 1 and pixels.shape[-1] == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    if preprocessing.order == "bgr":
        pixels = pixels[..., ::-1]
    # Rounded to float32 after rescaling, as the processors do.
    scaled = (pixels * preprocessing.rescale).astype(np.float32)
    mean, std = (np.array(one, np.float32) for one in (preprocessing.mean, preprocessing.std))
    return (scaled - mean) / std


def denormalize(
    array: Float[np.ndarray, "height width channel"] | Float[Array, "height width channel"],
    preprocessing: Preprocessing,
) -> Pixels:
    """The inverse of `normalize`, rounded and clipped to 8 bits."""
    scaled = np.asarray(array, np.float64) * preprocessing.std + preprocessing.mean
    pixels = np.clip(np.rint(scaled / preprocessing.rescale), 0, 255).astype(np.uint8)
    return pixels[..., ::-1].copy() if preprocessing.order == "bgr" else pixels


def as_rgb(pixels: Pixels) -> UInt8[np.ndarray, "height width 3"]:
    """Pixels for people: grey in three equal channels."""
    return pixels if pixels.shape[-1] == 3 else np.repeat(pixels, 3, axis=-1)


def preprocess(
    source: str | os.PathLike[str] | bytes, preprocessing: Preprocessing, *, name: str = ""
) -> Float32[np.ndarray, "height width channel"]:
    """`decode`, `fit` and `normalize` in one; see there for the errors."""
    image = decode(source, name=name, max_pixels=preprocessing.max_pixels)
    try:
        return normalize(fit(image, preprocessing), preprocessing)
    except ImageError as error:
        subject = name or ("image bytes" if isinstance(source, bytes) else source)
        raise ImageError(f"{printable(subject)}: {error}") from None


def read_ahead(
    items: Iterable[Item],
    function: Callable[[Item], Result],
    *,
    workers: int | None = None,
    ahead: int | None = None,
) -> Iterator[Result | ImageError]:
    """Apply `function` to each item in threads and yield the results in the items' order.

    At most `ahead` items (default: four per worker) are started and not yet consumed, so memory
    is bounded. An `ImageError` is yielded in its item's place; any other exception is raised
    there. Closing the iterator, or an interrupt, drops what has not started and waits for the rest.
    """
    workers = min(8, os.cpu_count() or 1) if workers is None else workers
    ahead = 4 * workers if ahead is None else ahead
    return map_ahead(partial(_attempt, function), items, workers=workers, ahead=ahead)


def thumbnail(pixels: Pixels, size: int = 128) -> bytes:
    """A WebP file, its longer side at most `size` pixels; same pixels, same bytes."""
    image = Image.fromarray(as_rgb(pixels))
    scale = min(1.0, size / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=75, method=2)  # half the time of 4 for 3 % more bytes
    return file.getvalue()


@contextlib.contextmanager
def _opened(source: str | os.PathLike[str], name: str) -> Iterator[io.BufferedReader]:
    """An open file; what goes wrong in opening or reading it becomes an `ImageError`."""
    path, name = Path(source), printable(name or source)
    if "\0" in str(path):
        raise ImageError(f"{name}: no such image file")
    try:
        if path.is_dir():
            raise ImageError(f"{name}: is a folder, wanted an image file")
        if path.exists() and not path.is_file():
            raise ImageError(f"{name}: is not a regular file, wanted an image file")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise ImageError(f"{name}: no such image file") from None
    except OSError as error:
        raise ImageError(f"{name}: cannot be read ({error.strerror}); check the file") from error


def _decode(file: File, name: str, max_pixels: int) -> Image.Image:
    with _loaded(file, name, max_pixels) as image:
        return _upright_rgb(image, name)


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    turn = _turn(image)  # before the conversion, which drops the metadata
    rgb = _rgb(image, name)
    return rgb if turn is None else rgb.transpose(turn)


@contextlib.contextmanager
def _loaded(file: File, name: str, max_pixels: int) -> Iterator[Image.Image]:
    """A loaded image; all that goes wrong with it, in this or in using it, names it."""
    if not file.read(1):
        raise ImageError(f"{name}: is empty (0 bytes); replace or remove it")
    try:
        with _open(file, name) as image:
            _check_pixels(image.size, name, max_pixels)
            image.load()
            yield image
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(
            f"{name}: too large to decode in the available memory; scale it down or leave it out"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name}: one of its frames has too many pixels ({error}); leave it out"
        ) from None
    except Exception as error:  # plugins raise almost anything on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the image's
        raise ImageError(
            f"{name}: damaged or cut off ({_reason(error)}); replace or remove it"
        ) from error


def _open(file: File, name: str) -> Image.Image:
    """What `Image.open` does for the formats of the list, without its limit.

    That limit is a variable of the whole process and a warning, which only filters of the whole
    process make an error; the size is looked at by the caller instead.
    """
    file.seek(0)
    head = file.read(64)
    refused: tuple[str, Exception] | None = None
    for kind in FORMATS:
        factory = _factory(kind, head, file, name)
        if factory is None:
            continue
        try:
            file.seek(0)
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            refused = refused or (kind, error)
    if refused is not None:
        kind, error = refused
        samples = _samples(file, head) if kind == "TIFF" else 0
        if samples > 4:
            raise ImageError(
                f"{name}: a TIFF of {samples} samples a pixel, wanted at most 4; save its red, "
                "green and blue as an image of 8 bits"
            )
        raise ImageError(
            f"{name}: damaged, or a kind of {kind} that cannot be read ({_reason(error)}); save it "
            "again as 8-bit RGB, or remove it"
        ) from error
    if kind_of(head) == "HEIF":
        raise ImageError(
            f"{name}: an HEIC image, which needs pillow-heif ({HEIC_ADVICE}); install it, or save "
            "the image as JPEG"
        )
    known = ", ".join(kind for kind in FORMATS if kind in Image.OPEN)
    raise ImageError(f"{name}: not an image in a supported format ({known}); replace or remove it")


def _factory(kind: str, head: bytes, file: File, name: str) -> Callable[..., Any] | None:
    """What opens a format, where the file's first bytes are of that format."""
    if kind == "HEIF":
        return _heif_factory() if kind_of(head) == "HEIF" else None
    if kind not in Image.OPEN:
        return None
    factory, accept = Image.OPEN[kind]
    if kind == "TGA":
        return factory if _is_targa(file, name) else None
    if kind == "PNG":
        factory = partial(_open_png, factory)
    # A text in place of the answer says that this build of Pillow cannot read the format.
    return factory if accept is not None and accept(head[:16]) is True else None


def _heif_factory() -> Callable[..., Any] | None:
    try:
        return importlib.import_module("pillow_heif").HeifImageFile
    except (ImportError, AttributeError):
        return None


def _is_targa(file: File, name: str) -> bool:
    """Whether the name says so, or the mark at the end of the format's second version."""
    if name.rstrip("'\"").lower().endswith(".tga"):
        return True
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - 26))
    return kind_of(b"", file.read()) == "TGA"


def _open_png(factory: Callable[..., Any], file: File, name: str) -> Image.Image:
    """A PNG without its colour profile and texts, on whose length Pillow gives up.

    Neither changes a pixel here, but for two texts that may hold the orientation. Chunks that are
    not whole are left to Pillow.
    """
    data = file.read()
    kept, start, significant = [data[:8]], 8, b""
    while start + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        end = start + 12 + length
        if end > len(data):
            break
        content = data[start + 8 : end - 4]
        if kind == b"sBIT":
            significant = content
        if kind not in _PNG_TEXTS or (kind != b"iCCP" and _tells_orientation(kind, content)):
            kept.append(data[start:end])
        start = end
    kept.append(data[start:])
    image = factory(io.BytesIO(b"".join(kept)), name)
    image.info |= {_BITS: data[24], _SIGNIFICANT: max(significant, default=data[24])}
    return image


def _tells_orientation(kind: bytes, text: bytes) -> bool:
    """Whether a text chunk of a PNG is one from which Pillow takes the orientation."""
    keyword, _, rest = text.partition(b"\0")
    if keyword not in (b"XML:com.adobe.xmp", b"Raw profile type exif"):
        return False
    if kind == b"zTXt":
        packed = rest[1:]
    else:  # after its flags and two more texts
        packed = rest[2:].split(b"\0", 2)[-1] if kind == b"iTXt" and rest[:1] == b"\1" else b""
    stream = zlib.decompressobj()
    with contextlib.suppress(zlib.error):
        stream.decompress(packed, _TEXT_BYTES)
    return len(text) <= _TEXT_BYTES and not stream.unconsumed_tail


def _check_pixels(size: tuple[int, int], name: str, max_pixels: int) -> None:
    """Refuse what would take too much memory, by its header."""
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width} x {height} = {width * height} pixels, more than {max_pixels}, "
            "refused as a possible decompression bomb; allow more with --max-pixels "
            "(`Preprocessing.max_pixels`), scale it down or leave it out"
        )
    needed = height * (4 * width + 8)  # Pillow's: four bytes a pixel, and a pointer a row
    if needed > 6 * max_pixels:
        raise ImageError(
            f"{name}: {width} x {height} pixels take {needed >> 20} MB, more than "
            f"{6 * max_pixels >> 20}, refused as a possible decompression bomb; allow more with "
            "--max-pixels (`Preprocessing.max_pixels`), crop it or leave it out"
        )


def _samples(file: File, head: bytes) -> int:
    """How many samples a pixel a TIFF's header says it has, 0 where it cannot be read."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(head[:8])
        file.seek(tags.next)
        tags.load(file)
        return int(tags.get(_SAMPLES_PER_PIXEL, 1))
    except (OSError, ValueError, TypeError, SyntaxError, struct.error):  # of a damaged header
        return 0


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the picture upright, where its metadata tell."""
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken metadata beside intact pixels
        return None


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _from_16_bits(image, name)
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{name}: pixels are 32-bit numbers of unknown range (mode {image.mode}); "
            "save it with 8 or 16 bits"
        )
    if image.mode == "LAB":
        raise ImageError(f"{name}: its colours are CIE Lab, which cannot be read; save it as RGB")
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same colours, without Pillow's warning
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (image.info.get(_BITS, 8),))[0]
    rgb = image.convert("RGB")
    if bits == 16:  # of which Pillow keeps the upper eight
        brightest = int(np.asarray(rgb).max(initial=0))
        if 0 < brightest < _DARK >> 8:
            _warn_of_darkness(name, f"below {(brightest + 1) << 8} of {_FULL_RANGE}")
    return rgb


def _from_16_bits(image: Image.Image, name: str) -> Image.Image:
    """16-bit grey to 8 bits, from the range that the file itself states."""
    values = np.asarray(image).astype(np.int64)
    brightest = int(values.max(initial=0))
    largest = _stated_largest(image)
    # A PNG of 12 significant bits should hold them spread over all 16, but not all do.
    if brightest > largest:
        largest = _FULL_RANGE
    if largest == _FULL_RANGE and 0 < brightest < _DARK:
        _warn_of_darkness(name, f"at most {brightest} of {_FULL_RANGE}")
    grey = (values * 255 + largest // 2) // largest
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # 0 is white
        grey = 255 - grey
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _stated_largest(image: Image.Image) -> int:
    """The largest value that a file of 16-bit grey says it can hold."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (image.info.get(_SIGNIFICANT, 16),))[0]
    largest = tags.get(_LARGEST_SAMPLE, 0)
    largest = largest[0] if isinstance(largest, tuple) else largest
    # Some writers put the picture's own maximum there; only a number of bits is a range.
    if largest in [2**one - 1 for one in range(9, 16)]:
        return int(largest)
    return 2**bits - 1 if 8 < bits < 16 else _FULL_RANGE


def _warn_of_darkness(name: str, found: str) -> None:
    warnings.warn(
        f"{name}: its 16-bit values are {found}, so it is nearly black; if they have fewer bits, "
        "as those of 12-bit cameras, scale them to the full range",
        ImageWarning,
        stacklevel=2,
    )


def _object(image: Image.Image, ignored: int) -> np.ndarray:
    jpeg, turn = image.format in ("JPEG", "MPO"), _turn(image)
    if image.mode == "P" and not ignored and any((image.getpalette("RGB") or [0])[:3]):
        image = image.convert("RGB")
    image = image if turn is None else image.transpose(turn)
    values = np.asarray(image)
    values = values.reshape(*values.shape[:2], -1)
    if jpeg:
        return (values > values.max(initial=0) / 2).any(axis=-1)
    if image.mode[-1] in "Aa":  # with transparency
        seen, values = values[..., -1] > 0, values[..., :-1]
        coloured = seen & (values != 0).any(axis=-1)
        return coloured if coloured.any() or seen.all() else seen
    return ((values & ~values.dtype.type(ignored) if ignored else values) != 0).any(axis=-1)


def _resized(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    if preprocessing.resize is None:
        return image
    size = _resized_size(image.size, preprocessing.resize)
    _check_size(image.size, size, preprocessing)
    return image.resize(size, Image.Resampling[preprocessing.resample.upper()])


def _check_size(
    size: tuple[int, int], resized: tuple[int, int], preprocessing: Preprocessing
) -> None:
    # Pillow resizes along the rows first: this many pixels lie between.
    if resized[0] * max(size[1], resized[1]) > _RESIZED_PIXELS:
        to = preprocessing.resize
        aim = f"the shorter side to {to}" if isinstance(to, int) else f"it to {to}"
        raise ImageError(
            f"{size[0]} x {size[1]} pixels are too long and thin to resize {aim}; crop the image "
            "or leave it out"
        )


def _cropped(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    if preprocessing.crop is None:
        return image
    height, width = preprocessing.crop
    rounding = preprocessing.crop_rounding
    top = crop_offset(image.height, height, rounding)
    left = crop_offset(image.width, width, rounding)
    # Outside the image Pillow fills with zeros, and so do the processors.
    return image.crop((left, top, left + width, top + height))


def _any_of(mask: np.ndarray, axis: int, size: int) -> np.ndarray:
    """The mask with `size` rows or columns, each true where any that it covers is."""
    length = mask.shape[axis]
    first = np.arange(size) * length // size
    last = np.maximum(-(-(np.arange(size) + 1) * length // size), first + 1)
    total = np.concatenate(
        [np.zeros_like(mask.take([0], axis), np.int64), mask.cumsum(axis)], axis=axis
    )
    return total.take(last, axis) > total.take(first, axis)


def _resized_size(size: tuple[int, int], resize: tuple[int, int] | int | None) -> tuple[int, int]:
    """Pillow's (width, height) after resizing; the longer side is rounded down."""
    if resize is None:
        return size
    if isinstance(resize, tuple):
        return resize[1], resize[0]
    width, height = size
    if width <= height:
        return resize, int(resize * height / width)
    return int(resize * width / height), resize


def _attempt(function: Callable[[Item], Result], item: Item) -> Result | ImageError:
    try:
        return function(item)
    except ImageError as error:
        return error
