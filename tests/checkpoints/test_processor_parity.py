"""Pixels against transformers' own image processors, family by family, and its decoding."""

from __future__ import annotations

import importlib
import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxattr.checkpoints import preprocessing
from jaxattr.data import images
from jaxattr.errors import CheckpointError

pytestmark = pytest.mark.parity
MODULES = {
    "ViT": "vit",
    "DeiT": "deit",
    "Beit": "beit",
    "Bit": "bit",
    "Blip": "blip",
    "CLIP": "clip",
    "ChineseCLIP": "chinese_clip",
    "ConvNext": "convnext",
    "EfficientNet": "efficientnet",
    "Levit": "levit",
    "MobileNetV1": "mobilenet_v1",
    "MobileNetV2": "mobilenet_v2",
    "MobileViT": "mobilevit",
    "PoolFormer": "poolformer",
    "Pvt": "pvt",
    "Siglip": "siglip",
}
OWN = {
    "crop_pct": ("ConvNext", "PoolFormer"),
    "rescale_offset": ("EfficientNet",),
    "include_top": ("EfficientNet",),
    "do_flip_channel_order": ("MobileViT",),
}
CHOICES: dict[str, list[Any]] = {
    "resample": [0, 1, 2, 3, 4, 5, None],
    "do_resize": [True, True, True, None, False],
    "default_to_square": [True, False],
    "do_center_crop": [True, False, None],
    "do_rescale": [True, False],
    "rescale_factor": [1 / 255, 1 / 127.5],
    "do_normalize": [True, False, None],
    "image_mean": [[0.1, 0.2, 0.3], 0.4],
    "image_std": [[0.5, 0.6, 0.7], 0.25],
    "crop_pct": [0.8, 0.95],
    "rescale_offset": [True, False],
    "include_top": [True, False, None],
    "do_flip_channel_order": [True, False, None],
    "do_convert_rgb": [True, False],
}
SIZES = [48, {"height": 48, "width": 48}, {"shortest_edge": 48}, {"shortest_edge": 57}, [51, 53]]
CROPS = [48, {"height": 48, "width": 48}, {"height": 45, "width": 50}, {"height": 78, "width": 50}]
SHAPES = [(40, 60), (61, 37), (48, 48), (30, 145), (90, 17), (9, 9), (131, 97)]


def processor(kind: str) -> Any:
    """The class on Pillow, as transformers 5 has it."""
    pytest.importorskip("transformers")
    name = f"transformers.models.{MODULES[kind]}.image_processing_pil_{MODULES[kind]}"
    try:
        return getattr(importlib.import_module(name), f"{kind}ImageProcessorPil")
    except ImportError:
        pytest.skip("transformers before 5")


def drawn(kind: str, rng: random.Random) -> dict[str, Any]:
    settings: dict[str, Any] = {"image_processor_type": f"{kind}ImageProcessor"}
    for key, values in CHOICES.items():
        if rng.random() < 0.5 and kind in OWN.get(key, (kind,)):
            settings[key] = rng.choice(values)
    return {**settings, "size": rng.choice(SIZES), "crop_size": rng.choice(CROPS)}


@pytest.mark.parametrize("kind", MODULES)
def test_pixels_of_every_family(kind):
    """Where the processor makes a model's input, we do the same or refuse: to .01 grey levels."""
    rng, pixels = random.Random(kind), np.random.default_rng(0)
    own, equal, refused = processor(kind), 0, 0
    for _ in range(60):
        settings = drawn(kind, rng)
        image = Image.fromarray(pixels.integers(0, 256, (*rng.choice(SHAPES), 3), np.uint8))
        try:
            made = own(**settings)(images=image, return_tensors="np")["pixel_values"][0]
        except (ValueError, TypeError, AttributeError):
            continue  # not a set of settings that it takes
        expected = np.moveaxis(np.asarray(made), 0, -1)
        try:
            read, notes = preprocessing.from_processor(settings, expected.shape[:2])
        except CheckpointError:
            refused += 1
            continue
        if notes:  # the processor's output depends on the image's size, which no model takes
            continue
        found = images.normalize(images.fit(image, read), read)
        levels = np.abs(found - expected) * read.std / read.rescale
        assert levels.max() < 0.01, settings
        equal += 1
    assert equal >= 10
    assert refused <= (8 if kind == "ConvNext" else 0)


def files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (21, 34, 3), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        **{mode: (image.convert(mode), "PNG", {}) for mode in ("RGB", "RGBA", "L", "LA", "P", "1")},
        "palette with transparency": (image.convert("P"), "PNG", {"transparency": 3}),
        "CMYK": (image.convert("CMYK"), "JPEG", {}),
        "CMYK TIFF": (image.convert("CMYK"), "TIFF", {}),
        "YCbCr TIFF": (image.convert("YCbCr"), "TIFF", {}),
        "turned": (image, "JPEG", {"exif": turned}),
        "turned WebP": (image, "WEBP", {"exif": turned}),
        "progressive": (image, "JPEG", {"progressive": True}),
        "animation": (image, "GIF", {"save_all": True, "append_images": [image.rotate(180)]}),
        "pages": (image, "TIFF", {"save_all": True, "append_images": [image.rotate(180)]}),
        "MPO": (image, "MPO", {"save_all": True, "append_images": [image.rotate(180)]}),
        "JPEG2000": (image, "JPEG2000", {}),
        "grey TGA": (image.convert("L"), "TGA", {}),
    }
    found = {}
    for name, (one, kind, options) in kinds.items():
        file = io.BytesIO()
        one.save(file, kind, **options)
        found[name] = file.getvalue()
    return found


@pytest.mark.parametrize("name", list(files()))
def test_decoding_is_the_pipelines(tmp_path, name):
    utilities = pytest.importorskip("transformers.image_utils")
    path = tmp_path / "photo.tga"  # the name does not decide
    path.write_bytes(files()[name])
    with Image.open(path) as opened:  # by its path, it would stay open
        expected = np.asarray(utilities.load_image(opened))
    np.testing.assert_array_equal(np.asarray(images.decode(path)), expected)
