"""Logits of loaded checkpoints against transformers', for every naming and odd sizes."""

from __future__ import annotations

import json
from typing import Any

import jax
import numpy as np
import pytest
from conftest import outside
from renaming import to_google, to_timm, to_transformers_4
from safetensors.numpy import load_file, save_file

import jaxattr

pytestmark = pytest.mark.parity

SIZES = {
    "image_size": [20, 30],
    "patch_size": [4, 6],
    "hidden_size": 36,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 52,
    "num_labels": 7,
    "initializer_range": 0.3,
}
VARIANTS = {
    "plain": {},
    "no-bias-tanh": {"qkv_bias": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
    "quick": {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-6},
    "relu": {"hidden_act": "relu"},
    "grey": {"num_channels": 1},
}
MODELS = ("ViTForImageClassification", "DeiTForImageClassification")
TEACHER = "DeiTForImageClassificationWithTeacher"


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs torch (extra `parity`)")


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """Transformers draws progress bars while it loads."""
    pytest.importorskip("torch", reason="needs torch (extra `parity`)")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def make(torch, kind: str, **changes):
    """A random transformers model whose every tensor matters."""
    import transformers

    torch.manual_seed(3)
    config_kind = transformers.DeiTConfig if kind.startswith("DeiT") else transformers.ViTConfig
    model = getattr(transformers, kind)(config_kind(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.ndim == 1 or "token" in name or "position" in name:
                tensor.add_(torch.randn_like(tensor) * 0.2)
    return model


def pixels(config, batch: int = 3) -> np.ndarray:
    """Random normalised images `[image, height, width, channel]`."""
    shape = (batch, *config.image_size, config.channels)
    return np.random.default_rng(0).normal(size=shape).astype(config.dtype)


def theirs(torch, model, images: np.ndarray, **arguments) -> np.ndarray:
    channels_first = torch.from_numpy(np.moveaxis(images, -1, 1).copy())
    with torch.no_grad():
        return model(channels_first, **arguments).logits.numpy()


@jax.jit
def logits_of(model: jaxattr.Model, images):
    return jax.vmap(lambda image: model.forward(image)[0])(images)


def ours(model: jaxattr.Model, images: np.ndarray) -> np.ndarray:
    """Nameless, so that models of one architecture share one compilation."""
    return np.asarray(logits_of(jaxattr.Model(model.parameters, model.config), images))


def arrays(model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def agree(torch, hub_model, loaded: jaxattr.Model, tolerance: float = 1e-4) -> None:
    images = pixels(loaded.config)
    expected = theirs(torch, hub_model, images)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(ours(loaded, images), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", [*MODELS, TEACHER])
def test_saved_folder(torch, tmp_path, kind, variant):
    model = make(torch, kind, **VARIANTS[variant])
    model.save_pretrained(tmp_path)
    loaded = jaxattr.load(tmp_path)
    assert loaded.config.layer_norm_epsilon == model.config.layer_norm_eps
    assert loaded.labels == tuple(f"LABEL_{index}" for index in range(7))
    agree(torch, model, loaded, 3e-5)


@pytest.mark.parametrize("rename", [to_transformers_4, lambda state: state, to_timm])
@pytest.mark.parametrize("kind", [*MODELS, TEACHER])
def test_renamed(torch, tmp_path, kind, rename):
    model = make(torch, kind)
    save_file(rename(arrays(model)), tmp_path / "model.safetensors")
    model.config.save_pretrained(tmp_path)
    agree(torch, model, jaxattr.load(tmp_path), 3e-5)


@pytest.mark.parametrize("variant", ["plain", "no-bias-tanh"])
def test_google_npz(torch, tmp_path, variant):
    model = make(torch, MODELS[0], **VARIANTS[variant])
    np.savez(tmp_path / "weights.npz", **to_google(arrays(model), 3))  # pyright: ignore[reportArgumentType]
    model.config.save_pretrained(tmp_path)
    agree(torch, model, jaxattr.load(tmp_path / "weights.npz"), 3e-5)


@pytest.mark.parametrize("form", ["4.x", "5.x", "timm", "google"])
def test_bare_weights(torch, tmp_path, form):
    """Without a config: square, the family's epsilon; but for Google's they tell no heads."""
    epsilon = 1e-12 if form in ("4.x", "5.x") else 1e-6
    sizes = {"image_size": 24, "patch_size": 8, "hidden_size": 128, "num_attention_heads": 2}
    model = make(torch, MODELS[0], **sizes, layer_norm_eps=epsilon, initializer_range=0.1)
    state = arrays(model)
    if form == "google":
        path = tmp_path / "model.npz"
        np.savez(path, **to_google(state, 2))  # pyright: ignore[reportArgumentType]
    else:
        path = tmp_path / "bare.safetensors"
        rename = {"4.x": to_transformers_4, "timm": to_timm}.get(form, dict)
        save_file(rename(state), path)
    loaded = jaxattr.load(path, heads=2)
    assert loaded.config.heads == 2
    assert loaded.config.layer_norm_epsilon == epsilon
    assert loaded.labels == tuple("0123456")
    agree(torch, model, loaded, 3e-5)


def test_shards(torch, tmp_path):
    model = make(torch, MODELS[0])
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    agree(torch, model, jaxattr.load(tmp_path), 3e-5)


@pytest.mark.parametrize(
    ("kind", "image_size"), [(MODELS[0], (40, 24)), (MODELS[0], (16, 16)), (TEACHER, (12, 36))]
)
def test_other_image_size(torch, tmp_path, kind, image_size):
    """As `interpolate_pos_encoding`, which wants one patch size and a square checkpoint."""
    model = make(torch, kind, image_size=24, patch_size=4)
    model.save_pretrained(tmp_path)
    loaded = jaxattr.load(tmp_path, image_size=image_size)
    final = loaded.preprocessing.crop or loaded.preprocessing.resize
    assert loaded.config.image_size == final == image_size
    images = pixels(loaded.config)
    expected = theirs(torch, model, images, interpolate_pos_encoding=True)
    np.testing.assert_allclose(ours(loaded, images), expected, atol=1e-4, rtol=0)


def test_epsilon_is_not_lost(torch, tmp_path, x64):
    """In float64 the two usual epsilons tell apart, and a float64 file stays float64."""
    model = make(torch, MODELS[0], layer_norm_eps=1e-12).double()
    model.save_pretrained(tmp_path)
    loaded = jaxattr.load(tmp_path)
    assert loaded.config.dtype == "float64"
    agree(torch, model, loaded, 1e-11)
    swapped = jaxattr.load(tmp_path, layer_norm_epsilon=1e-6)
    images = pixels(loaded.config)
    assert np.abs(ours(swapped, images) - ours(loaded, images)).max() > 1e-8


def test_bfloat16_follows(torch, tmp_path):
    model = make(torch, MODELS[0], initializer_range=0.1)
    model.save_pretrained(tmp_path)
    loaded = jaxattr.load(tmp_path, dtype="bfloat16")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(loaded)} == {"bfloat16"}
    images = pixels(jaxattr.load(tmp_path).config)
    expected = theirs(torch, model, images)
    np.testing.assert_allclose(ours(loaded, images), expected, atol=0.1, rtol=0)


@pytest.mark.outside
def test_real_hub_names(torch):
    import transformers

    folder = outside("models", "vit-tiny-in1k")
    model = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    agree(torch, model, jaxattr.load(folder), 5e-5)


@pytest.mark.outside
def test_real_timm_names(torch):
    """The same network in transformers, its tensors renamed one by one, with both epsilons."""
    import transformers

    folder = outside("models", "vit-tiny-tinyimagenet200")
    sizes: Any = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
    sizes["num_labels"] = 200
    labels = json.loads((folder / "labels.json").read_text())
    state = from_timm(load_file(folder / "model.safetensors"))
    for epsilon in (1e-12, 1e-6):
        config = transformers.ViTConfig(**sizes, layer_norm_eps=epsilon)
        model = transformers.ViTForImageClassification(config).eval()
        model.load_state_dict({name: torch.from_numpy(t.copy()) for name, t in state.items()})
        loaded = jaxattr.load(folder, layer_norm_epsilon=epsilon)
        assert list(loaded.labels) == labels
        agree(torch, model, loaded, 5e-5)


def from_timm(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """timm's names to those of transformers 5.x."""
    renamed = {
        "vit.embeddings.cls_token": state["cls_token"],
        "vit.embeddings.position_embeddings": state["pos_embed"],
    }
    for leaf in ("weight", "bias"):
        patch = f"vit.embeddings.patch_embeddings.projection.{leaf}"
        renamed[patch] = state[f"patch_embed.proj.{leaf}"]
        renamed[f"vit.layernorm.{leaf}"] = state[f"norm.{leaf}"]
        renamed[f"classifier.{leaf}"] = state[f"head.{leaf}"]
        for layer in range(12):
            old, new = f"blocks.{layer}", f"vit.layers.{layer}"
            qkv = np.split(state[f"{old}.attn.qkv.{leaf}"], 3)
            for part, tensor in zip("qkv", qkv, strict=True):
                renamed[f"{new}.attention.{part}_proj.{leaf}"] = tensor
            renamed[f"{new}.attention.o_proj.{leaf}"] = state[f"{old}.attn.proj.{leaf}"]
            renamed[f"{new}.layernorm_before.{leaf}"] = state[f"{old}.norm1.{leaf}"]
            renamed[f"{new}.layernorm_after.{leaf}"] = state[f"{old}.norm2.{leaf}"]
            for name in ("fc1", "fc2"):
                renamed[f"{new}.mlp.{name}.{leaf}"] = state[f"{old}.mlp.{name}.{leaf}"]
    return renamed
