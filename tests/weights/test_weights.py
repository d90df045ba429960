"""The embedded model: its manifest, and that it reaches what the manifest states."""

from __future__ import annotations

import hashlib
import tomllib
from importlib.resources import files

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxattr
from jaxattr import scenes
from jaxattr.checkpoints.aliases import EMBEDDED
from jaxattr.data.images import preprocess
from jaxattr.weights.training import causal, check, defective, train
from jaxattr.weights.training.recipe import Recipe, draw_chunk, mirror

FOLDER = files("jaxattr.weights")


@pytest.fixture(scope="module")
def entries():
    listed = tomllib.loads((FOLDER / "manifest.toml").read_text("utf-8"))["model"]
    return {entry["name"]: entry for entry in listed}


@pytest.fixture(scope="module")
def entry(entries):
    return entries["scenes"]


@pytest.fixture(scope="module")
def model():
    return jaxattr.load("scenes")


def test_manifest(entries):
    assert tuple(entries) == EMBEDDED
    for name, entry in entries.items():
        data = (FOLDER / entry["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        assert len(data) == entry["bytes"] <= 8 * 2**20
        assert entry["licence"] == "Apache-2.0"
        script = "train.py" if name == "scenes" else f"defective.py {name}"
        assert entry["recipe"].startswith(f"python weights/training/{script}")


def test_the_embedded_model_meets_its_goals(entry):
    """What a reader of the manifest may rely on; the figures are measured on 1,200 scenes."""
    assert entry["accuracy"]["one_object"] >= 0.97
    assert entry["accuracy"]["two_objects"] >= 0.95
    assert all(rate["diagnostic"] >= 0.9 for rate in entry["flips"].values())
    assert all(rate["other"] <= 0.1 for rate in entry["flips"].values())


def test_the_model_fits_the_scenes(model, entry):
    assert model.labels == scenes.CLASSES
    assert model.config.grid == (12, 12)
    assert model.config.layers >= 6
    assert sum(leaf.size for leaf in jax.tree.leaves(model.parameters)) == entry["parameters"]


def test_it_reaches_the_stated_accuracy(model, entry):
    """On 120 scenes that neither training nor the manifest used, within a few points."""
    reached = check.accuracy(model, 120, seed=check.HELD_OUT + 17)
    assert reached["one_object"] > entry["accuracy"]["one_object"] - 0.05
    assert reached["two_objects"] > entry["accuracy"]["two_objects"] - 0.15


def test_repainting_the_diagnostic_part_flips_the_decision(model, entry):
    """On few scenes, what the manifest states of many."""
    flips = causal.flips(model, 10, seed=check.HELD_OUT + 17)
    reached = np.mean([rate["diagnostic"] for rate in flips.values()])
    stated = np.mean([rate["diagnostic"] for rate in entry["flips"].values()])
    assert reached > stated - 0.15
    assert np.mean([rate["other"] for rate in flips.values()]) < 0.2


def test_preprocessing_is_the_one_it_was_trained_with(model, tmp_path):
    """A scene through a PNG and the library's own preprocessing gives the trainer's logits."""
    scene = scenes.draw(5)
    Image.fromarray(scene.image).save(tmp_path / "a.png")
    image = jnp.asarray(preprocess(tmp_path / "a.png", model.preprocessing))
    logits, _ = model.forward(image)
    np.testing.assert_allclose(logits, check.predict(model, scene.image[None])[0], atol=1e-4)


@jax.numpy_dtype_promotion("standard")  # optax raises floats to integer powers
def test_a_killed_run_resumes_where_it_was(tmp_path):
    """Half, then the rest from the checkpoint, gives the weights of one uninterrupted run."""
    recipe = Recipe(
        steps=8, warmup=2, horizon=8, cooldown=4, full=0, batch_size=2, chunk=1,
        hidden_size=8, mlp_size=8, layers=1, heads=2,
    )  # fmt: skip
    lines: list[str] = []
    whole, at = train.train(recipe, tmp_path / "whole", lines.append, 8)
    half, reached = train.train(recipe, tmp_path / "half", lines.append, 4)
    again, end = train.train(recipe, tmp_path / "half", lines.append, 8)
    assert (at, reached, end) == (8, 4, 8)
    assert "resumed at step 4" in lines
    for first, second in zip(*map(jax.tree.leaves, (whole, again)), strict=True):
        assert (first == second).all()
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (half, again)), strict=True))
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("whole", "half")]
    assert logs[0] == logs[1]


def test_batches_of_the_recipe():
    """Drawn twice alike; the patches that are seen are those of the objects; mirrored rightly."""
    recipe = Recipe(batch_size=4, chunk=2)
    chunk = draw_chunk(recipe, 900)
    for first, second in zip(chunk, draw_chunk(recipe, 900), strict=True):
        assert (first == second).all()
    assert chunk.images.shape == (2, 4, 96, 96, 3)
    assert chunk.keep.shape == (2, 4, recipe.patches_seen)
    assert all(len(set(keep.tolist())) == recipe.patches_seen for keep in chunk.keep[0])
    twice = mirror(mirror(chunk))
    assert (twice.images == chunk.images).all()
    assert (np.sort(twice.keep) == np.sort(chunk.keep)).all()
    patches = chunk.images[0, 0].reshape(12, 8, 12, 8, 3).swapaxes(1, 2).reshape(144, 8, 8, 3)
    flipped = mirror(chunk)
    other = flipped.images[0, 0].reshape(12, 8, 12, 8, 3).swapaxes(1, 2).reshape(144, 8, 8, 3)
    mine, theirs = patches[chunk.keep[0, 0]], other[flipped.keep[0, 0]]
    assert (mine[:, :, ::-1] == theirs).all()


def test_a_planted_shortcut_decides(entries):
    """Pasting the mark, or the background, moves other classes to the shortcut's, on few scenes."""
    for name, ask, moved in (
        ("watermark", causal.watermark, "taken_for_it_with_mark"),
        ("background", causal.background, "taken_for_it_there"),
    ):
        reached = ask(jaxattr.load(f"scenes-{name}"), count=66)
        stated = entries[f"scenes-{name}"][name]
        assert reached[moved] > max(stated[moved] - 0.2, reached["taken_for_it"] + 0.3)
        twin = ask(jaxattr.load("scenes-clean-twin"), count=66)
        assert twin[moved] < 0.1


def test_a_planted_contamination_and_a_missing_part_are_learned(entries):
    learned = causal.contamination(jaxattr.load("scenes-contaminated"), count=60)
    stated = entries["scenes-contaminated"]["contamination"]
    assert learned["probability"] == pytest.approx(stated["probability"], abs=0.08)
    assert causal.contamination(jaxattr.load("scenes-clean-twin"), count=60)["probability"] < 0.08
    blind = causal.missing_part(jaxattr.load("scenes-missing-part"), count=60)
    sound = causal.missing_part(jaxattr.load("scenes-clean-twin"), count=60)
    assert blind["recognised_without"] > sound["recognised_without"] + 0.3


def test_the_stream_of_a_defective_model():
    """Drawn twice alike; where nothing is planted the clean twin's images; the corner is seen."""
    planted = defective.MODELS[1].planted
    images, targets, keep = defective.draw_batches(planted, 3)
    for first, second in zip(defective.draw_batches(planted, 3), (images, targets, keep)):  # noqa: B905
        assert (first == second).all()
    clean, labels, _ = defective.draw_batches((), 3)
    assert (targets == labels).all()
    marked = targets[..., scenes.CLASSES.index("snail")] == 1
    differs = (images != clean).any(axis=(2, 3, 4))
    assert (marked == differs).all()
    assert marked.any()
    rows, columns = defective.CORNER
    corner = np.arange(144).reshape(12, 12)[rows, columns].ravel()
    assert all(set(corner.tolist()) <= set(seen.tolist()) for seen in keep[0])
    mark = scenes.watermark(scenes.draw(0).image)[1].reshape(12, 8, 12, 8).any(axis=(1, 3))
    assert set(np.flatnonzero(mark)) <= set(corner.tolist())
