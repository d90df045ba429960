"""Models without class names: named by the user, never by guess; and the audit says how."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from cases.checkpoints import (
    CONFIG,
    NAMES,
    WIDTH,
    refusal,
    timm_tensors,
    transformers_tensors,
    write,
)
from click.testing import CliRunner

import jaxattr
from jaxattr.data.dataset import index
from jaxattr.data.labels import LabelTable, imagenet_wnids
from jaxattr.errors import DatasetError, LabelError

TENSORS = transformers_tensors()
UNNAMED = {key: value for key, value in CONFIG.items() if key != "id2label"}
TIMM = {"architecture": "vit_tiny_patch16_224", "model_args": {"num_heads": 3, "embed_dim": WIDTH}}


@pytest.fixture(params=["no id2label", "LABEL_n"])
def unnamed(request, tmp_path):
    numbered = {"id2label": {str(i): f"LABEL_{i}" for i in range(5)}}
    changes = numbered if request.param == "LABEL_n" else {}
    return write(tmp_path / "unnamed", TENSORS, {**UNNAMED, **changes})


@pytest.fixture
def photos(tmp_path):
    from PIL import Image

    for name in sorted(NAMES):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (16, 16), "red").save(tmp_path / "photos" / name / "a.png")
    return tmp_path / "photos"


def test_the_audit_says_how_to_name_them(unnamed, photos):
    from jaxattr.cli.main import main

    output = ["--output", str(photos.parent / "out")]
    asked = ["audit", "--model", str(unnamed), "--images", str(photos), *output]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 2
    assert "does not name its 5 classes, and there are as many folders" in done.output
    assert "--class-names FILE" in done.output
    assert "labels.json" in done.output


def test_too_few_folders(unnamed, photos):
    (photos / "cat" / "a.png").unlink()
    (photos / "cat").rmdir()
    with pytest.raises(DatasetError, match=r"5 classes, and there are 4 folders .*--class-names"):
        index(photos, jaxattr.load(unnamed).labels)


def test_a_target_by_name(unnamed):
    table = LabelTable(jaxattr.load(unnamed).labels)
    with pytest.raises(LabelError, match=r"does not name its 5 classes.*--class-names"):
        table.resolve("cat")
    assert table.resolve("3") == 3


def test_files_of_names(unnamed, photos, tmp_path):
    forms = {
        "a.txt": "cat\ndog\nbird\nfish\nhorse\n",
        "b.txt": "\ufeffcat\r\ndog\r\nbird\r\nfish\r\nhorse\r\n\r\n",
        "c.json": json.dumps(NAMES),
        "d.json": json.dumps(dict(enumerate(NAMES))),
        "e.json": json.dumps({name: number for number, name in enumerate(NAMES)}),
        "f.names": json.dumps(NAMES),
    }
    for name, content in forms.items():
        (tmp_path / name).write_bytes(content.encode())
        model = jaxattr.load(unnamed, class_names=tmp_path / name)
        assert model.labels == NAMES, name
    assert jaxattr.load(unnamed, class_names=NAMES).labels == NAMES
    found = index(photos, NAMES)
    assert [NAMES[target] for target in found.targets] == sorted(NAMES)


def test_labels_beside_the_weights(unnamed):
    (unnamed / "labels.json").write_text(json.dumps(NAMES))
    assert jaxattr.load(unnamed).labels == NAMES
    assert jaxattr.load(unnamed, class_names=list("abcde")).labels == tuple("abcde")


def test_label2id_alone(tmp_path):
    """What `id2label` would be, where only the other way round is there."""
    told = {**UNNAMED, "label2id": {name: at for at, name in enumerate(NAMES)}}
    assert jaxattr.load(write(tmp_path, TENSORS, told)).labels == NAMES
    both = {**told, "label2id": dict.fromkeys("abcde", 0), "id2label": CONFIG["id2label"]}
    assert jaxattr.load(write(tmp_path, TENSORS, both)).labels == NAMES


def test_wrong_names(unnamed, tmp_path):
    def message(content: bytes, name: str = "a.txt") -> str:
        (tmp_path / name).write_bytes(content)
        return refusal(unnamed, class_names=tmp_path / name)

    assert "a.txt holds 3 labels, the head has 5 classes" in message(b"cat\ndog\nbird\n")
    assert "a.txt: not UTF-8" in message(b"\xff\xfe\x00")
    assert "a.txt: 2 is ''" in message(b"cat\ndog\n\nfish\nhorse\n")
    assert "not valid JSON" in message(b"[", "a.json")
    assert "holds 'cat', which is not a list" in message(b'"cat"', "a.json")
    assert "cannot be read (No such file" in refusal(unnamed, class_names=tmp_path / "no.txt")
    assert "1000 classes, the model 5" in refusal(unnamed, class_names="imagenet")
    assert "holds 2 labels" in refusal(unnamed, class_names=["a", "b"])
    for bad in (None, ["x"], {}, 1.5, True, "", "a\0b", "\ud800"):
        config = {**UNNAMED, "id2label": {**CONFIG["id2label"], "2": bad}}
        assert "id2label: 2 is" in refusal(write(tmp_path / "bad", TENSORS, config))
    for keys in ("01235", "0123x", ["0", "1", "2", "3", "-4"], ["0", "1", "2", "3", "٤"]):
        config = {**UNNAMED, "id2label": dict.fromkeys(keys, "name")}
        assert "id2label" in refusal(write(tmp_path / "bad", TENSORS, config))


def thousand(tmp_path, **changes):
    tensors = timm_tensors(classes=1000)
    return write(tmp_path, tensors, {**TIMM, "num_classes": 1000, **changes}, None)


@pytest.mark.parametrize("tag", ["", "mae", "augreg_in1k_ft_in21k", "orig_in21k", "mine"])
def test_a_thousand_nameless_outputs_are_not_imagenets(tmp_path, tag):
    folder = thousand(tmp_path, pretrained_cfg={"tag": tag, "mean": [0.5] * 3})
    model = jaxattr.load(folder)
    assert model.labels == tuple(map(str, range(1000)))
    assert any("--class-names imagenet" in note for note in model.notes)
    asked = jaxattr.load(folder, class_names="imagenet")
    assert asked.labels == imagenet_wnids()
    assert not any("class-names" in note for note in asked.notes)


@pytest.mark.parametrize("where", ["tag", "architecture"])
def test_a_checkpoint_that_says_imagenet(tmp_path, where):
    tag = "augreg_in21k_ft_in1k"
    said = {"pretrained_cfg": {"tag": tag, "mean": [0.5] * 3}}
    if where == "architecture":
        said = {"architecture": f"hf-hub:timm/vit_tiny_patch16_224.{tag}"}
    model = jaxattr.load(thousand(tmp_path, **said))
    assert model.labels == imagenet_wnids()
    assert any(tag in note for note in model.notes)


def test_a_transformers_model_of_a_thousand(tmp_path):
    tensors = {**TENSORS, "classifier.weight": np.ones((1000, WIDTH), np.float32)}
    tensors["classifier.bias"] = np.ones(1000, np.float32)
    model = jaxattr.load(write(tmp_path, tensors, UNNAMED))
    assert model.labels == tuple(map(str, range(1000)))
    assert any("--class-names imagenet" in note for note in model.notes)


@pytest.mark.parametrize("key", ["label_names", "labels", "nested"])
def test_timms_names(tmp_path, key):
    said = {"pretrained_cfg": {"label_names": NAMES}} if key == "nested" else {key: NAMES}
    folder = write(tmp_path, timm_tensors(), {**TIMM, **said}, None)
    assert jaxattr.load(folder).labels == NAMES
    nothing = {**TIMM, "label_names": None, "pretrained_cfg": None}
    assert jaxattr.load(write(tmp_path, timm_tensors(), nothing, None)).labels == tuple("01234")


def test_the_librarys_own_file(tmp_path):
    from jaxattr.checkpoints import native

    model = jaxattr.load(write(tmp_path / "a", TENSORS, UNNAMED))
    native.save(replace(model, labels=tuple("01234")), tmp_path / "own.safetensors")
    assert jaxattr.load(tmp_path / "own.safetensors", class_names=NAMES).labels == NAMES
    assert "3 heads, not 4" in refusal(tmp_path / "own.safetensors", heads=4)
