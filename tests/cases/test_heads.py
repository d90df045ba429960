"""Heads that are no softmax: one logit, many labels, values; in every place that says a number."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import save_file
from scipy.special import expit, softmax

import jaxattr
from jaxattr import heads, losses, metrics
from jaxattr.checkpoints import native
from jaxattr.cli.audit import command as audit_command
from jaxattr.cli.common import options
from jaxattr.cli.main import main
from jaxattr.methods import _masking as masking

LABELS = ("cat", "dog", "bird", "fish", "horse")
KINDS: dict[str, tuple[Any, int]] = {
    "softmax": ("single_label", 2),
    "multilabel": ("multi_label", 5),
    "onelogit": ("single_label", 1),
    "regression": ("regression", 1),
    "values": ("regression", 3),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A photo, two class folders, and a model file of each kind: one layer, 8 x 12 pixels."""
    folder = tmp_path_factory.mktemp("heads")
    random = np.random.default_rng(3)
    for name in ("a.png", *(f"pair/{c}/{i}.png" for c in ("defect", "good") for i in range(5))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 24, 3), np.uint8)).save(folder / name)
    for kind, (problem, classes) in KINDS.items():
        config = jaxattr.ViTConfig((8, 12), (4, 4), 12, 1, 2, 20, classes, problem=problem)
        labels = ("defect",) if classes == 1 else LABELS[:classes]
        made = jaxattr.initialize(config, jax.random.key(5), labels=labels)
        made = jax.tree.map(lambda leaf: (leaf + 0.01) * 12 if leaf.ndim > 1 else leaf, made)
        processing = jaxattr.Preprocessing((8, 12))
        native.save(replace(made, preprocessing=processing), folder / f"{kind}.safetensors")
    return folder


@pytest.fixture
def run(world, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "prepare_jax", lambda dtype="float32": None)
    monkeypatch.setattr(audit_command, "prepare_jax", lambda dtype="float32": None)
    monkeypatch.chdir(tmp_path)

    def run(command, kind, *words):
        line = [*command.split(), "--model", str(world / f"{kind}.safetensors"), *map(str, words)]
        return CliRunner().invoke(main, line)

    return run


def logits_of(world, kind):
    model = jaxattr.load(world / f"{kind}.safetensors")
    image = jaxattr.images.preprocess(world / "a.png", model.preprocessing)
    return np.asarray(jax.jit(jaxattr.predict)(model, image), np.float64)


def refused(result, *parts):
    assert result.exit_code == 2, result.output
    (line,) = [one for one in result.stderr.splitlines() if one.startswith("Error:")]
    for part in parts:
        assert part in line


RIGHT = {
    "multilabel": lambda logits: 1 / (1 + np.exp(-logits)),
    "onelogit": lambda logits: 1 / (1 + np.exp(-logits)),
}


@pytest.mark.parametrize("kind", ["multilabel", "onelogit", "values"])
def test_explain(run, world, tmp_path, kind) -> None:
    """The table and the files say the sigmoid's, the softmax's, or the value alone."""
    logits = logits_of(world, kind)
    words = ("-t", "top5", "--method", "raw_attention", "-f", "json", "-f", "npz", "-o", ".")
    result = run("explain", kind, world / "a.png", *words)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["problem"] == KINDS[kind][0]
    order = (-logits).argsort()
    if kind in RIGHT:
        right = RIGHT[kind](logits)
        np.testing.assert_allclose(content["probabilities"], right, rtol=1e-5)
        assert "probability" in lines[1]
        shown = [f"{right[i]:.4f}" for i in order]
    else:
        assert "probabilities" not in content
        assert "probabilities" not in np.load(tmp_path / "a.npz")
        assert "probability" not in lines[1]
        assert "value" in lines[1]
        shown = [f"{logits[i]:.3f}" for i in order]
    assert [line.split()[3] for line in lines[2 : 2 + len(logits)]] == shown


def test_the_right_values_by_hand() -> None:
    """Logits of the public case: the sigmoid, not the softmax, whose horse would be .3377."""
    logits = np.array([0.938548, 0.259020, -0.634953, 0.767083, 1.203621])
    config = jaxattr.ViTConfig((8, 8), (4, 4), 4, 1, 1, 4, 5, problem="multi_label")
    right = [0.719, 0.564, 0.346, 0.683, 0.769]
    np.testing.assert_allclose(heads.probabilities(config, logits), right, atol=5e-4)
    one = replace(config, classes=1, problem="single_label")
    np.testing.assert_allclose(heads.probabilities(one, np.array([0.35186])), [0.5871], atol=5e-5)
    plain = replace(config, problem="single_label")
    assert heads.probabilities(plain, logits).max() == pytest.approx(0.3377, abs=5e-5)
    with pytest.raises(jaxattr.JaxattrError, match="regression"):
        heads.probabilities(replace(config, problem="regression"), logits)
    np.testing.assert_allclose(
        heads.probabilities(config, jax.numpy.asarray(logits, "float32")), right, atol=5e-4
    )


@pytest.mark.parametrize(
    ("given", "classes", "link"),
    [
        (None, 3, "softmax"),
        (None, 1, "sigmoid"),
        ("single_label_classification", 3, "softmax"),
        ("single_label_classification", 1, "sigmoid"),
        ("multi_label_classification", 3, "sigmoid"),
        ("multi_label_classification", 1, "sigmoid"),
        ("regression", 3, None),
        ("regression", 1, None),
    ],
)
def test_problem_type(tmp_path, given, classes, link) -> None:
    """As transformers' pipeline chooses its `function_to_apply`."""
    _save(tmp_path, classes, problem_type=given)
    assert heads.link(jaxattr.load(tmp_path).config) == link


@pytest.mark.parametrize("given", ["ranking", 3, ["regression"], "", False])
def test_an_unknown_problem_type_is_refused(tmp_path, given) -> None:
    _save(tmp_path, 2, problem_type=given)
    with pytest.raises(jaxattr.CheckpointError, match=r"config\.json: problem_type"):
        jaxattr.load(tmp_path)


def _save(folder, classes: int, **changes) -> None:
    """A folder as transformers saves it: one layer."""
    random = np.random.default_rng(0)
    vit, layer = "vit.embeddings", "vit.encoder.layer.0"
    shapes = {
        f"{vit}.cls_token": (1, 1, 8),
        f"{vit}.position_embeddings": (1, 5, 8),
        f"{vit}.patch_embeddings.projection.weight": (8, 3, 4, 4),
        f"{vit}.patch_embeddings.projection.bias": (8,),
        "classifier.weight": (classes, 8),
        "classifier.bias": (classes,),
    }
    parts = {
        "attention.attention.query": (8, 8),
        "attention.attention.key": (8, 8),
        "attention.attention.value": (8, 8),
        "attention.output.dense": (8, 8),
        "intermediate.dense": (12, 8),
        "output.dense": (8, 12),
        "layernorm_before": (8,),
        "layernorm_after": (8,),
    }
    for name, shape in parts.items():
        shapes |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
    shapes |= {f"vit.layernorm.{one}": (8,) for one in ("weight", "bias")}
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    config = {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification"],
        "image_size": 8,
        "patch_size": 4,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 12,
        "id2label": {str(i): f"label {i}" for i in range(classes)},
    }
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    processor = {"size": {"height": 8, "width": 8}, "image_processor_type": "ViTImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def test_two_classes(world) -> None:
    """The softmax of the two is the sigmoid of the one, also of one label of many."""
    for kind, index in (("onelogit", 0), ("multilabel", 3)):
        model = jaxattr.load(world / f"{kind}.safetensors")
        two = heads.two_classes(model, index)
        assert two.labels == (f"not {model.labels[index]}", model.labels[index])
        image = jaxattr.images.preprocess(world / "a.png", model.preprocessing)
        found = np.asarray(jax.jit(jaxattr.predict)(two, image), np.float64)
        own = logits_of(world, kind)[index]
        np.testing.assert_allclose(found, [-own / 2, own / 2], rtol=1e-5)
        np.testing.assert_allclose(softmax(found)[1], expit(own), rtol=1e-5)
    with pytest.raises(jaxattr.JaxattrError, match="two_classes needs"):
        heads.two_classes(jaxattr.load(world / "regression.safetensors"))
    with pytest.raises(jaxattr.JaxattrError, match="two_classes needs"):
        heads.two_classes(jaxattr.load(world / "softmax.safetensors"))
    with pytest.raises(jaxattr.LabelError, match="between 0 and 4"):
        heads.two_classes(jaxattr.load(world / "multilabel.safetensors"), 5)


def test_what_log_odds_weigh_in_a_difference() -> None:
    """`1 - p` of a softmax, also where p rounds to 1; 1 of a sigmoid."""
    configs = {
        kind: jaxattr.ViTConfig((8, 12), (4, 4), 12, 1, 2, 20, classes, problem=problem)
        for kind, (problem, classes) in KINDS.items()
    }
    for gap in (0.0, 3.0, 60.0):
        logits = jax.numpy.array([gap, 0])
        found = [float(heads.pair_weight(configs["softmax"], one, logits)) for one in (0, 1)]
        np.testing.assert_allclose(found, [expit(-gap), expit(gap)], rtol=1e-5)
    for kind, classes in (("multilabel", 5), ("onelogit", 1)):
        assert heads.pair_weight(configs[kind], 0, jax.numpy.full(classes, 7.0)) == 1
    with pytest.raises(jaxattr.JaxattrError, match="no odds"):
        heads.pair_weight(configs["values"], 0, jax.numpy.zeros(3))


def test_losses_of_one_output() -> None:
    logits = jax.numpy.asarray([0.5])
    assert float(losses.log_sigmoid(0)(logits)) == pytest.approx(np.log(expit(0.5)))
    for name in ("log_probability", "against_rest"):
        with pytest.raises(jaxattr.JaxattrError, match=f"{name}: the model has one output"):
            getattr(losses, name)(0)(logits)


def test_nothing_to_set_one_output_against(run, world) -> None:
    photo = world / "a.png"
    for word in ("rival", "defect", "not defect"):
        refused(run("explain", "onelogit", photo, "--against", word), "one output, defect")
    refused(run("compare", "regression", photo, "--against", "rival"), "one output")
    refused(run("explain", "multilabel", photo, "--guide", "auto"), "--guide", "multi_label")
    refused(run("explain", "onelogit", photo, "--details", 2), "--details 2 is more than")


@pytest.mark.parametrize("kind", ["onelogit", "multilabel", "regression"])
def test_what_is_explained_by_default(run, world, kind) -> None:
    """The logit of a sigmoid is its log-odds, and called so; a value has none."""
    words = world / "a.png", "--method", "positive", "-f", "json"
    assert run("explain", kind, *words).exit_code == 0
    found = json.loads(Path("jaxattr-explain/a.json").read_text())
    assert found["loss"] == "logit"
    asked = run("explain", kind, *words, "--loss", "log-odds")
    if kind == "regression":
        refused(asked, "--loss log-odds needs probabilities", "write --loss logit")
        return
    assert asked.exit_code == 0, asked.output
    again = json.loads(Path("jaxattr-explain/a.json").read_text())
    assert again["origin"].pop("command") == f"{found['origin'].pop('command')} --loss log-odds"
    assert again == found


def test_compare(run, world) -> None:
    result = run("compare", "regression", world / "a.png", "-m", "raw_attention", "-f", "json")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_transfer(run, world, tmp_path, kind) -> None:
    result = run("transfer", kind, world / "a.png", "--steps", 2, "-f", "csv", "-o", ".")
    assert result.exit_code == 0, result.output
    (path,) = tmp_path.glob("*.csv")
    first = next(csv.DictReader(path.read_text().splitlines()))
    logit = float(first["logit"])
    if kind == "regression":
        assert first["probability"] == ""
    else:
        assert float(first["probability"]) == pytest.approx(expit(logit), rel=1e-5)


@pytest.mark.parametrize("kind", ["onelogit", "multilabel"])
def test_rewrite(run, world, tmp_path, kind) -> None:
    """The picture crosses the sigmoid's half, in the direction asked for."""
    index = int(kind == "multilabel")
    label = ("defect", "dog")[index]
    there = logits_of(world, kind)[index] > 0
    to = f"not {label}" if there else label
    how = ("--steps", 40, "--learning-rate", 1, "--margin", 0.2, "-f", "json", "-o", ".")
    result = run("rewrite", kind, world / "a.png", "--to", to, *how)
    assert result.exit_code == 0, result.output
    (path,) = tmp_path.glob("*comparison.json")
    content = json.loads(path.read_text())
    (picture,) = tmp_path.glob("a-as-*[!n].png")
    model = jaxattr.load(world / f"{kind}.safetensors")
    image = jaxattr.images.preprocess(picture, model.preprocessing)
    own = float(jax.jit(jaxattr.predict)(model, image)[index])
    assert own < -0.19 if there else own > 0.19
    assert content["margin"] == pytest.approx(abs(own), rel=1e-4)
    already = run("rewrite", kind, world / "a.png", "--to", label if there else f"not {label}")
    refused(already, "already")


def test_rewrite_refuses_values(run, world) -> None:
    result = run("rewrite", "values", world / "a.png", "--to", "dog")
    refused(result, "jaxattr rewrite", "a regression")
    model = jaxattr.load(world / "onelogit.safetensors")
    with pytest.raises(jaxattr.JaxattrError, match="one logit"):
        jaxattr.rewrite.rewrite(model, np.zeros((8, 12, 3), np.uint8), 0)


COMMANDS = ("audit", "bench audit", "bench methods", "bench perturbation")


@pytest.mark.parametrize("command", COMMANDS)
def test_labelled_folders_refuse_heads_without_one_class(run, world, command) -> None:
    for kind, what in (("multilabel", "multi-label"), ("values", "a regression")):
        result = run(command, kind, "--images", world / "pair", "--output", "out")
        refused(result, f"jaxattr {command}", what)


def test_audit_of_one_logit(run, world, tmp_path) -> None:
    """Two folders: the output's own, and any other; the report's numbers are the sigmoid's."""
    result = run("audit", "onelogit", "--images", world / "pair", "--output", "out", "--no-probes")
    assert result.exit_code == 0, result.output
    assert "One output is two classes: defect" in result.stderr
    receipt = json.loads((tmp_path / "out" / "run.json").read_text())
    assert receipt["labels"] == ["good", "defect"]


def test_methods_that_mask_take_the_sigmoid() -> None:
    """One logit's softmax is 1 whatever is masked; its sigmoid is not. Values stay values."""
    config = jaxattr.ViTConfig((8, 8), (4, 4), 4, 1, 1, 4, 1)
    logits = jax.numpy.asarray([0.35186])
    found = masking.score(config, losses.target_logit(0), True)(logits)
    assert float(found) == pytest.approx(0.5871, abs=5e-5)
    values = masking.score(replace(config, problem="regression"), losses.target_logit(0), True)
    assert float(values(logits)) == float(logits[0])


def test_metrics_take_the_heads_own_probability(world) -> None:
    model = jaxattr.load(world / "multilabel.safetensors")
    image = jaxattr.images.preprocess(world / "a.png", model.preprocessing)
    given = tuple(map(jax.numpy.asarray, (image, np.arange(6, dtype=np.int32), np.int32(1))))
    deletion = jax.jit(partial(metrics.deletion, steps=2))
    curve, same = (deletion(one, *given) for one in (model, heads.two_classes(model, 1)))
    assert float(curve) == pytest.approx(float(same), rel=1e-4)
    values = jaxattr.load(world / "values.safetensors")
    with pytest.raises(jaxattr.JaxattrError, match="regression"):
        metrics.deletion(values, *given)
