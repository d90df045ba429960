"""Decoding and preprocessing against Pillow's own turning, and transformers' image processors."""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from conftest import outside
from PIL import Image, ImageOps

from jaxattr.data import images
from jaxattr.errors import ImageError
from jaxattr.vit import Preprocessing

VIT = Preprocessing((224, 224), None, "bilinear")
DEIT = Preprocessing(
    (256, 256), (224, 224), "bicubic", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
)
EDGE = Preprocessing(48, (40, 56), "lanczos")


def picture(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    """Smooth colours with some detail, so that JPEG keeps them within a few levels."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
    return np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand, for what Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def decoded(data: bytes) -> np.ndarray:
    image = images.decode(data)
    assert image.mode == "RGB"
    return np.array(image)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_are_exact(kind):
    pixels = picture()
    np.testing.assert_array_equal(decoded(encoded(pixels, kind)), pixels)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 95}),
    ],
)
def test_photo_formats(kind, options):
    pixels = picture()
    found = decoded(encoded(pixels, kind, **options)).astype(int)
    assert np.abs(found - pixels).mean() < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(), kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    found = decoded(data)
    assert found.shape == ((40, 60, 3) if orientation < 5 else (60, 40, 3))
    np.testing.assert_array_equal(found, expected)


def test_exif_orientation_six_by_hand():
    """The camera was turned: the stored left edge is the top of the scene, right to left."""
    stored = np.zeros((2, 3, 3), np.uint8)
    stored[1, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = decoded(encoded(stored, "PNG", exif=exif))
    assert upright.shape == (3, 2, 3)
    assert upright[0, 0].tolist() == [255, 255, 255]


def test_broken_exif_does_not_lose_the_photo():
    pixels = picture()
    data = encoded(pixels, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert decoded(data).shape == pixels.shape


def test_grey_and_bilevel():
    grey = np.arange(0, 250, 10, dtype=np.uint8).reshape(5, 5)
    for kind in ("PNG", "TIFF", "JPEG"):
        found = decoded(encoded(grey, kind, **({"quality": 100} if kind == "JPEG" else {})))
        assert np.abs(found.astype(int) - grey[..., None]).max() <= (2 if kind == "JPEG" else 0)
    found = decoded(encoded(Image.fromarray(grey > 100), "PNG"))
    np.testing.assert_array_equal(found[..., 1], np.where(grey > 100, 255, 0))


@pytest.mark.parametrize("transparency", [None, 1, bytes([0, 128, 255])])
def test_palette(transparency):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    options = {} if transparency is None else {"transparency": transparency}
    found = decoded(encoded(image, "PNG", **options))
    assert found.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]


def test_transparency_is_dropped_as_the_checkpoints_pipelines_do():
    rgba = np.dstack([picture(), np.tile(np.arange(60, dtype=np.uint8), (40, 1))])
    np.testing.assert_array_equal(decoded(encoded(rgba, "PNG")), rgba[..., :3])
    grey = Image.merge("LA", (Image.new("L", (2, 2), 77), Image.new("L", (2, 2), 0)))
    assert (decoded(encoded(grey, "PNG")) == 77).all()


def test_cmyk_and_its_inverted_jpeg():
    """Adobe's JPEGs store ink inverted; white paper must not come out black."""
    pixels = picture()
    data = encoded(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=98)
    assert b"Adobe" in data
    assert np.abs(decoded(data).astype(int) - pixels).mean() < 4
    data = encoded(Image.fromarray(pixels).convert("CMYK"), "TIFF")
    np.testing.assert_array_equal(decoded(data), pixels)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.array([[0, 128, 129, 257, 32768, 65278, 65535]], np.uint16)
    expected = np.rint(values / 257).astype(int)
    files = {
        "PNG": encoded(Image.fromarray(values), "PNG"),
        "TIFF": encoded(Image.fromarray(values), "TIFF"),
        "PGM": b"P5 7 1 65535\n" + values.astype(">u2").tobytes(),
    }
    big_endian = struct.pack(">2sHI", b"MM", 42, 8) + tiff_directory(values, 16)
    for name, data in {**files, "TIFF big-endian": big_endian}.items():
        found = decoded(data)
        assert found[..., 0].tolist() == expected.tolist(), name
        assert (found == found[..., :1]).all()


def tiff_directory(values: np.ndarray, bits: int) -> bytes:
    """One uncompressed grey strip, big-endian, after an 8-byte header."""
    height, width = values.shape
    data = values.astype(">u2").tobytes()
    start = 8 + 2 + 8 * 12 + 4
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, start)]
    tags += [(277, 1), (279, len(data))]
    entries = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    return struct.pack(">H", len(tags)) + entries + struct.pack(">I", 0) + data


def test_sixteen_bit_colour():
    rows = b"\0" + bytes([0x12, 0xFF, 0x34, 0x80, 0x56, 0x00])
    found = decoded(png(1, 1, 16, 2, rows)).astype(int)
    assert np.abs(found - [0x12FF / 257, 0x3480 / 257, 0x5600 / 257]).max() <= 1


def test_pixels_without_a_known_range_are_refused():
    data = encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF")
    with pytest.raises(ImageError, match="32-bit numbers of unknown range"):
        images.decode(data)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == 2
    assert (decoded(data) == [255, 0, 0]).all()


def test_suffix_does_not_decide_the_format(tmp_path):
    path = tmp_path / "really_png.JPEG"
    path.write_bytes(encoded(picture(), "PNG"))
    np.testing.assert_array_equal(np.array(images.decode(path)), picture())
    np.testing.assert_array_equal(np.array(images.decode(str(path))), picture())


def bad_files() -> dict[str, tuple[bytes, str]]:
    photo = encoded(picture(200, 300), "JPEG")
    drawn = encoded(picture(200, 300), "PNG")
    return {
        "truncated.jpg": (photo[: len(photo) // 2], "damaged or cut off"),
        "truncated.png": (drawn[: len(drawn) // 2], "damaged or cut off"),
        "header only.jpg": (photo[:20], "not an image|damaged"),
        "empty.jpg": (b"", "is empty"),
        "text.jpg": (b"This is no photo.\n" * 9, "not an image in a supported format"),
        "bomb.png": (png(50_000, 50_000, 8, 2, b""), "decompression bomb"),
        "large.png": (png(10_000, 10_000, 8, 2, b""), "decompression bomb"),
        "program.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "not an image"),
        "two\nlines.jpg": (b"nothing", "not an image"),
    }


@pytest.mark.parametrize("name", list(bad_files()))
@pytest.mark.parametrize("filters", ["error", "ignore"])
def test_bad_files_in_one_line(tmp_path, name, filters):
    data, said = bad_files()[name]
    path = tmp_path / name
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter(filters)
        with pytest.raises(ImageError, match=said) as error:
            images.decode(path)
        with pytest.raises(ImageError, match=said) as again:
            images.preprocess(data, VIT, name=name)
    for message in (str(error.value), str(again.value)):
        assert "\n" not in message
        assert name.split("\n")[-1] in message


def test_bad_paths_in_one_line(tmp_path):
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    cases = {
        tmp_path: "is a folder",
        tmp_path / "absent.jpg": "no such image file",
        loop: "cannot be read",
        tmp_path / ("x" * 300): "cannot be read",
        pipe: "is not a regular file",
    }
    for path, said in cases.items():
        with pytest.raises(ImageError, match=said) as error:
            images.decode(path)
        with pytest.raises(ImageError, match=said):
            images.read_bytes(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(ImageError, match="no such image file"):
        images.decode("a\0b.jpg")


def test_unreadable_file(tmp_path, monkeypatch):
    path = tmp_path / "locked.jpg"
    path.write_bytes(encoded(picture(), "JPEG"))
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything
        locked = PermissionError(13, "Permission denied")
        monkeypatch.setattr("pathlib.Path.open", lambda *_: (_ for _ in ()).throw(locked))
    with pytest.raises(ImageError, match=r"locked\.jpg: cannot be read \(Permission denied\)"):
        images.decode(path)


def test_bomb_is_refused_before_its_pixels_are_allocated(monkeypatch):
    def no_pixels(*_):
        raise AssertionError("pixels were allocated")

    monkeypatch.setattr(Image.core, "new", no_pixels)
    monkeypatch.setattr(Image.core, "fill", no_pixels)
    with pytest.raises(ImageError, match="decompression bomb"):
        images.decode(png(50_000, 50_000, 8, 2, b""))


def test_too_thin_to_resize():
    thin = encoded(np.zeros((1, 60_000, 3), np.uint8), "PNG")
    with pytest.raises(ImageError, match=r"thin\.png: 60000 x 1 pixels are too long and thin"):
        images.preprocess(thin, Preprocessing(256, (224, 224)), name="thin.png")


def processor(preprocessing: Preprocessing):
    """transformers' own processor on Pillow, with these settings."""
    pytest.importorskip("transformers")
    try:
        from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil as DeiT
        from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil as ViT
    except ImportError:  # before 5: one class, on Pillow
        from transformers import DeiTImageProcessor as DeiT
        from transformers import ViTImageProcessor as ViT
    resize, crop = preprocessing.resize, preprocessing.crop
    if isinstance(resize, int):
        size = {"shortest_edge": resize}
    else:
        assert resize is not None
        size = {"height": resize[0], "width": resize[1]}
    kind: Any = ViT if crop is None else DeiT
    options = {} if crop is None else {"crop_size": {"height": crop[0], "width": crop[1]}}
    return kind(
        size=size,
        resample=int(Image.Resampling[preprocessing.resample.upper()]),
        image_mean=list(preprocessing.mean),
        image_std=list(preprocessing.std),
        **options,
    )


def assert_as_processor(decoded_images, preprocessing: Preprocessing) -> None:
    own = processor(preprocessing)
    try:
        own(images=decoded_images[0], return_tensors="np")
    except ValueError as error:
        pytest.skip(f"this release of transformers cannot do it: {error}")
    for image in decoded_images:
        result = own(images=image, return_tensors="np")["pixel_values"][0]
        expected = np.moveaxis(np.asarray(result), 0, -1)
        pixels = images.fit(image, preprocessing)
        assert pixels.dtype == np.uint8
        found = images.normalize(pixels, preprocessing)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
        # The same in grey levels.
        levels = images.denormalize(expected, preprocessing).astype(int)
        assert np.abs(levels - pixels).max() <= 1


@pytest.mark.parametrize("preprocessing", [VIT, DEIT, EDGE], ids=["vit", "deit", "edge"])
def test_fit_is_the_processors(preprocessing):
    sizes = [(40, 60), (61, 37), (224, 224), (300, 451), (17, 200), (9, 9)]
    drawn = [Image.fromarray(picture(*size, seed=seed)) for seed, size in enumerate(sizes)]
    assert_as_processor(drawn, preprocessing)


def test_crop_larger_than_the_image_is_filled_as_the_processor_does():
    preprocessing = Preprocessing((20, 31), (33, 28), "bicubic")
    assert_as_processor([Image.fromarray(picture())], preprocessing)


@pytest.mark.outside
@pytest.mark.parametrize(
    "preprocessing",
    [VIT, DEIT, Preprocessing(256, (224, 224), "bicubic")],
    ids=["vit", "deit", "edge"],
)
def test_real_photos_as_the_processors(preprocessing):
    photos = sorted(outside("images", "imagenet-photos").glob("*/*.jpg"))[::50]
    demos = [path for path in sorted(outside("images", "demo").iterdir()) if path.suffix != ".txt"]
    photos += [path for path in demos if path.suffix.lower() in images.SUFFIXES]
    assert len(photos) >= 50
    opened = [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in photos]
    for path, image in zip(photos, opened, strict=True):
        np.testing.assert_array_equal(np.array(images.decode(path)), np.array(image))
    assert_as_processor(opened, preprocessing)


def test_without_resize_and_crop_pixels_stay():
    pixels = picture()
    none = Preprocessing(None)
    found = images.fit(Image.fromarray(pixels), none)
    np.testing.assert_array_equal(found, pixels)
    found[0, 0] = 0  # writable


def test_denormalize_is_the_inverse():
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    for preprocessing in (VIT, DEIT):
        back = images.denormalize(images.normalize(every, preprocessing), preprocessing)
        np.testing.assert_array_equal(back, every)
    far = np.array([[[-9.0, 0.0, 9.0]]], np.float32)
    assert images.denormalize(far, VIT).tolist() == [[[0, 128, 255]]]


def test_preprocess_is_all_three(tmp_path):
    path = tmp_path / "one.png"
    path.write_bytes(encoded(picture(), "PNG"))
    expected = images.normalize(images.fit(Image.fromarray(picture()), DEIT), DEIT)
    np.testing.assert_array_equal(images.preprocess(path, DEIT), expected)
    np.testing.assert_array_equal(images.preprocess(images.read_bytes(path), DEIT), expected)


def test_thumbnail_is_small_and_repeatable():
    pixels = picture(300, 200)
    first = images.thumbnail(pixels)
    assert all(one == first for one in images.read_ahead([pixels] * 6, images.thumbnail, workers=3))
    with Image.open(io.BytesIO(first)) as image:
        assert (image.format, image.size) == ("WEBP", (85, 128))
        small = np.array(Image.fromarray(pixels).resize(image.size, Image.Resampling.BOX))
        assert np.abs(np.array(image.convert("RGB")).astype(int) - small).mean() < 4
    with Image.open(io.BytesIO(images.thumbnail(pixels[:20, :30]))) as image:
        assert image.size == (30, 20)  # never enlarged


def test_read_ahead_yields_image_errors_and_raises_others():
    def sometimes(item: int) -> int:
        if item == 2:
            raise ImageError("two.jpg: is empty")
        if item == 4:
            raise ZeroDivisionError("a bug")
        return item

    results = images.read_ahead(range(9), sometimes, workers=3)
    assert [next(results), next(results)] == [0, 1]
    error = next(results)
    assert isinstance(error, ImageError)
    assert str(error) == "two.jpg: is empty"
    assert next(results) == 3
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not any(one.name.startswith("map-ahead") for one in threading.enumerate())
