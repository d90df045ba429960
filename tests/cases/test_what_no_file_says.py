"""Heads, processor and channels that a checkpoint does not say: by its family, said, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from cases.checkpoints import (
    CONFIG,
    PROCESSOR,
    refusal,
    same_network,
    timm_tensors,
    transformers_tensors,
    write,
)
from safetensors.numpy import save_file

import jaxattr
from jaxattr.checkpoints.names_google import GOOGLE

TENSORS = transformers_tensors()


def test_heads_of_bare_weights(tmp_path):
    told = jaxattr.load(write(tmp_path / "told", TENSORS))
    bare = write(tmp_path / "bare", TENSORS, None, None)
    message = refusal(bare)
    assert "width of 12" in message
    assert "--heads N" in message
    asked = jaxattr.load(bare, heads=3)
    assert same_network(asked, told)
    assert jaxattr.load(bare, heads=6).config.heads == 6
    assert "cannot be cut into 5" in refusal(bare, heads=5)
    assert "heads 0" in refusal(bare, heads=0)
    (note, processor) = asked.notes
    assert "activation gelu; epsilon 1e-12; a head that reads the class token" in note
    assert "ViT's own default" in processor
    assert "says 3 heads, not 6" in refusal(tmp_path / "told", heads=6)


def test_heads_of_bare_weights_under_timms_names(tmp_path):
    save_file(timm_tensors(), tmp_path / "a.safetensors")
    assert "--heads N" in refusal(tmp_path / "a.safetensors")
    assert jaxattr.load(tmp_path / "a.safetensors", heads=2).config.heads == 2


def test_published_sizes_have_known_heads_and_it_is_said(tmp_path):
    """ViT-Ti: 192 wide, 12 blocks."""
    tiny = timm_tensors(192, 768, 12)
    save_file(tiny, tmp_path / "a.safetensors")
    model = jaxattr.load(tmp_path / "a.safetensors")
    assert model.config.heads == 3
    assert "assumed: 3 heads (--heads N is for another number)" in model.notes[0]
    assert "heads" not in jaxattr.load(tmp_path / "a.safetensors", heads=12).notes[0]
    save_file(timm_tensors(192, 768, 11), tmp_path / "b.safetensors")
    assert "--heads N" in refusal(tmp_path / "b.safetensors")


def test_googles_archives_tell_their_heads(tmp_path):
    slots = GOOGLE.slots(jaxattr.load(write(tmp_path, TENSORS)).config, ())
    shapes = {name: slot.shape for slot in slots.values() for name in slot.sources}
    arrays = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    folder = tmp_path / "google"
    folder.mkdir()
    np.savez(folder / "vit.npz", **arrays)  # pyright: ignore[reportArgumentType]
    assert jaxattr.load(folder).config.heads == 3
    assert "the weights say 3 heads, not 6" in refusal(folder / "vit.npz", heads=6)
    # bfloat16 has no name in NumPy's format: JAX's arrays are saved as two bytes a number.
    halves = {name: array.astype("bfloat16").view("V2") for name, array in arrays.items()}
    np.savez(folder / "vit.npz", **halves)  # pyright: ignore[reportArgumentType]
    assert np.all(np.asarray(jaxattr.load(folder).parameters["head"]["kernel"]) == 1)
    targets = {f"opt/target/{name}": array for name, array in arrays.items()}
    np.savez(folder / "vit.npz", **targets)  # pyright: ignore[reportArgumentType]
    assert "opt/target/" in jaxattr.load(folder).notes[0]


def test_vits_own_processor(tmp_path):
    model = jaxattr.load(write(tmp_path, TENSORS, CONFIG, None))
    assert model.preprocessing == jaxattr.load(write(tmp_path / "a", TENSORS)).preprocessing
    assert model.notes == (
        "no preprocessor_config.json says how photos are prepared; ViT's own default is assumed: "
        "resized to 16 x 16 (bilinear), mean 0.5, std 0.5.",
    )


def test_deits_own_processor(tmp_path):
    """256 x 256 bicubic, then the middle 224: here 18 and 16."""
    config = {**CONFIG, "model_type": "deit", "architectures": ["DeiTForImageClassification"]}
    tensors = transformers_tensors(distilled=True)
    model = jaxattr.load(write(tmp_path, tensors, config, None))
    processing = model.preprocessing
    assert (processing.resize, processing.crop) == ((18, 18), (16, 16))
    assert (processing.resample, processing.mean) == ("bicubic", (0.5,) * 3)
    assert "DeiT's own default" in model.notes[0]
    bare = jaxattr.load(write(tmp_path / "bare", tensors, None, None), heads=3)
    assert bare.preprocessing == processing


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_other_channels_are_refused(tmp_path, channels):
    tensors = transformers_tensors(channels=channels)
    processor = {**PROCESSOR, "image_mean": [0.5] * channels, "image_std": [0.5] * channels}
    config = {**CONFIG, "num_channels": channels}
    assert f"images of {channels} channels" in refusal(write(tmp_path, tensors, config, processor))
    assert f"images of {channels} channels" in refusal(
        write(tmp_path / "bare", tensors, None, None), heads=3
    )


def test_grey_models(tmp_path):
    tensors, config = transformers_tensors(channels=1), {**CONFIG, "num_channels": 1}
    processor = {**PROCESSOR, "image_mean": [0.4], "image_std": [0.3]}
    model = jaxattr.load(write(tmp_path, tensors, config, processor))
    assert (model.preprocessing.mean, model.preprocessing.std) == ((0.4,), (0.3,))
    unsaid = jaxattr.load(write(tmp_path / "b", tensors, config, None))
    assert unsaid.preprocessing.mean == (0.5,)
    three = {**PROCESSOR, "image_mean": [0.4] * 3, "image_std": [0.3] * 3}
    assert "one for each channel" in refusal(write(tmp_path, tensors, config, three))
    one = {**PROCESSOR, "image_mean": [0.4], "image_std": [0.3]}
    assert "one for each channel" in refusal(write(tmp_path, TENSORS, CONFIG, one))
    wrong = refusal(write(tmp_path, tensors, CONFIG))
    assert "num_channels says image channels 3, the weights say 1" in wrong
