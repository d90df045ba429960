"""Mutated checkpoints: each loads, or is one `CheckpointError` that names file, key or tensor."""

from __future__ import annotations

import json
import os
import zipfile
from typing import Any

import numpy as np
import pytest
from cases.checkpoints import CONFIG, PROCESSOR, refusal, timm_tensors, transformers_tensors, write
from safetensors.numpy import save_file

import jaxattr
from jaxattr.checkpoints import files

TENSORS = transformers_tensors()
DEEP = "[" * 100_000 + "]" * 100_000
VALUES = (
    "null", '""', "[]", "{}", "-1", "0", "0.5", "1e400", "true", "false", "NaN", "1" + "0" * 30,
    "1000000000", '"\\ud800"', '"a\\u0000b"', '[[["x"]]]', '{"a": {"b": null}}', '"vit"', "[3, 4]",
    "[1, 2, 3, 4]", '{"0": "a"}', "1" * 5000, DEEP,
)  # fmt: skip
TIMM = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 5,
    "global_pool": "token",
    "label_names": ["a", "b", "c", "d", "e"],
    "model_args": {
        "num_heads": 3,
        "embed_dim": 12,
        "depth": 1,
        "img_size": 16,
        "act_layer": "gelu",
    },
    "pretrained_cfg": {
        "tag": "in1k",
        "input_size": [3, 16, 16],
        "crop_pct": 0.9,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    },
}
MORE = {
    **CONFIG,
    "num_labels": 5,
    "label2id": {},
    "problem_type": "regression",
    "quantization_config": None,
}
RECIPE = {
    **PROCESSOR, "do_resize": True, "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_center_crop": True,
    "crop_size": 16,
}  # fmt: skip


def survives(folder, *named: str) -> bool:
    """Whether it loads; where it does not, one line that holds one of the names."""
    try:
        jaxattr.load(folder)
    except jaxattr.CheckpointError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) < 900
        assert any(name in message for name in named), message
        return False
    return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("hostile"), TENSORS, MORE, RECIPE)


def mutations(whole: dict[str, Any], key: str):
    """The JSON with another value under the key, or without it, or with what is no object."""
    for value in VALUES:
        yield json.dumps({**whole, key: "@@"}).replace('"@@"', value)
    yield json.dumps({name: value for name, value in whole.items() if name != key})


@pytest.mark.parametrize("key", MORE)
def test_every_key_of_config(folder, key):
    path = folder / "config.json"
    loaded = []
    for text in mutations(MORE, key):
        path.write_text(text, encoding="utf-8")
        loaded.append(survives(folder, key, "config.json"))
    path.write_text(json.dumps(MORE))
    assert jaxattr.load(folder)
    assert not all(loaded) or key in ("label2id",)


@pytest.mark.parametrize("key", RECIPE)
def test_every_key_of_the_processor(folder, key):
    path = folder / "preprocessor_config.json"
    for text in mutations(RECIPE, key):
        path.write_text(text, encoding="utf-8")
        survives(folder, "preprocessor_config.json")
    path.write_text(json.dumps(RECIPE))


KEYS = [*TIMM, *(f"model_args.{key}" for key in TIMM["model_args"])]
KEYS += [f"pretrained_cfg.{key}" for key in TIMM["pretrained_cfg"]]


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_timms_config(tmp_path, key):
    folder = write(tmp_path, timm_tensors(), TIMM, None)
    assert survives(folder)
    part, _, inner = key.rpartition(".")
    for text in mutations(TIMM[part] if part else TIMM, inner):
        whole = json.dumps({**TIMM, part: "@@"}).replace('"@@"', text) if part else text
        (folder / "config.json").write_text(whole, encoding="utf-8")
        survives(folder, "config.json", inner)


def test_files_that_are_no_json(folder):
    texts = [b"", b"null", b"[]", b'"a"', b"3", b"{", b"\xff\xfe{}", b"{}" * 2, DEEP.encode()]
    texts += [b'{"a": 1, "a": 2}', b"\x00", b'{"hidden_size": ' + b"9" * 5000 + b"}"]
    for name, whole in (("config.json", MORE), ("preprocessor_config.json", RECIPE)):
        for text in texts:
            (folder / name).write_bytes(text)
            assert not survives(folder, name)
        (folder / name).unlink()
        (folder / name).mkdir()
        assert not survives(folder, name)
        (folder / name).rmdir()
        (folder / name).write_bytes(b"\xef\xbb\xbf" + json.dumps(whole).encode())
        assert survives(folder)


def test_labels_that_are_none(folder):
    for value in VALUES:
        (folder / "labels.json").write_text(value, encoding="utf-8")
        survives(folder, "labels.json")
    (folder / "labels.json").unlink()


def test_every_tensor_dropped_turned_or_of_another_kind(tmp_path):
    for name, tensor in TENSORS.items():
        rest = {key: value for key, value in TENSORS.items() if key != name}
        turned = np.ascontiguousarray(np.moveaxis(tensor, 0, -1))
        changed = {
            "dropped": rest,
            "renamed": {**rest, f"{name}x": tensor},
            "flat": {**TENSORS, name: tensor.ravel()},
            "empty": {**TENSORS, name: tensor[:0]},
            "whole": {**TENSORS, name: tensor.astype(np.int64)},
            "infinite": {**TENSORS, name: np.full_like(tensor, np.inf)},
        }
        if turned.shape != tensor.shape:
            changed["turned"] = {**TENSORS, name: turned}
        if tensor.ndim > 1:
            changed["scalar"] = {**TENSORS, name: np.full((), 3, np.float32)}
        for kind, tensors in changed.items():
            kinds = (name, "config.json", "position embeddings", "is a patch embedding")
            same = kind == "flat" and tensor.ndim == 1
            assert survives(write(tmp_path, tensors), *kinds) == same


def test_names_of_tensors(tmp_path):
    names = ("a\0b", "a\nb", "\x1b[31m", "é" * 3000, "", ".", "vit.encoder.layer.7.x")
    numbers = ("99999999999", "9" * 5000)
    for name in (*names, *(f"vit.encoder.layer.{number}.x" for number in numbers)):
        folder = write(tmp_path, {**TENSORS, name: np.ones(2, np.float32)})
        assert not survives(folder, "checkpoint")


def test_folders_in_the_place_of_files(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    assert "a folder, wanted a file" in refusal(tmp_path)
    (tmp_path / "model.safetensors").rmdir()
    (tmp_path / "model.safetensors.index.json").mkdir()
    (tmp_path / "x.npz").mkdir()
    assert "holds no .safetensors" in refusal(tmp_path)
    for name in ("a\0b", "x" * 5000, ""):
        assert refusal(name)


def test_indexes(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    for text in ("{}", "[]", "null", '{"weight_map": []}', '{"weight_map": {"x": null}}',
                 '{"weight_map": {"x": "../../etc/passwd"}}', '{"weight_map": {"x": "a\\u0000b"}}',
                 '{"weight_map": {"x": "\\ud800"}}', DEEP):  # fmt: skip
        index.write_text(text)
        assert not survives(tmp_path, index.name)


def bomb(path, shape: tuple[int, ...], count: int = 1) -> None:
    """An archive of zeros, made without their memory."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    head = head.ljust(117) + "\n"
    start = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()
    names = ["embedding/kernel", *(f"Transformer/x{n}" for n in range(count))]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                file.write(start)
                for _ in range(int(np.prod(shape)) * 4 // (1 << 20)):
                    file.write(bytes(1 << 20))


def test_an_archive_of_zeros_is_not_unpacked(tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(files, "_MUCH", 1 << 24)
    bomb(tmp_path / "a.npz", (16, 16, 3, 1 << 13))
    assert os.path.getsize(tmp_path / "a.npz") < 1 << 20
    tracemalloc.start()
    message = refusal(tmp_path / "a.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "unpacks to 50 MB" in message
    assert peak < 1 << 22


def test_archives_that_lie(tmp_path):
    def message(descr: str, shape: str, start: bytes = b"\x93NUMPY\x01\x00") -> str:
        head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            entry = start + len(head).to_bytes(2, "little") + head
            archive.writestr("embedding/kernel.npy", entry)
        return refusal(tmp_path / "a.npz")

    pairs = (
        ("'|O'", "(3,)"), ("'<f4'", "(-3, 4)"), ("'<f4'", "3"), ("'what'", "(3,)"),
        ("[('a', '<f4')]", "(3,)"), ("'<f4'", "(9**99,)"), ("'<f4'", f"({'9' * 40},)"),
        ("'<f4'", "(1, 1, 3, 4)"), ("__import__('os')", "(3,)"),
    )  # fmt: skip
    for descr, shape in pairs:
        assert "a.npz" in message(descr, shape)
    for start in (b"\x93NUMPY\x09\x00", b"none"):
        assert "a.npz" in message("'<f4'", "(3,)", start)


def test_image_sizes_beyond_all_memory(tmp_path):
    folder = write(tmp_path, TENSORS)
    for size in (1_000_000, (8_000_000, 8), 1 << 30):
        assert "tokens, whose attention does not fit in memory" in refusal(folder, image_size=size)
    for size in (0, -8):
        assert "size" in refusal(folder, image_size=size)


def test_sizes_are_held_against_the_tensors_first(tmp_path):
    """A billion blocks would take hours and all memory."""
    for key in ("num_hidden_layers", "hidden_size", "intermediate_size", "image_size"):
        for value in (1_000_000_000, 999_999_999):
            config = {**CONFIG, key: value, "num_attention_heads": 1, "patch_size": 1}
            assert not survives(write(tmp_path, TENSORS, config), key, "patch_size")
    message = refusal(write(tmp_path, TENSORS, {**CONFIG, "num_hidden_layers": 1_000_000_000}))
    assert "num_hidden_layers says number of blocks 1000000000, the weights say 2" in message


def test_the_librarys_own_metadata(tmp_path):
    from jaxattr.checkpoints import native
    from jaxattr.checkpoints.convert import flat_parameters

    model = jaxattr.load(write(tmp_path / "a", TENSORS))
    native.save(model, tmp_path / "b.safetensors")
    assert survives(tmp_path / "b.safetensors")
    whole = files.read_metadata(tmp_path / "b.safetensors")
    for key, text in whole.items():
        values = [*VALUES, text.replace("16", "-16"), text.replace("12", "1e400")]
        if key != "labels":
            parts = json.loads(text)
            for field in parts:
                values += [json.dumps({**parts, field: json.loads(v)}) for v in VALUES[:11:2]]
        for value in values:
            tensors = flat_parameters(model.parameters)
            save_file(tensors, tmp_path / "c.safetensors", {**whole, key: value})
            survives(tmp_path / "c.safetensors", "c.safetensors")
