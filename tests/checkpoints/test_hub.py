"""The real hub client against a local server: download, cache, offline, and every failure."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from fake_hub import TOKEN, Hub, serve

from jaxattr.checkpoints.convert import flat_parameters
from jaxattr.vit import ViTConfig, initialize

# One process for several loads: JAX takes seconds to import. Prints what came of each.
# The client tries again five times; without its waits in between, of up to 8 seconds.
SCRIPT = """
import json, sys, time
time.sleep = lambda seconds: None
import jaxattr
results = []
for source, revision in json.loads(sys.argv[1]):
    try:
        model = jaxattr.load(source, revision=revision)
        first = float(model.parameters["head"]["bias"][0])
        results.append(["ok", model.name, list(model.labels), first, model.preprocessing.resize])
    except jaxattr.CheckpointError as error:
        results.append(["error", str(error)])
assert "transformers" not in sys.modules
print(json.dumps(results))
"""
CONFIG = ViTConfig((8, 8), (4, 4), 8, 2, 2, 16, 3)
JSON = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "image_size": 8,
    "patch_size": 4,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "layer_norm_eps": 1e-6,
    "id2label": {"10": "x", "2": "c", "0": "a", "1": "b"} | {str(i): f"l{i}" for i in range(3, 10)},
}
PROCESSOR = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}}


def checkpoint(first_bias: float, **changes) -> dict[str, bytes]:
    """A small checkpoint's files, `jaxattr`'s own tensor names in a transformers folder."""
    from safetensors.numpy import save

    classes = len(JSON["id2label"])
    config = ViTConfig((8, 8), (4, 4), 8, 2, 2, 16, classes)
    tensors = flat_parameters(initialize(config, jax.random.key(0)).parameters)
    tensors["head/bias"] = np.full(classes, first_bias, np.float32)
    return {
        "config.json": json.dumps({**JSON, **changes}).encode(),
        "preprocessor_config.json": json.dumps(PROCESSOR).encode(),
        "model.safetensors": save(tensors),
    }


@pytest.fixture(scope="module")
def hub():
    good = checkpoint(1.0)
    sharded = {name: good[name] for name in good if name != "model.safetensors"}
    sharded["model-1.safetensors"] = good["model.safetensors"]
    sharded["model.safetensors.index.json"] = b'{"weight_map": {"x": "model-1.safetensors"}}'
    pickled = {"config.json": good["config.json"], "pytorch_model.bin": b"\x80\x04"}
    nested = {name: good[name] for name in good if name != "preprocessor_config.json"}
    inner = {**PROCESSOR, "size": {"height": 16, "width": 16}, "do_center_crop": True}
    nested["processor_config.json"] = json.dumps(
        {"image_processor": {**inner, "crop_size": 8}}
    ).encode()
    # transformers leaves the index there when a smaller model is saved anew.
    nested["model.safetensors.index.json"] = b'{"weight_map": {"x": "gone.safetensors"}}'
    pages = {**good, "model.safetensors": b"<!DOCTYPE html><html></html>"}
    return Hub(
        {
            "google/vit-base-patch16-224": {"main": good, "v2": checkpoint(2.0)},
            "lab/sharded": {"main": sharded},
            "lab/pickled": {"main": pickled},
            "lab/empty": {"main": {"config.json": good["config.json"]}},
            "lab/page": {"main": pages},
            "lab/plain": {"main": {"README.md": b"hello"}},
            "lab/resnet": {"main": checkpoint(1.0, model_type="resnet")},
            "lab/gated": {"main": good},
            "lab/adapter": {"main": {"adapter_config.json": b'{"peft_type": "LORA"}'}},
            "lab/applied": {"main": {**good, "adapter_config.json": b'{"peft_type": "LORA"}'}},
            "lab/nested": {"main": nested},
            "lab/broken": {"main": good},
        },
        frozenset({"lab/gated"}),
        frozenset({"lab/broken"}),
        [],
    )


def load_all(home: Path, endpoint: str, *sources, **environment) -> list:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    kept |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"}
    kept |= {"JAX_PLATFORMS": "cpu", **environment}
    pairs = [source if isinstance(source, tuple) else (source, None) for source in sources]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(pairs)],
        env=kept,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert all("\n" not in str(result) for result in results)
    return results


def test_download_cache_offline_unreachable(hub, tmp_path):
    commit = hub.commit("google/vit-base-patch16-224", "v2")
    with serve(hub) as endpoint:
        results = load_all(
            tmp_path,
            endpoint,
            "vit-base",
            ("google/vit-base-patch16-224", "v2"),
            ("vit-base", commit),
            "lab/sharded",
            ("vit-base", "v3"),
            "lab/nothing",
            "lab/pickled",
            "lab/empty",
            "lab/plain",
            "lab/page",
            "lab/resnet",
            "lab/gated",
            "lab/broken",
            "a/b/c",
            "vit-bse",
            "lab/adapter",
            "lab/applied",
            "lab/nested",
        )
    name, labels = "google/vit-base-patch16-224", ["a", "b", "c", *(f"l{i}" for i in range(3, 10))]
    labels.append("x")
    assert results[0] == ["ok", name, labels, 1.0, [8, 8]]
    assert results[1] == ["ok", f"{name}@v2", labels, 2.0, [8, 8]]
    assert results[2] == ["ok", f"{name}@{commit}", labels, 2.0, [8, 8]]
    assert results[3] == ["ok", "lab/sharded", labels, 1.0, [8, 8]]
    assert results[17] == ["ok", "lab/nested", labels, 1.0, [16, 16]]
    wanted = {
        15: ("lab/adapter: adapter_config.json says 'LORA' adapter", "merge_and_unload"),
        16: ("lab/applied: adapter_config.json says 'LORA' adapter", "merge_and_unload"),
        4: ("no revision v3", endpoint),
        5: ("lab/nothing: not found on", "HF_TOKEN"),
        6: ("pytorch_model.bin, a pickle", "refused"),
        7: ("has no model.safetensors",),
        8: ("has no config.json",),
        9: ("a web page, not the weights",),
        10: ("model_type resnet is not supported",),
        11: ("is gated", "HF_TOKEN"),
        12: ("lab/broken", "500"),
        13: ("a/b/c: not a hub id (owner/name)",),
        14: ("nearest: vit-base",),
    }
    for index, parts in wanted.items():
        kind, message = results[index]
        assert kind == "error"
        assert all(part in message for part in parts), message
    assert not any(request.endswith("pytorch_model.bin") for request in hub.requests)

    offline = load_all(
        tmp_path, endpoint, "vit-base", (name, "v2"), "lab/gated", HF_HUB_OFFLINE="1"
    )
    assert offline[:2] == results[:2]
    assert "lab/gated: not in the cache and HF_HUB_OFFLINE is set" in offline[2][1]

    # The server is gone: what is cached still loads, the rest is one line.
    unreachable = load_all(tmp_path, endpoint, "vit-base", "lab/gated")
    assert unreachable[0] == results[0]
    assert f"lab/gated: could not be downloaded from {endpoint}" in unreachable[1][1]
    assert "pass a local folder" in unreachable[1][1]


def test_token_opens_a_gated_checkpoint(hub, tmp_path):
    with serve(hub) as endpoint:
        (result,) = load_all(tmp_path, endpoint, "lab/gated", HF_TOKEN=TOKEN)
    assert result[:2] == ["ok", "lab/gated"]


def test_nobody_listens(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (result,) = load_all(tmp_path, f"http://127.0.0.1:{port}", "vit-base")
    assert result[0] == "error"
    assert "google/vit-base-patch16-224: could not be downloaded" in result[1]
