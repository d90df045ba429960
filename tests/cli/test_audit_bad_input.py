"""`jaxattr audit` with bad images, folders, outputs and checkpoints: one line, exit code 2."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from audit_world import contents, finished, model, one_line, run, world
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from jaxattr.audit.ledger import read_ledger

BAD_IMAGES = {
    "truncated.jpg": "truncated",
    "empty.jpg": "0 bytes",
    "text.jpg": "text.jpg",
    "bomb.png": "2500000000 pixels",
}


def _bad_image(path: Path) -> None:
    if path.name == "truncated.jpg":
        Image.effect_noise((64, 64), 80).convert("RGB").save(path, "JPEG")
        path.write_bytes(path.read_bytes()[:900])
    elif path.name == "text.jpg":
        path.write_text("not a picture")
    elif path.name == "bomb.png":
        header = (50_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
        chunks = {b"IHDR": header, b"IDAT": zlib.compress(b""), b"IEND": b""}
        content = b"\x89PNG\r\n\x1a\n"
        for name, body in chunks.items():
            checksum = zlib.crc32(name + body).to_bytes(4, "big")
            content += len(body).to_bytes(4, "big") + name + body + checksum
        path.write_bytes(content)
    else:
        path.write_bytes(b"")


@pytest.fixture
def mixed(world, tmp_path):
    """Some good photos, and one bad one of each kind."""
    shutil.copytree(world / "photos" / "wolf", tmp_path / "mixed" / "wolf")
    for name in BAD_IMAGES:
        _bad_image(tmp_path / "mixed" / "wolf" / name)
    return tmp_path / "mixed"


def test_bad_images_among_good_ones_are_skipped_and_counted(run, mixed, tmp_path) -> None:
    result = run("--output", tmp_path / "out", images=mixed)
    assert result.exit_code == 0, result.output
    assert "31 images" in result.stdout
    skipped = dict(read_ledger(tmp_path / "out").skipped())
    assert {Path(file).name for file in skipped} == set(BAD_IMAGES)
    for file, reason in skipped.items():
        name = Path(file).name
        assert BAD_IMAGES[name] in reason
        assert f"Warning: skipped {reason}" in result.stderr
        assert name in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_strict_stops_at_a_bad_image(run, mixed, tmp_path) -> None:
    result = run("--output", tmp_path / "out", "--strict", images=mixed)
    one_line(result, "wolf/bomb.png")


def test_only_bad_images(run, mixed, tmp_path) -> None:
    for path in (mixed / "wolf").glob("0*.png"):
        path.unlink()
    one_line(run("--output", tmp_path / "out", images=mixed), "none of the 4 images")


def test_bad_folders(run, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    one_line(run(images=tmp_path / "empty"), "empty")
    one_line(run(images=tmp_path / "nowhere"), "nowhere")
    (tmp_path / "other" / "red foxx").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "other" / "red foxx" / "a.png")
    one_line(run(images=tmp_path / "other"), "red foxx", "red fox")
    assert not (tmp_path / "jaxattr-audit").exists()


def test_an_unknown_class(run) -> None:
    one_line(run("--classes", "brown bare"), "brown bare", "brown bear")


def test_an_unwritable_output(run, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    one_line(run("--output", tmp_path / "file" / "out"), "file")


def test_another_runs_output(run, finished, tmp_path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    one_line(run("--output", tmp_path / "copy", "--limit", 10), "another run", "count")
    assert contents(tmp_path / "copy") == contents(finished)


def test_a_damaged_shard(run, finished, tmp_path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    shard = tmp_path / "copy" / "ledger" / "shard-000001.parquet"
    shard.write_bytes(shard.read_bytes()[:100])
    one_line(run("--output", tmp_path / "copy"), "shard-000001.parquet", "delete")


def test_bad_checkpoints(run, world, model, tmp_path) -> None:
    flat = load_file(world / "model.safetensors")
    cases = {
        "missing": ({k: v for k, v in flat.items() if k != "norm/scale"}, "norm/scale"),
        "extra": (flat | {"extra/kernel": np.zeros(3, np.float32)}, "extra/kernel"),
        "misshapen": (flat | {"head/bias": np.zeros(9, np.float32)}, "head/bias"),
    }
    with safe_open(world / "model.safetensors", "np") as file:
        metadata = file.metadata()
    for name, (tensors, part) in cases.items():
        save_file(tensors, tmp_path / f"{name}.safetensors", metadata)
        one_line(run(model=tmp_path / f"{name}.safetensors"), part)
    resnet = {
        "conv1.weight": np.zeros((4, 3, 7, 7), np.float32),
        "fc.bias": np.zeros(4, np.float32),
    }
    save_file(resnet, tmp_path / "resnet.safetensors")
    one_line(run(model=tmp_path / "resnet.safetensors"), "resnet.safetensors")
    (tmp_path / "model.pth").write_bytes(pickle.dumps({}))
    one_line(run(model=tmp_path / "model.pth"), "pickle")
    one_line(run(model="vit-bose"), "vit-bose", "vit-base")


def test_unreadable_folder(run, world, tmp_path, monkeypatch) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    shutil.copytree(world / "photos", tmp_path / "locked")
    (tmp_path / "locked").chmod(0)
    try:
        one_line(run(images=tmp_path / "locked"), "locked")
    finally:
        (tmp_path / "locked").chmod(0o755)


def _copy(world, folder: Path, counts: dict[str, int]) -> Path:
    """A folder with that many photos of each class."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        source = world / "photos" / (name if (world / "photos" / name).exists() else "wolf")
        for path in sorted(source.iterdir())[:count]:
            shutil.copy(path, folder / name / path.name)
    return folder


def test_a_class_with_one_image_and_one_without(run, world, tmp_path) -> None:
    folder = _copy(world, tmp_path / "odd", {"wolf": 3, "lynx": 1, "beaver": 0})
    result = run("--output", tmp_path / "out", "--no-probes", images=folder)
    assert result.exit_code == 0, result.output
    assert "(class folders (no image in 'beaver'))" in result.stderr
    assert result.stdout.startswith("4 images, 2 classes; ")
    assert "What this audit cannot see:" in result.stdout
    assert "fewer than 10 images" in result.stdout
    found = json.loads((tmp_path / "out" / "findings.json").read_text(encoding="utf-8"))
    assert [one["label"] for one in found["limits"]["single"]] == ["lynx"]


def test_all_images_of_one_class(run, world, tmp_path) -> None:
    folder = _copy(world, tmp_path / "one", {"wolf": 5})
    shutil.copy(folder / "wolf" / "0000.png", folder / "wolf" / "copy.png")
    result = run("--output", tmp_path / "out", "--no-probes", images=folder)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("6 images, 1 class; ")
    assert "low     The same file 2 times, in wolf" in result.stdout
    said = "Not looked for: contaminated pairs and wrong labels, because all images carry one label"
    assert said in result.stdout
    assert said in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_one_image(run, world, tmp_path) -> None:
    folder = _copy(world, tmp_path / "one", {"wolf": 1})
    result = run("--output", tmp_path / "out", "--no-probes", images=folder)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("1 image, 1 class; ")


def test_images_without_labels(run, world, tmp_path) -> None:
    flat = _copy(world, tmp_path / "flat", {"wolf": 3}) / "wolf"
    one_line(run(images=flat), "3 images lie in no class folder", "metadata.csv", "only copies")


def test_labels_outside_of_the_models_classes(run, world, tmp_path) -> None:
    folder = _copy(world, tmp_path / "photos", {"wolf": 2})
    for label, parts in (("5", ("5", "0 to 4")), ("hyena", ("1 of 2 labels", "'hyena'"))):
        table = f"file,label\nwolf/0000.png,1\nwolf/0001.png,{label}\n"
        if not label.isdecimal():
            table = table.replace(",1\n", ",wolf\n")
        (tmp_path / "labels.csv").write_text(table)
        one_line(run("--labels", tmp_path / "labels.csv", images=folder), *parts)


def test_a_model_with_fewer_classes_than_the_folder(run, world, tmp_path) -> None:
    names = ("red fox", "wolf", "lynx", "brown bear", "beaver", "otter", "hare")
    folder = _copy(world, tmp_path / "more", dict.fromkeys(names, 2))
    one_line(run(images=folder), "2 of 7 folders match no class", "'otter'", "'hare'", "choose")
    result = run("--output", tmp_path / "out", "--no-probes", "--classes", "wolf", images=folder)
    assert result.exit_code == 0, result.output
    assert "left out" in result.stderr
