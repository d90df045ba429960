"""timm's architectures: heads, activation and epsilon by name, or refused by it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cases.checkpoints import WIDTH, refusal, timm_tensors, write

import jaxattr
from jaxattr.checkpoints import timm_table

VECTORS = json.loads((Path(__file__).parents[1] / "checkpoints" / "timm_vectors.json").read_text())
MODELS = {
    name: dict(zip(VECTORS["fields"], row, strict=True)) for name, row in VECTORS["models"].items()
}
PLAIN = {name for name, row in MODELS.items() if not row["features"]}


def test_the_vectors_are_of_all_architectures():
    assert len(MODELS) > 200
    assert len(PLAIN) >= 50


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_the_table_is_timms(name):
    theirs, ours = MODELS[name], timm_table.find(name)
    assert ours is not None
    assert ours.width == theirs["width"]
    assert ours.heads == theirs["heads"]
    assert ours.activation == theirs["activation"]
    assert ours.epsilon == theirs["epsilon"]
    assert ours.pool == theirs["pool"]


def test_other_networks_are_refused_by_name():
    for name in MODELS.keys() - PLAIN:
        with pytest.raises(jaxattr.CheckpointError, match=name):
            timm_table.find(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_base_patch16_rpn_224", "residual post-norm"),
        ("vit_small_patch16_18x2_224", "two branches side by side"),
        ("vit_huge_patch14_xp_224", "attention and MLP side by side"),
        ("vit_pwee_patch16_reg1_gap_256.sbb_in1k", "attention and MLP side by side"),
        ("vit_dwee_patch16_reg1_gap_256", "differential attention"),
        ("vit_base_patch16_rope_mixed_224", "rotary"),
        ("deit3_base_patch16_224.fb_in22k_ft_in1k", "layer scale"),
        ("deit3_small_patch16_384_in21ft1k", "layer scale"),
        ("flexivit_base.1200ep_in1k", "no_embed_class"),
        ("vit_relpos_base_patch16_224", "relative position bias"),
        ("vit_base_r50_s16_224", "convolutional stem"),
        ("vit_base_patch16_clip_224.laion2b", "CLIP"),
        ("vit_base_patch16_siglip_224", "SigLIP"),
        ("naflexvit_base_patch16_gap", "not supported"),
        ("eva02_base_patch14_224", "not supported"),
        ("resnet50", "not supported"),
    ],
)
def test_the_reason_for_a_refusal(tmp_path, name, reason):
    """Even where the tensors look like a plain network's."""
    given = {"architecture": name, "model_args": {"num_heads": 3, "embed_dim": WIDTH}}
    message = refusal(write(tmp_path, timm_tensors(), given, None))
    assert name.partition(".")[0] in message
    assert reason in message


def load(folder, width: int, mlp: int, **config) -> jaxattr.Model:
    tensors = {n: np.zeros(t.shape, np.float32) for n, t in timm_tensors(width, mlp).items()}
    if config.pop("no_class_token", False):
        del tensors["cls_token"]
        tensors["pos_embed"] = tensors["pos_embed"][:, 1:]
    return jaxattr.load(write(folder, tensors, config, None))


@pytest.mark.parametrize("form", ["{}", "{}.augreg_in21k", "hf-hub:timm/{}.augreg", "timm/{}"])
def test_forms_of_a_name(tmp_path, form):
    model = load(tmp_path, 192, 768, architecture=form.format("vit_tiny_patch16_224"))
    assert (model.config.heads, model.config.layer_norm_epsilon) == (3, 1e-6)


@pytest.mark.parametrize(
    ("name", "width", "heads", "activation"),
    [
        ("vit_base_patch16_gap_224", 768, 16, "gelu"),
        ("vit_base_patch16_siglip_gap_224.webli", 768, 12, "gelu"),
        ("vit_base_patch32_siglip_gap_256.v2_webli", 768, 12, "gelu_tanh"),
        ("vit_so400m_patch14_siglip_gap_378", 1152, 16, "gelu"),
        ("vit_so400m_patch16_siglip_gap_256", 1152, 16, "gelu_tanh"),
        ("vit_giantopt_patch16_siglip_gap_256", 1536, 16, "gelu_tanh"),
    ],
)
def test_what_was_wrong_before(tmp_path, name, width, heads, activation):
    config = load(tmp_path, width, 8, architecture=name, no_class_token=True).config
    assert (config.heads, config.activation, config.pooling) == (heads, activation, "mean")


def test_unknown_names(tmp_path):
    message = refusal(write(tmp_path, timm_tensors(), {"architecture": "vit_mine_patch8_16"}, None))
    assert "no architecture vit_mine_patch8_16" in message
    assert '"num_heads"' in message
    model = load(tmp_path, 64, 32, architecture="vit_mine_patch8_16", model_args={"num_heads": 4})
    assert (model.config.heads, model.config.activation) == (4, "gelu")
    assert any("vit_mine_patch8_16" in note for note in model.notes)


def test_arguments_go_before_the_table(tmp_path):
    def config(**arguments):
        name = "vit_tiny_patch16_224"
        return load(tmp_path, 192, 768, architecture=name, model_args=arguments).config

    assert config(num_heads=6).heads == 6
    assert config(act_layer="gelu_tanh").activation == "gelu_tanh"
    assert config(act_layer="quick_gelu", drop_rate=0.1, img_size=[16, 16]).heads == 3
    for key, value in {"norm_layer": "rmsnorm", "qk_norm": True, "reg_tokens": 4}.items():
        with pytest.raises(jaxattr.CheckpointError, match=key):
            config(**{key: value})
    with pytest.raises(jaxattr.CheckpointError, match="depth says number of blocks 12"):
        config(depth=12)


def test_another_width_than_the_names(tmp_path):
    """So the number of heads is another, too: the old vit_small was 768 wide, with 8 heads."""
    given = {"architecture": "vit_small_patch16_224"}
    message = refusal(write(tmp_path, timm_tensors(768, 8), given, None))
    assert "architecture vit_small_patch16_224 says width 384, the weights say 768" in message
    model = load(tmp_path, 768, 8, **given, model_args={"num_heads": 8})
    assert model.config.heads == 8


def test_pooling(tmp_path):
    """timm's `fc_norm` is there for averages, and for the class token where asked."""
    tensors = timm_tensors()
    pooled = {name.replace("norm.", "fc_norm.") if name.startswith("norm") else name: t
              for name, t in tensors.items()}  # fmt: skip
    given = {"architecture": "vit_tiny_patch16_224"}
    given |= {"model_args": {"num_heads": 3, "embed_dim": WIDTH}}

    def pooling(state, name: str) -> str:
        return jaxattr.load(
            write(tmp_path, state, {**given, "global_pool": name}, None)
        ).config.pooling

    assert pooling(tensors, "token") == pooling(pooled, "token") == "class_token"
    assert pooling(tensors, "avg") == "mean"
    assert pooling(pooled, "avg") == "mean_then_norm"
    for name in ("map", "avgmax", "max"):
        message = refusal(write(tmp_path, tensors, {**given, "global_pool": name}, None))
        assert f"global_pool '{name}' is not supported" in message


def test_a_timm_model_saved_by_transformers(tmp_path):
    given = {"model_type": "timm_wrapper", "architecture": "vit_tiny_patch16_224"}
    names = {f"timm_model.{name}": tensor for name, tensor in timm_tensors().items()}
    message = refusal(write(tmp_path, names, given, None))
    assert "model_type timm_wrapper (timm's 'vit_tiny_patch16_224'" in message
    assert "save_for_hf" in message


def test_old_files_hold_the_processing_themselves(tmp_path):
    """From before timm had `pretrained_cfg` in them."""
    flat = {"architecture": "vit_tiny_patch16_224", "input_size": [3, 16, 16], "crop_pct": 0.5}
    flat |= {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear"}
    processing = load(tmp_path, 192, 768, **flat).preprocessing
    assert (processing.resize, processing.crop) == (32, (16, 16))
    assert (processing.mean, processing.resample) == ((0.1, 0.2, 0.3), "bilinear")
    unsaid = load(tmp_path, 192, 768, architecture="vit_tiny_patch16_224")
    assert any("timm's default is assumed" in note for note in unsaid.notes)
