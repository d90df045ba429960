"""What a checkpoint's files say of its photos is done as its own processor does it, or refused."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import timm_pixels

from jaxattr.checkpoints import checkpoint, preprocessing
from jaxattr.cli.common.options import describe_model
from jaxattr.data import images
from jaxattr.errors import CheckpointError
from jaxattr.vit import Model, ViTConfig

BICUBIC, BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def seen(image: Image.Image, settings: dict[str, Any], size: int = 32) -> np.ndarray:
    read, notes = preprocessing.from_processor(settings, (size, size))
    assert notes == ()
    return images.normalize(images.fit(image, read), read)


def centre(image: Image.Image, size: int) -> np.ndarray:
    """transformers' crop: half pixels go to the left and up."""
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size))).astype(np.float64)


def test_levit_resizes_the_shorter_side_to_eight_sevenths():
    settings: dict[str, Any] = {"image_processor_type": "LevitImageProcessor", "crop_size": 32}
    settings |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    image = photo(47, 31)
    # int(256 / 224 * 32) = 36; the longer side is rounded down.
    expected = centre(image.resize((int(36 * 47 / 31), 36), BICUBIC), 32) / 127.5 - 1
    for size in (32, {"shortest_edge": 32}):
        np.testing.assert_allclose(seen(image, {**settings, "size": size}), expected, atol=1e-5)
    plain = np.asarray(image.resize((32, 32), BICUBIC)) / 127.5 - 1
    size = {"height": 32, "width": 32}
    np.testing.assert_allclose(seen(image, {**settings, "size": size}), plain, atol=1e-5)


def test_mobilevit_flips_the_channels_and_never_normalises():
    settings = {"image_processor_type": "MobileViTImageProcessor", "resample": 2}
    settings |= {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
    settings |= {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    image = photo(40, 61)
    expected = centre(image.resize((36, int(36 * 61 / 40)), BILINEAR), 32) / 255
    np.testing.assert_allclose(seen(image, settings), expected[..., ::-1], atol=1e-6)
    unflipped = seen(image, {**settings, "do_flip_channel_order": False})
    np.testing.assert_allclose(unflipped, expected, atol=1e-6)
    read, _ = preprocessing.from_processor(settings, (32, 32))
    pixels = images.fit(image, read)  # for people: red, green, blue
    np.testing.assert_array_equal(pixels, expected * 255)
    np.testing.assert_array_equal(images.denormalize(images.normalize(pixels, read), read), pixels)


@pytest.mark.parametrize("top", [None, True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_efficientnet_shifts_and_divides_once_more(top, normalize):
    settings = {"image_processor_type": "EfficientNetImageProcessor", "rescale_offset": True}
    settings |= {"size": 32, "rescale_factor": 1 / 127.5, "do_normalize": normalize}
    settings |= {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 0.2]}
    settings |= {} if top is None else {"include_top": top}
    image = photo(40, 61)
    expected = np.asarray(image.resize((32, 32), BICUBIC)) / 127.5 - 1
    if normalize:
        expected = (expected - [0.1, 0.2, 0.3]) / [0.5, 0.25, 0.2]
    if top is not False:  # the processor's default
        expected = expected / [0.5, 0.25, 0.2]
    np.testing.assert_allclose(seen(image, settings), expected, atol=1e-4)


@pytest.mark.parametrize(("edge", "resized"), [(32, 36), (384, None)])
def test_convnext_crops_small_pictures_and_squeezes_large_ones(edge, resized):
    settings = {"feature_extractor_type": "ConvNextFeatureExtractor", "size": edge, "resample": 2}
    image = photo(200, 101)
    large = (int(resized * 200 / 101), resized) if resized else (edge, edge)
    expected = centre(image.resize(large, BILINEAR), edge) / 127.5 - 1
    for crop in ({}, {"crop_pct": 0.875}):
        found = seen(image, {**settings, **crop}, edge)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "resize", "crop"),
    [
        ({"image_processor_type": "ViTImageProcessor", "size": 32}, (32, 32), None),
        ({"image_processor_type": "ViTImageProcessorFast", "size": [32, 32]}, (32, 32), None),
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 32}, (32, 32), None),
        ({"image_processor_type": "CLIPImageProcessor", "size": 36, "crop_size": 32}, 36, (32, 32)),
        ({"image_processor_type": "BitImageProcessor", "size": 36, "crop_size": 32}, 36, (32, 32)),
        (
            {"image_processor_type": "DeiTImageProcessor", "size": 36, "crop_size": 32},
            (36, 36),
            (32, 32),
        ),
        ({"image_processor_type": "BeitImageProcessor", "size": 32}, (32, 32), None),
        (
            {"image_processor_type": "PoolFormerImageProcessor", "size": 32, "crop_size": 32},
            35,
            (32, 32),
        ),
    ],
)
def test_a_bare_size_is_what_that_processor_takes_it_for(settings, resize, crop):
    read, notes = preprocessing.from_processor(settings, (32, 32))
    assert (read.resize, read.crop, notes) == (resize, crop, ())


HARMLESS = {
    "_valid_processor_keys": ["images"],
    "processor_class": "CLIPProcessor",
    "do_convert_rgb": True,
    "data_format": "channels_first",
    "device": "cpu",
    "disable_grouping": None,
    "crop_pct": None,
    "do_pad": False,
    "do_flip_channel_order": False,
}
VIT = {"image_processor_type": "ViTImageProcessor", "size": 32}


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop_pct": 0.9},
        {"do_flip_channel_order": True},
        {"rescale_offset": True},
        {"do_pad": True},
        {"size_divisor": 32},
        {"do_thumbnail": True},
        {"auto_map": {"AutoImageProcessor": "own.py--Own"}},
        {"image_processor_type": "SegformerImageProcessor"},
        {"image_processor_type": "MyOwnImageProcessor"},
        {"image_processor_type": 3},
        {"size": {"shortest_edge": 32, "longest_edge": 64}},
        {"size": {"longest_edge": 64}},
        {"size": {"height": 32}},
        {"size": 0},
        {"size": None},
        {"size": 32.5},
        {"size": "32"},
        {"size": 10**9},
        {"do_center_crop": True, "crop_size": None},
        {"do_center_crop": True, "crop_size": {"shortest_edge": 32}},
        {"do_resize": "false"},
        {"resample": "bicubic"},
        {"resample": 6},
        {"resample": True},
        *({"rescale_factor": v} for v in (float("nan"), float("inf"), 0, None, "1/255", 10**400)),
        *({"image_mean": v} for v in (float("nan"), [0.5], [0.5] * 4, [0.5, None, 0.5], "0.5")),
        *({"image_std": v} for v in (0, [0.5, 0, 0.5], float("nan"), [0.5] * 2, -1, None)),
    ],
    ids=str,
)
def test_what_is_not_understood_is_refused_by_name(wrong):
    right, _ = preprocessing.from_processor({**VIT, **HARMLESS}, (32, 32))
    assert right == preprocessing.from_processor(VIT, (32, 32))[0]
    key = list(wrong)[-1]
    with pytest.raises(CheckpointError, match=re.escape(f"preprocessor_config.json: {key} ")) as e:
        preprocessing.from_processor({**VIT, **wrong}, (32, 32))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": 48}, "makes 48 x 48 pixels, but the model takes 32 x 32"),
        ({"size": {"shortest_edge": 32}}, "resizes the shorter side and cuts nothing"),
        ({"do_resize": False}, "does not resize"),
    ],
)
def test_sizes_that_do_not_fit_the_model_are_said(settings, said):
    read, (note,) = preprocessing.from_processor({**VIT, **settings}, (32, 32))
    assert said in note
    assert images.fit(photo(70, 50), read).shape == (32, 32, 3)


def test_the_processor_in_a_larger_processors_file_comes_first(tmp_path):
    """As in transformers 5, which writes it there."""
    config = ViTConfig((32, 32), (8, 8), 8, 1, 1, 8, 5)
    other = {**VIT, "resample": 0}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(VIT))
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "A"}))
    read, _ = checkpoint._preprocessing(tmp_path, {"model_type": "vit"}, config)
    assert read.resample == "bilinear"
    nested = {"image_processor": other}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    read, _ = checkpoint._preprocessing(tmp_path, {"model_type": "vit"}, config)
    assert read.resample == "nearest"
    nested = {"image_processor": {**other, "crop_pct": 0.9}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    with pytest.raises(CheckpointError, match=r"^processor_config\.json: crop_pct 0\.9 "):
        checkpoint._preprocessing(tmp_path, {"model_type": "vit"}, config)


def test_what_is_done_to_photos_is_printed():
    def said(settings: dict[str, Any]) -> str:
        read, _ = preprocessing.from_processor(settings, (32, 32))
        config = ViTConfig((32, 32), (8, 8), 8, 1, 1, 8, 5)
        return describe_model(Model({}, config, preprocessing=read)).partition("Preprocessing")[2]

    flipped = {"image_processor_type": "MobileViTImageProcessor", "size": 36, "crop_size": 32}
    assert "shorter side to 36 (bicubic), centre crop 32 x 32, channels blue, gr" in said(flipped)
    shifted = {"image_processor_type": "EfficientNetImageProcessor", "size": 32}
    shifted |= {"rescale_offset": True, "rescale_factor": 1 / 127.5}
    assert "pixels times 0.007843, mean 1.5 1.5 1.5, std 0.25 0.25 0.25" in said(shifted)


def test_timms_pixels_of_200_photos():
    """Vectors made with timm itself, see `timm_pixels`; among them odd margins of the crop."""
    all_found = []
    for number in range(timm_pixels.COUNT):
        config = timm_pixels.settings(number)
        read, notes = preprocessing.from_timm(config, tuple(config["input_size"][1:]))
        assert notes == ()
        fitted = images.fit(timm_pixels.photo(number), read)
        all_found.append(timm_pixels.sampled(number, fitted))
    found, vectors = np.stack(all_found), np.load(timm_pixels.FILE)
    assert found.shape == (200, timm_pixels.SAMPLES, 3)
    # Those of one release of Pillow, every one; by photo it would pass with crops of two kinds.
    differ = {name: np.flatnonzero((found != vectors[name]).any((1, 2))) for name in vectors}
    assert any(len(photos) == 0 for photos in differ.values()), differ


@pytest.mark.parametrize(
    ("size", "crop", "even", "down"),
    [(5, 2, 2, 1), (7, 2, 2, 2), (9, 2, 4, 3), (2, 5, -1, -2), (2, 7, -2, -3), (4, 4, 0, 0)],
)
def test_half_a_pixel_of_the_crops_offset(size, crop, even, down):
    assert images.crop_offset(size, crop, "even") == even
    assert images.crop_offset(size, crop, "down") == down


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop_mode": "border"},
        {"crop_pct": float("nan")},
        {"crop_pct": "0.9"},
        {"crop_pct": -1},
        {"interpolation": "random"},
        {"interpolation": 3},
        {"mean": [0.5, float("inf"), 0.5]},
        {"std": [0.5, 0, 0.5]},
        {"input_size": 224},
        {"input_size": [3, 32, "32"]},
    ],
    ids=str,
)
def test_what_timm_says_and_is_not_followed_is_refused_by_name(wrong):
    (key,) = wrong
    with pytest.raises(CheckpointError, match=re.escape(f"config.json: {key} ")):
        preprocessing.from_timm(wrong, (32, 32))
    with pytest.raises(CheckpointError, match="crop_mode 'center' is not supported"):
        preprocessing.from_timm({}, (32, 48))


def test_older_receipts_still_match():
    """A ledger of before these fields holds none of them, and is the same run's."""
    usual, _ = preprocessing.from_processor(VIT, (32, 32))
    assert usual.record().keys() == {"resize", "crop", "resample", "rescale", "mean", "std"}
    timm, _ = preprocessing.from_timm({}, (32, 32))
    assert timm.record()["crop_rounding"] == "even"


def test_one_channel_sees_grey():
    settings = {**VIT, "image_mean": [0.4], "image_std": [0.3], "resample": 3}
    read, _ = preprocessing.from_processor(settings, (32, 32), channels=1)
    for mode in ("RGB", "L", "LA", "1", "P"):
        image = photo(50, 40).convert(mode)
        grey = np.asarray(image.convert("RGB").convert("L").resize((32, 32), BICUBIC)) / 255
        found = images.normalize(images.fit(image.convert("RGB"), read), read)
        np.testing.assert_allclose(found[..., 0], (grey - 0.4) / 0.3, atol=1e-5)
    with pytest.raises(CheckpointError, match=r"image_mean \[0\.5, 0\.5, 0\.5\].*wanted a finite"):
        preprocessing.from_processor({**VIT, "image_mean": [0.5] * 3}, (32, 32), channels=1)
    with pytest.raises(CheckpointError, match="3 finite numbers, one for each channel"):
        preprocessing.from_processor(settings, (32, 32))


def test_a_grey_model_is_explained_and_large_photos_are_refused(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from jaxattr.checkpoints import native
    from jaxattr.cli.main import main
    from jaxattr.vit import Preprocessing, initialize, predict

    config = ViTConfig((16, 16), (8, 8), 8, 1, 2, 8, 3, channels=1)
    read = Preprocessing((16, 16), mean=(0.5,), std=(0.5,))
    model = initialize(config, jax.random.key(0), labels=("cat", "dog", "emu"), preprocessing=read)
    native.save(model, tmp_path / "grey.safetensors")
    photo(40, 30).save(tmp_path / "a.png")
    photo(60, 50).save(tmp_path / "large.png")
    monkeypatch.chdir(tmp_path)
    arguments = ["a.png", "large.png", "--model", "grey.safetensors", "--max-pixels", "2999"]
    arguments += ["-f", "json", "--method", "raw_attention"]
    result = CliRunner().invoke(main, ["explain", *arguments])
    assert result.exit_code == 2
    assert "Preprocessing: grey, resize" in result.stderr
    assert "Error: large.png: 60 x 50 = 3000 pixels, more than 2999" in result.stderr
    (written,) = tmp_path.rglob("a.json")
    found = json.loads(written.read_text())["logits"]
    grey = np.asarray(photo(40, 30).convert("L").resize((16, 16), BILINEAR)) / 127.5 - 1
    expected = predict(model, jax.numpy.asarray(grey, "float32")[..., None])
    np.testing.assert_allclose(found, expected, atol=1e-5)
