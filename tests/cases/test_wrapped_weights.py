"""Stale indexes, prefixes, wrapped heads, adapters and quantised weights: read rightly or named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cases.checkpoints import (
    CONFIG,
    NAMES,
    WIDTH,
    refusal,
    renamed,
    same_network,
    timm_tensors,
    transformers_tensors,
    write,
)
from safetensors.numpy import save_file

import jaxattr

TENSORS = transformers_tensors()
TIMM = {"architecture": "vit_tiny_patch16_224", "model_args": {"num_heads": 3, "embed_dim": WIDTH}}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> jaxattr.Model:
    model = jaxattr.load(write(tmp_path_factory.mktemp("plain"), TENSORS))
    assert model.labels == NAMES
    assert model.notes == ()
    return model


def test_a_whole_file_goes_before_an_index(tmp_path, plain):
    """As in transformers, which leaves the index there when a smaller model is saved anew."""
    folder = write(tmp_path, TENSORS)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(TENSORS, "model-1.safetensors")}))
    assert same_network(jaxattr.load(folder), plain)
    save_file(
        {name: tensor + 1 for name, tensor in TENSORS.items()}, tmp_path / "model-1.safetensors"
    )
    assert same_network(jaxattr.load(folder), plain)
    index.write_text("not JSON")
    assert same_network(jaxattr.load(folder), plain)


def test_shards(tmp_path, plain):
    folder = write(tmp_path, TENSORS)
    (folder / "model.safetensors").unlink()
    names = sorted(TENSORS)
    for number, part in enumerate((names[:20], names[20:])):
        save_file({name: TENSORS[name] for name in part}, folder / f"part-{number}.safetensors")
    where = {name: f"part-{int(at >= 20)}.safetensors" for at, name in enumerate(names)}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    assert same_network(jaxattr.load(folder), plain)
    (folder / "part-1.safetensors").unlink()
    assert "1 of its 2 shards are missing (part-1.safetensors)" in refusal(folder)
    save_file(dict(TENSORS), folder / "part-1.safetensors")
    assert "is in part-0.safetensors, too" in refusal(folder)


def test_other_archives_are_no_weights(tmp_path, plain):
    folder = write(tmp_path, TENSORS)
    np.savez(folder / "expected.npz", logits=np.zeros(3))
    assert same_network(jaxattr.load(folder), plain)
    (folder / "model.safetensors").rename(folder / "vit.safetensors")
    assert same_network(jaxattr.load(folder), plain)
    (folder / "vit.safetensors").unlink()
    assert "no .npz file with a network's tensors" in refusal(folder)
    np.savez(folder / "weights.npz", **TENSORS)  # pyright: ignore[reportArgumentType]
    assert same_network(jaxattr.load(folder), plain)


PREFIXES = [
    "module.",
    "model.",
    "_orig_mod.",
    "backbone.",
    "net.",
    "module._orig_mod.",
    "student.a.",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_common_prefix_is_left_out_and_said(tmp_path, plain, prefix):
    wrapped = jaxattr.load(write(tmp_path, renamed(TENSORS, lambda name: prefix + name)))
    assert same_network(wrapped, plain)
    assert len(wrapped.notes) == 1
    assert prefix.replace("_orig_mod.", "") in wrapped.notes[0]


def test_wrappers_in_the_middle(tmp_path, plain):
    inner = renamed(TENSORS, lambda name: name.replace("vit.", "vit._orig_mod."))
    wrapped = jaxattr.load(write(tmp_path, inner))
    assert same_network(wrapped, plain)
    assert "_orig_mod." in wrapped.notes[0]


@pytest.mark.parametrize("prefix", ["module.", "vit.", "timm_model."])
def test_prefixes_of_timm(tmp_path, prefix):
    bare = jaxattr.load(write(tmp_path / "a", timm_tensors(), TIMM, None))
    names = renamed(timm_tensors(), lambda name: prefix + name)
    wrapped = jaxattr.load(write(tmp_path / "b", names, TIMM, None))
    assert same_network(wrapped, bare)
    assert any(prefix in note for note in wrapped.notes)


def test_a_loss_saved_with_the_network(tmp_path, plain):
    tensors = renamed(TENSORS, lambda name: f"model.{name}")
    tensors["criterion.weight"] = np.ones(5, np.float32)
    wrapped = jaxattr.load(write(tmp_path, tensors))
    assert same_network(wrapped, plain)
    assert any("criterion.weight" in note for note in wrapped.notes)


def test_what_lies_beside_a_network_is_not_guessed(tmp_path):
    """A head outside of the prefix may read anything of the network."""
    tensors = {f"backbone.{name}": tensor for name, tensor in TENSORS.items()}
    tensors["fc.weight"] = np.ones((5, WIDTH), np.float32)
    assert "fc.weight" in refusal(write(tmp_path / "fc", tensors))
    outside = renamed(TENSORS, lambda name: name if "classifier" in name else f"net.{name}")
    message = refusal(write(tmp_path / "classifier", outside))
    assert "classifier.bias, classifier.weight" in message
    twice = {
        **renamed(TENSORS, lambda name: f"model.{name}"),
        **{f"ema.{n}": t for n, t in TENSORS.items()},
    }
    assert "more than one network" in refusal(write(tmp_path / "ema", twice))
    extra = {**TENSORS, "aux_classifier.weight": np.ones((5, WIDTH), np.float32)}
    assert "1 extra: aux_classifier.weight" in refusal(write(tmp_path / "aux", extra))


@pytest.mark.parametrize("head", ["classifier.0", "classifier.1", "classifier.3", "classifier.fc"])
def test_a_single_linear_layer_behind_a_sequential(tmp_path, plain, head):
    tensors = renamed(TENSORS, lambda name: name.replace("classifier", head))
    wrapped = jaxattr.load(write(tmp_path, tensors))
    assert same_network(wrapped, plain)
    assert f"{head} is taken for the head" in wrapped.notes[0]
    both = jaxattr.load(write(tmp_path / "both", renamed(tensors, lambda name: f"module.{name}")))
    assert same_network(both, plain)
    assert len(both.notes) == 2


def test_timms_head_behind_a_sequential(tmp_path):
    bare = jaxattr.load(write(tmp_path / "a", timm_tensors(), TIMM, None))
    tensors = renamed(timm_tensors(), lambda name: name.replace("head.", "head.0."))
    assert same_network(jaxattr.load(write(tmp_path / "b", tensors, TIMM, None)), bare)


def test_heads_that_are_no_linear_layer(tmp_path):
    backbone = {name: t for name, t in TENSORS.items() if "classifier" not in name}

    def message(**shapes: tuple[int, ...]) -> str:
        head = {
            f"classifier.{n.replace('__', '.')}": np.ones(s, np.float32) for n, s in shapes.items()
        }
        return refusal(write(tmp_path, {**backbone, **head}))

    first = {"0__weight": (8, WIDTH), "0__bias": (8,)}
    assert "an MLP of 2 linear layers" in message(**first, **{"2__weight": (5, 8), "2__bias": (5,)})
    norm = {"0__weight": (WIDTH,), "0__bias": (WIDTH,)}
    last = {"1__weight": (5, WIDTH), "1__bias": (5,)}
    assert "a linear layer with other layers (classifier.0.bias" in message(**norm, **last)
    assert "without a bias" in message(**{"1__weight": (5, WIDTH)})
    assert "no linear layer" in message(**norm)
    assert "no classification head" in message()
    assert "(0, 12), so it is empty" in message(weight=(0, WIDTH), bias=(0,))


def test_adapters_are_named(tmp_path):
    folder = tmp_path / "lora"
    folder.mkdir()
    json_ = {"peft_type": "LORA", "base_model_name_or_path": "google/vit-base-patch16-224-in21k"}
    (folder / "adapter_config.json").write_text(json.dumps(json_))
    query = "vit.encoder.layer.0.attention.attention.query"
    lora = {f"base_model.model.{query}.lora_{part}.weight": np.ones((2, 2)) for part in "AB"}
    save_file(lora, folder / "adapter_model.safetensors")
    message = refusal(folder)
    assert "'LORA' adapter of the base model 'google/vit-base-patch16-224-in21k'" in message
    assert "merge_and_unload()" in message
    assert "merge_and_unload()" in refusal(folder / "adapter_model.safetensors")
    write(folder, TENSORS)  # transformers would load the base and apply the adapter
    assert "adapter" in refusal(folder)
    unmerged = renamed(TENSORS, lambda name: name.replace("query.", "query.base_layer."))
    assert "an adapter (LoRA or its kind) that is not merged" in refusal(
        write(tmp_path / "unmerged", {**unmerged, **lora})
    )


QUANTISED = ("SCB", "weight_format", "weight.absmax", "weight.quant_state.bitsandbytes__nf4")
QUANTISED = (*QUANTISED, "qweight", "weight_scale", "weight._data")


@pytest.mark.parametrize("leaf", QUANTISED)
def test_quantised_weights_are_named(tmp_path, leaf):
    name = f"vit.encoder.layer.0.attention.attention.query.{leaf}"
    message = refusal(write(tmp_path, {**TENSORS, name: np.ones(WIDTH, np.float32)}))
    assert name in message
    assert "quantised" in message
    assert "dequantize()" in message


def test_quantised_by_config_or_by_type(tmp_path):
    said = {**CONFIG, "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    assert "quantised weights ('bitsandbytes')" in refusal(write(tmp_path, TENSORS, said))
    name = "vit.encoder.layer.1.output.dense.weight"
    whole = {**TENSORS, name: np.ones(TENSORS[name].shape, np.int8)}
    message = refusal(write(tmp_path, whole))
    assert f"tensor {name} is stored as I8" in message


@pytest.mark.parametrize("kind", ["float16", "float64", "bfloat16"])
def test_other_floats(tmp_path, kind):
    import jax.numpy as jnp

    cast = {name: t.astype(jnp.dtype(kind)) for name, t in TENSORS.items()}
    model = jaxattr.load(write(tmp_path, cast))
    wanted = np.asarray(cast["classifier.weight"], np.float32).T
    np.testing.assert_array_equal(np.asarray(model.parameters["head"]["kernel"]), wanted)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(tmp_path, value):
    for name in ("classifier.weight", "vit.embeddings.cls_token", "vit.layernorm.bias"):
        bad = TENSORS[name].copy()
        bad.flat[3] = value
        message = refusal(write(tmp_path, {**TENSORS, name: bad}))
        assert f"tensor {name} holds numbers that are" in message
        assert ("NaN" if np.isnan(value) else "infinite") in message
    unused = {**TENSORS, "vit.pooler.dense.weight": np.full((WIDTH, WIDTH), value, np.float32)}
    assert jaxattr.load(write(tmp_path, unused)).notes == ()


def test_numbers_that_overflow(tmp_path):
    wide = {name: tensor.astype(np.float64) for name, tensor in TENSORS.items()}
    wide["classifier.bias"][2] = 1e300
    assert "tensor classifier.bias holds numbers that are infinite as float32" in refusal(
        write(tmp_path, wide)
    )
