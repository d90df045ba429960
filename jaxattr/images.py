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
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Array, Float, Float32, UInt8
from PIL import Image

from jaxattr.errors import ImageError
from jaxattr.threads import map_ahead
from jaxattr.types import Preprocessing

Item = TypeVar("Item")
Result = TypeVar("Result")
Pixels = UInt8[np.ndarray, "height width 3"]

# A closed list: some of Pillow's other plugins start external programs on what they open.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
    ]
)

# Registered here, once, so that threads do not race to load them. A build may lack some.
for _plugin in ("Jpeg", "Mpo", "Png", "WebP", "Gif", "Bmp", "Tiff", "Ppm", "Jpeg2K", "Avif"):
    with contextlib.suppress(ImportError):
        importlib.import_module(f"PIL.{_plugin}ImagePlugin")

# Once, at import: changing the filters around each call would not be safe with threads.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

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
_RESIZED_PIXELS = 2**28


def printable(path: object) -> str:
    """A path as one line of text, escaped where it holds line breaks or undecodable bytes."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def decode(source: str | os.PathLike[str] | bytes, *, name: str = "") -> Image.Image:
    """Decode an image file (or its bytes) into RGB, upright; of an animation the first frame.

    `name` is what errors call the image; default: the path. Raises `ImageError` for what is
    missing, unreadable, damaged, in no supported format, or larger than
    `PIL.Image.MAX_IMAGE_PIXELS` (refused before its pixels are allocated).
    """
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), printable(name or "image bytes"))
    with _opened(source, name) as file:
        return _decode(file, printable(name or source))


def read_bytes(source: str | os.PathLike[str], *, name: str = "") -> bytes:
    """The bytes of an image file, for `decode` and a hash of the content; errors as there."""
    with _opened(source, name) as file:
        return file.read()


def fit(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Resize and centre-crop to the model's input size, as the checkpoint's own processor does."""
    image = image if image.mode == "RGB" else image.convert("RGB")
    size = _resized_size(image.size, preprocessing.resize)
    if size[0] * size[1] > _RESIZED_PIXELS:
        raise ImageError(
            f"{image.width} x {image.height} pixels are too long and thin to resize the shorter "
            f"side to {preprocessing.resize}; crop the image or leave it out"
        )
    if preprocessing.resize is not None:
        image = image.resize(size, Image.Resampling[preprocessing.resample.upper()])
    if preprocessing.crop is not None:
        height, width = preprocessing.crop
        top, left = (image.height - height) // 2, (image.width - width) // 2
        # Outside the image Pillow fills with zeros, and so do the processors.
        image = image.crop((left, top, left + width, top + height))
    return np.array(image)


def normalize(
    pixels: Pixels, preprocessing: Preprocessing
) -> Float32[np.ndarray, "height width 3"]:
    """`(pixel * rescale - mean) / std` per channel."""
    # Rounded to float32 after rescaling, as the processors do.
    scaled = (pixels * preprocessing.rescale).astype(np.float32)
    mean, std = (np.array(one, np.float32) for one in (preprocessing.mean, preprocessing.std))
    return (scaled - mean) / std


def denormalize(
    array: Float[np.ndarray, "height width 3"] | Float[Array, "height width 3"],
    preprocessing: Preprocessing,
) -> Pixels:
    """The inverse of `normalize`, rounded and clipped to 8 bits."""
    scaled = np.asarray(array, np.float64) * preprocessing.std + preprocessing.mean
    return np.clip(np.rint(scaled / preprocessing.rescale), 0, 255).astype(np.uint8)


def preprocess(
    source: str | os.PathLike[str] | bytes, preprocessing: Preprocessing, *, name: str = ""
) -> Float32[np.ndarray, "height width 3"]:
    """`decode`, `fit` and `normalize` in one; see there for the errors."""
    image = decode(source, name=name)
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
    image = Image.fromarray(pixels)
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
            raise ImageError(f"{name}: is no regular file, wanted an image file")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise ImageError(f"{name}: no such image file") from None
    except OSError as error:
        raise ImageError(f"{name}: cannot be read ({error.strerror}); check the file") from error


def _decode(file: io.BytesIO | io.BufferedReader, name: str) -> Image.Image:
    if not file.read(1):
        raise ImageError(f"{name}: is empty (0 bytes); replace or remove it")
    file.seek(0)
    formats = [one for one in FORMATS if one in Image.OPEN]
    try:
        with Image.open(file, formats=formats) as image:
            limit = Image.MAX_IMAGE_PIXELS  # once more, in case the host program ignores warnings
            if limit is not None and image.width * image.height > limit:
                raise Image.DecompressionBombError(f"({image.width * image.height} pixels)")
            image.load()
            return _rgb(_upright(image), name)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        count = re.search(r"\d+", str(error))  # Pillow's message begins with the size
        raise ImageError(
            f"{name}: {count[0] if count else 'too many'} pixels, more than "
            f"{Image.MAX_IMAGE_PIXELS}, refused as a possible decompression bomb; scale it down or "
            "leave it out"
        ) from None
    except Image.UnidentifiedImageError:
        raise ImageError(
            f"{name}: not an image in a supported format ({', '.join(formats)}); "
            "replace or remove it"
        ) from None
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # plugins raise almost anything on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the image's
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name}: damaged or cut off ({reason}); replace or remove it") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken metadata beside intact pixels
        orientation = 1
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _from_16_bits(image)
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{name}: pixels are 32-bit numbers of unknown range (mode {image.mode}); "
            "save it with 8 or 16 bits"
        )
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same colours, without Pillow's warning
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
    largest = 2 ** (bits if bits in (12, 16) else 16) - 1
    values = np.minimum(np.asarray(image), largest).astype(np.uint32)
    grey = (values * 255 + largest // 2) // largest
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


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
