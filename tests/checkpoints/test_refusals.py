"""Every checkpoint that cannot be loaded is one line that names what is wrong."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save, save_file

import jaxattr
from jaxattr.checkpoints import native, positions, preprocessing
from jaxattr.checkpoints.aliases import ALIASES, resolve
from jaxattr.checkpoints.convert import flat_parameters, from_tensors
from jaxattr.checkpoints.layout import parameter_shapes
from jaxattr.vit import ViTConfig, initialize

CONFIG = ViTConfig((8, 8), (4, 4), 64, 1, 1, 16, 3, distilled=True, distilled_head=False)
SIDECAR = {"model_type": "vit", "image_size": 8, "patch_size": 4, "hidden_size": 64}
SIDECAR |= {"num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}


def timm() -> dict[str, np.ndarray]:
    """A complete timm state dict of zeros."""
    shapes = {
        "cls_token": (1, 1, 64),
        "pos_embed": (1, 5, 64),
        "patch_embed.proj.weight": (64, 3, 4, 4),
        "blocks.0.attn.qkv.weight": (192, 64),
        "blocks.0.attn.proj.weight": (64, 64),
        "blocks.0.mlp.fc1.weight": (16, 64),
        "blocks.0.mlp.fc2.weight": (64, 16),
        "head.weight": (3, 64),
    }
    biases = {n.replace("weight", "bias"): s[:1] for n, s in shapes.items() if "weight" in n}
    norms = {
        f"{n}.{leaf}": (64,)
        for n in ("blocks.0.norm1", "blocks.0.norm2", "norm")
        for leaf in ("weight", "bias")
    }
    return {n: np.zeros(s, np.float32) for n, s in {**shapes, **biases, **norms}.items()}


def refusal(source, **arguments) -> str:
    with pytest.raises(jaxattr.CheckpointError) as caught:
        jaxattr.load(source, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    return message


def test_missing_extra_misshapen_in_one_line(tmp_path):
    tensors = timm()
    for name in [name for name in tensors if "norm" in name]:
        del tensors[name]
    tensors["surprise"] = np.zeros(2, np.float32)
    tensors["head.bias"] = np.zeros(9, np.float32)
    save_file(tensors, tmp_path / "a.safetensors")
    message = refusal(tmp_path / "a.safetensors", heads=1)
    assert "6 missing: " in message
    assert "and 2 more" in message
    assert "1 extra: surprise" in message
    assert "1 misshapen: head.bias is (9,), wanted (3,)" in message


@pytest.mark.parametrize(
    ("name", "feature"),
    [
        ("blocks.0.ls1.gamma", "layer scale"),
        ("blocks.0.attn.q_norm.weight", "query and key normalisation"),
        ("reg_token", "register tokens"),
        ("blocks.0.attn.relative_position_bias_table", "relative position bias"),
        ("pre_logits.fc.weight", "pre_logits"),
        ("norm_pre.weight", "CLIP"),
    ],
)
def test_features_by_name(tmp_path, name, feature):
    save_file({**timm(), name: np.zeros(2, np.float32)}, tmp_path / "a.safetensors")
    assert feature in refusal(tmp_path / "a.safetensors")


def test_what_shapes_cannot_tell(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({**timm(), "pos_embed": np.zeros((1, 4, 64), np.float32)}, path)
    assert "no_embed_class" in refusal(path)
    save_file({**timm(), "pos_embed": np.zeros((1, 7, 64), np.float32)}, path)
    assert "not a square grid" in refusal(path)
    headless = {name: tensor for name, tensor in timm().items() if "head" not in name}
    save_file(headless, path)
    assert "no classification head" in refusal(path)
    save_file({"layer1.0.conv1.weight": np.zeros(1, np.float32)}, path)
    assert "a ResNet" in refusal(path)
    save_file({"anything": np.zeros(1, np.float32)}, path)
    assert "match no known naming" in refusal(path)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"model_type": "resnet"}, "model_type resnet is not supported"),
        ({"model_type": "swin"}, "model_type swin is not supported"),
        ({"hidden_act": "silu"}, "hidden_act silu is not supported"),
        ({"architectures": ["ViTModel"]}, "ViTModel has no image-classification head"),
        ({"image_size": 9}, "not a multiple of the patch size"),
        ({"num_attention_heads": 7}, "not a multiple of num_attention_heads"),
        ({"id2label": {"0": "a"}}, "id2label holds 1 labels, the head has 3 classes"),
        ({"id2label": {"0": "a", "1": "b", "5": "c"}}, "number the classes"),
        ({"hidden_size": 0}, "hidden_size 0 is not supported"),
    ],
)
def test_configs(tmp_path, changes, part):
    save_file(timm(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**SIDECAR, **changes}))
    assert part in refusal(tmp_path)


def test_damaged_files(tmp_path):
    path = tmp_path / "a.safetensors"
    whole = save(timm())
    contents = {
        whole[:-100]: "cut off or damaged",
        whole[:50]: "cut off or damaged",
        b"": "an empty file",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n": "git lfs pull",
        b"<!DOCTYPE html><html>": "a web page",
        b"PK\x03\x04rest": "a pickle under another name",
    }
    for content, part in contents.items():
        path.write_bytes(content)
        assert part in refusal(path)
    for name in ("a.bin", "a.pt", "a.pth", "a.pkl"):
        (tmp_path / name).write_bytes(b"\x80\x04")
        assert "pickle" in refusal(tmp_path / name)
    np.savez(tmp_path / "a.npz", x=np.array([{}], object))
    assert "pickled objects" in refusal(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04rest")
    assert "b.npz" in refusal(tmp_path / "b.npz")
    assert "no such file" in refusal(tmp_path / "c.safetensors")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no .safetensors" in refusal(empty)
    (empty / "pytorch_model.bin").write_bytes(b"")
    assert "pickle" in refusal(empty)


def test_arguments(tmp_path):
    save_file(timm(), tmp_path / "model.safetensors")
    assert "float16 is not supported" in refusal(tmp_path, dtype="float16")
    assert "64-bit" in refusal(tmp_path, dtype="float64")
    assert "not a multiple" in refusal(tmp_path, image_size=10, heads=1)
    assert "revision" in refusal(tmp_path, revision="main")
    message = refusal("vit-bas")
    assert "vit-base" in message
    assert "owner/name" in message


def test_aliases():
    assert resolve("vit-base") == "google/vit-base-patch16-224"
    assert resolve("vit-base-384") == "google/vit-base-patch16-384"
    assert resolve("vit-large-patch32") == "google/vit-large-patch32-384"
    assert resolve("vit-tiny") == "WinKawaks/vit-tiny-patch16-224"
    assert resolve("deit-small-distilled") == "facebook/deit-small-distilled-patch16-224"
    assert len(set(ALIASES.values())) == 16


def test_shapes_are_those_of_the_network():
    for config in (CONFIG, ViTConfig((8, 12), (4, 4), 8, 2, 2, 6, 3, qkv_bias=False)):
        model = initialize(config, jax.random.key(0))
        shapes = {name: t.shape for name, t in flat_parameters(model.parameters).items()}
        assert shapes == parameter_shapes(config)
        assert jax.tree.structure(model.parameters) == jax.tree.structure(
            from_tensors(flat_parameters(model.parameters), config)
        )


def test_native_file_keeps_everything(tmp_path, tiny_model, tiny_images):
    native.save(tiny_model, tmp_path / "mine.safetensors")
    model = jaxattr.load(tmp_path / "mine.safetensors")
    assert model.config == tiny_model.config
    assert model.labels == tiny_model.labels
    assert model.preprocessing == tiny_model.preprocessing
    image = tiny_images[0]
    np.testing.assert_array_equal(model.forward(image)[0], tiny_model.forward(image)[0])


def test_embedded_model():
    model = jaxattr.load("scenes")
    assert model.name == "scenes"
    assert len(model.labels) == model.config.classes


def test_processor_settings():
    vit, notes = preprocessing.from_processor({"size": 224, "resample": 3}, (224, 224))
    assert (vit.resize, vit.crop, vit.resample, notes) == ((224, 224), None, "bicubic", ())
    deit = {"image_processor_type": "DeiTImageProcessor", "size": {"height": 256, "width": 256}}
    read, _ = preprocessing.from_processor({**deit, "do_normalize": False}, (224, 224))
    assert (read.resize, read.crop, read.mean) == ((256, 256), (224, 224), (0.0, 0.0, 0.0))
    larger = preprocessing.fit_to(read, (448, 448))
    assert (larger.resize, larger.crop) == ((512, 512), (448, 448))
    timm_recipe = {"crop_pct": 0.9, "interpolation": "bicubic", "mean": [0.5] * 3}
    read, _ = preprocessing.from_timm(timm_recipe, (224, 224))
    assert (read.resize, read.crop, read.resample) == (248, (224, 224), "bicubic")
    assert (read.std, read.crop_rounding) == (preprocessing.IMAGENET_STD, "even")


def test_positions_of_the_same_grid_are_untouched(tiny_model):
    parameters, config = positions.resample(
        tiny_model.parameters, tiny_model.config, tiny_model.config.image_size
    )
    assert config == tiny_model.config
    assert parameters is tiny_model.parameters
