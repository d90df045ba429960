"""In a mask any value but 0 is the object, and no resize loses it."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jaxattr.audit.probes.objects import object_box
from jaxattr.bench.methods import shards as method_shards
from jaxattr.data import images
from jaxattr.errors import DatasetError, ImageError
from jaxattr.vit import Preprocessing

HALF = Preprocessing((8, 8))
OBJECT = np.zeros((16, 16), bool)
OBJECT[4:8, 6:12] = True


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(value: int, dtype: str = "uint8") -> Image.Image:
    return Image.fromarray(OBJECT.astype(dtype) * np.array(value, dtype))


def palette(colours: list[int], inside: int, outside: int) -> Image.Image:
    image = Image.fromarray(np.where(OBJECT, inside, outside).astype(np.uint8), "L")
    image.putpalette(colours)
    return image


def transparent(object_: tuple[int, ...], ground: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.where(OBJECT[..., None], object_, ground).astype(np.uint8))


BLACK_RED = [0, 0, 0, 255, 0, 0]
MASKS = {
    **{f"L {value}": encoded(grey(value)) for value in (1, 2, 64, 127, 128, 129, 254, 255)},
    "16 bits": encoded(grey(256, "uint16")),
    "1 bit": encoded(grey(255).convert("1")),
    "TIFF of 32 bits": encoded(grey(7, "int32"), "TIFF"),
    "RGB": encoded(transparent((0, 0, 128), (0, 0, 0))),
    "RGBA": encoded(transparent((128, 0, 0, 255), (0, 0, 0, 255))),
    "RGBA, nothing behind": encoded(transparent((128, 0, 0, 255), (255, 255, 255, 0))),
    "RGBA, black": encoded(transparent((0, 0, 0, 255), (0, 0, 0, 0))),
    "LA": encoded(transparent((128, 255), (0, 255))),
    "palette": encoded(palette(BLACK_RED, 1, 0)),
    "palette 128": encoded(palette([0, 0, 0] * 128 + [9, 9, 9], 128, 0)),
    "palette, same colour": encoded(palette([0, 0, 0, 0, 0, 0], 1, 0)),
    "palette that begins with white": encoded(palette([255, 255, 255, 0, 0, 0], 0, 1)),
    "BMP": encoded(grey(128), "BMP"),
}


@pytest.mark.parametrize("name", MASKS)
def test_any_value_but_0_is_the_object(name):
    np.testing.assert_array_equal(images.read_mask(MASKS[name]), OBJECT)


@pytest.mark.parametrize("value", [128, 255])
def test_a_jpeg_mask_is_cut_at_half(value):
    mask = images.read_mask(encoded(grey(value).resize((64, 64), 0), "JPEG", quality=60))
    np.testing.assert_array_equal(mask, np.kron(OBJECT, np.ones((4, 4), bool)))


def test_a_mask_that_cannot_be_read_is_an_image_error(tmp_path):
    for data in (MASKS["L 128"][:40], b"", b"text"):
        with pytest.raises(ImageError, match=r"^m\.png: "):
            images.read_mask(data, name="m.png")
    with pytest.raises(ImageError, match="no such image file"):
        images.read_mask(tmp_path / "none.png")


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing((8, 8)),
        Preprocessing((7, 5), resample="nearest"),
        Preprocessing(9, (9, 9)),
        Preprocessing((200, 300)),
        Preprocessing(None),
    ],
)
def test_thin_objects_survive_the_resize(preprocessing):
    for row in range(40):
        mask = np.zeros((40, 40), bool)
        mask[row] = True
        fitted = images.fit_mask(mask, preprocessing)
        assert fitted.shape == images.fit(Image.new("RGB", (40, 40)), preprocessing).shape[:2]
        assert fitted.any()
        rows = np.flatnonzero(fitted.any(axis=1))
        assert abs(rows.mean() + 0.5 - (row + 0.5) * fitted.shape[0] / 40) <= 0.75
    assert images.fit_mask(np.ones((40, 40), bool), preprocessing).all()
    assert not images.fit_mask(np.zeros((40, 40), bool), preprocessing).any()


def test_a_masks_crop_is_that_of_the_image():
    preprocessing = Preprocessing(8, (4, 6), crop_rounding="even")
    mask = np.zeros((16, 32), bool)
    mask[6, 14] = True
    image = Image.fromarray(mask.astype(np.uint8) * 255).convert("RGB")
    fitted = images.fit_mask(mask, preprocessing)
    assert np.argwhere(fitted).tolist() == [[1, 2]]
    assert np.unravel_index(images.fit(image, preprocessing)[..., 0].argmax(), (4, 6)) == (1, 2)


def folder(root: Path, mask: bytes) -> Path:
    for name in ("images/cat", "masks/cat"):
        (root / name).mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(root / "images/cat/a.png")
    (root / "masks/cat/a.png").write_bytes(mask)
    return root / "images"


@pytest.mark.parametrize("name", ["L 128", "palette 128", "RGBA", "16 bits"])
def test_the_audit_and_the_benchmark_find_the_object(tmp_path, name):
    root = folder(tmp_path, MASKS[name])
    assert object_box(root, "cat/a.png", HALF) == (2, 3, 4, 6)
    found = method_shards._mask(run(tmp_path), "cat/a.png")
    np.testing.assert_array_equal(found, OBJECT[::2, ::2] | OBJECT[1::2, 1::2])


def test_a_watermark_of_drawn_scenes_is_no_object(tmp_path):
    """Their masks hold it in the highest bit, and `truth.parquet` tells them from others."""
    root = folder(tmp_path, encoded(palette([0, 0, 0] * 256, 128, 0)))
    assert object_box(root, "cat/a.png", HALF) is not None
    (tmp_path / "truth.parquet").touch()
    assert object_box(root, "cat/a.png", HALF) is None
    assert not method_shards._mask(run(tmp_path), "cat/a.png").any()


def test_a_mask_that_is_damaged_is_named(tmp_path):
    root = folder(tmp_path, MASKS["L 128"][:-30])
    with pytest.raises(ImageError, match=r"masks/cat/a\.png: damaged or cut off"):
        object_box(root, "cat/a.png", HALF)
    with pytest.raises(DatasetError, match=r"masks/cat/a\.png: this mask .* \(damaged or cut off"):
        method_shards._mask(run(tmp_path), "cat/a.png")


def run(root: Path):
    model = SimpleNamespace(preprocessing=HALF)
    explainer = SimpleNamespace(model=model)
    return method_shards.Run(None, explainer, None, (), root / "masks", None)  # type: ignore[arg-type]


def test_the_region_of_a_rewriting_is_any_value_but_0(tmp_path):
    from jaxattr.cli.rewrite import run as rewriting

    for name in ("L 1", "L 128", "1 bit", "RGBA"):
        (tmp_path / "m.png").write_bytes(MASKS[name])
        mask = rewriting._mask(tmp_path / "m.png", "--inside", images.MAX_PIXELS)
        np.testing.assert_array_equal(mask, OBJECT)
