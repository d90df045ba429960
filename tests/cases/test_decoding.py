"""Images as people have them are decoded, or refused in one true line."""

from __future__ import annotations

import io
import re
import runpy
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from jaxattr.data import images
from jaxattr.errors import ImageError, ImageWarning
from jaxattr.vit import Preprocessing


def picture(height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def encoded(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes, **options) -> np.ndarray:
    return np.array(images.decode(data, **options))


def chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(rows)))
    return b"".join((b"\x89PNG\r\n\x1a\n", *parts, chunk(b"IEND", b"")))


def grey16(values: np.ndarray, *more: bytes) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, 0, rows, *more)


LONG = zlib.compress(b"n" * (1 << 21))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"Comment\0\0" + LONG),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + LONG),
        chunk(b"tEXt", b"Comment\0" + b"n" * (1 << 21)),
        chunk(b"iCCP", b"profile\0\0" + LONG),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + LONG),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG),
    ],
    ids=["zTXt", "iTXt", "tEXt", "iCCP", "exif", "xmp"],
)
@pytest.mark.parametrize("place", [33, -12])
def test_long_texts_and_profiles_of_a_png_are_passed_over(extra, place):
    """Pillow refuses most of them; before the pixels and after them."""
    data = encoded(picture(), "PNG")
    data = data[:place] + extra + data[place:]
    np.testing.assert_array_equal(decoded(data), picture())


def test_the_orientation_in_a_text_is_kept():
    text = PngImagePlugin.PngInfo()
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    text.add_itxt("XML:com.adobe.xmp", xmp)
    text.add_text("Comment", "n" * (1 << 21))
    found = decoded(encoded(picture(), "PNG", pnginfo=text))
    np.testing.assert_array_equal(found, np.rot90(picture(), -1))


def test_five_samples_a_pixel_are_called_that():
    data = np.zeros((4, 4, 5), np.uint8).tobytes()
    tags = [(256, 4), (257, 4), (258, 8), (259, 1), (262, 2), (273, 200), (277, 5), (279, 80)]
    tags += [(284, 1), (338, 0)]
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    with pytest.raises(ImageError, match=r"^five\.tif: a TIFF of 5 samples a pixel, wanted at mo"):
        images.decode(head.ljust(200, b"\0") + data, name="five.tif")


VALUES = np.array([[0, 1000, 2048, 4095]], np.uint16)
OF_12_BITS = np.rint(VALUES / 4095 * 255).astype(int)


def tiff(values: np.ndarray, **tags: int) -> bytes:
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in tags.items():
        directory[{"largest": 281, "photometric": 262}[name]] = value
    return encoded(Image.fromarray(values), "TIFF", tiffinfo=directory)


@pytest.mark.parametrize(
    "data",
    [grey16(VALUES, chunk(b"sBIT", b"\x0c")), tiff(VALUES, largest=4095)],
    ids=["sBIT", "MaxSampleValue"],
)
def test_twelve_bits_in_sixteen_where_the_file_says_so(data):
    assert decoded(data)[..., 0].tolist() == OF_12_BITS.tolist()


def test_significant_bits_that_are_spread_over_sixteen_are_taken_as_they_are():
    """As the standard wants it: 12 bits are scaled up, and `sBIT` remembers them."""
    values = np.array([[0, 30000, 65535]], np.uint16)
    found = decoded(grey16(values, chunk(b"sBIT", b"\x0c")))
    assert found[..., 0].tolist() == [[0, 117, 255]]


def test_sixteen_bits_that_are_nearly_black_are_warned_of():
    colours = np.repeat(VALUES, 3, axis=0).T.astype(">u2").tobytes()
    for data in (grey16(VALUES), tiff(VALUES), png(4, 1, 16, 2, b"\0" + colours)):
        with pytest.warns(ImageWarning, match=r"^dark\.png: its 16-bit values are .* nearly black"):
            found = decoded(data, name="dark.png")
        assert found.max() in (15, 16)
    for fine in (grey16(VALUES * 16), grey16(VALUES * 0)):
        decoded(fine)


def test_white_is_zero_in_sixteen_bits():
    found = decoded(tiff(np.array([[0, 65535, 257]], np.uint16), photometric=0))
    assert found[..., 0].tolist() == [[255, 0, 254]]


def test_a_turned_sixteen_bit_image_is_both():
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encoded(Image.fromarray(VALUES * 16), "PNG", exif=exif)
    assert decoded(data)[..., 0].tolist() == [OF_12_BITS[0][::-1].tolist()]


def test_targa_by_its_name_or_its_mark():
    for options in ({}, {"compression": "tga_rle"}):
        data = encoded(picture(), "TGA", **options)
        assert data.endswith(b"TRUEVISION-XFILE.\0")
        np.testing.assert_array_equal(decoded(data), picture())
        np.testing.assert_array_equal(decoded(data[:-26], name="scan.TGA"), picture())
    for name, text in (("a.tga", b"no picture, but words " * 9), ("b", bytes(60))):
        with pytest.raises(ImageError, match=r"TGA that cannot be read|not an image"):
            images.decode(text, name=name)


@pytest.mark.skipif(images._heif_factory() is not None, reason="pillow-heif is installed")
def test_heic_names_what_reads_it():
    head = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic")
    with pytest.raises(ImageError, match=r'HEIC image, which needs pillow-heif.*"jaxattr\[heic\]"'):
        images.decode(head + bytes(100))


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((10_000, 9_000), "90000000 pixels, more than 89478485, .*--max-pixels"),
        ((1, 89_478_485), "take 1023 MB, more than 511.*--max-pixels"),
        ((40_000_000, 1), "too large to decode in the available memory"),
    ],
)
def test_the_limit_is_of_pixels_and_of_memory(size, said):
    data = png(size[0], size[1], 16, 6, b"")
    assert len(data) < 80
    results = list(images.read_ahead([data, encoded(picture(), "PNG")], images.decode))
    assert isinstance(results[0], ImageError)
    assert re.search(said, str(results[0]))
    assert isinstance(results[1], Image.Image)


def test_the_limit_is_a_value():
    data = encoded(picture(), "PNG")
    before = Image.MAX_IMAGE_PIXELS
    decoded(data, max_pixels=600)
    with pytest.raises(ImageError, match="20 = 600 pixels, more than 599, refused"):
        images.decode(data, max_pixels=599)
    with pytest.raises(ImageError, match="more than 599"):
        images.preprocess(data, Preprocessing((8, 8), max_pixels=599))
    assert before == Image.MAX_IMAGE_PIXELS
    # More than Pillow's own limit, which is a warning there.
    with pytest.raises(ImageError, match="cut off"):
        images.decode(png(10_000, 18_500, 1, 0, b""), max_pixels=2 * 10**8)


def test_pillows_limit_of_the_process_is_not_asked(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    np.testing.assert_array_equal(decoded(encoded(picture(), "PNG")), picture())


def test_thin_images_are_refused_before_they_are_stretched():
    with pytest.raises(ImageError, match="too long and thin to resize it to"):
        images.fit(Image.new("L", (1, 400_000)), Preprocessing((224, 224)))


def test_importing_leaves_the_filters_of_the_process_alone():
    before = list(warnings.filters)
    runpy.run_path(images.__file__)
    assert warnings.filters == before


@pytest.mark.parametrize("filters", ["error", "ignore"])
def test_an_image_or_an_image_error_whatever_the_filters(filters):
    """Damaged in every way, in threads: nothing else is raised."""
    rng = np.random.default_rng(0)
    files = [encoded(picture(), kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "PPM", "TGA")]
    files += [encoded(picture(), "TIFF", compression=c) for c in ("raw", "tiff_lzw")]
    files += [grey16(VALUES * 16), encoded(picture(), "WEBP"), encoded(picture(), "MPO")]
    damaged = []
    for data in files * 25:
        changed = np.frombuffer(data, np.uint8).copy()
        at = rng.integers(0, min(len(data), 200), rng.integers(1, 9))
        changed[at] = rng.integers(0, 256, at.shape)
        damaged.append(changed.tobytes()[: rng.integers(1, 2 * len(data))])
    with warnings.catch_warnings():
        warnings.simplefilter(filters)
        found = list(images.read_ahead(damaged, images.decode, workers=3))
    kinds = {type(one) for one in found}
    assert kinds == {ImageError, Image.Image}
    assert all("\n" not in str(one) for one in found if isinstance(one, ImageError))
    assert not any(one.name.startswith("map-ahead") for one in threading.enumerate())


def test_the_commands_say_it_in_a_line(capsys):
    from jaxattr.cli.main import _warnings_in_a_line

    before = list(warnings.filters)
    with _warnings_in_a_line():
        for name in ("a\nb.png", "a\nb.png"):  # not once only
            decoded(grey16(VALUES), name=name)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith(r"Warning: 'a\nb.png': its 16-bit values are at most 4095 of 65535")
    assert warnings.filters == before
