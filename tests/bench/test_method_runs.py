"""The benchmark of methods: against metrics called by hand, interrupted, resumed, and refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from jaxattr import losses, metrics
from jaxattr.bench.methods import run as benchmark
from jaxattr.bench.methods.figure import draw
from jaxattr.bench.methods.maps import BLOB, RANDOM, Explainer, Row, centred_blob, rows
from jaxattr.bench.methods.table import mean_ranks, table
from jaxattr.data import images
from jaxattr.data.dataset import index
from jaxattr.errors import DatasetError, ImageError, JaxattrError, LedgerError
from jaxattr.methods import METHODS, Method
from jaxattr.metrics.context import generator
from jaxattr.metrics.perturbation import ranks
from jaxattr.plot.figures import encode
from jaxattr.vit import Preprocessing, forward, initialize

LABELS = ("red fox", "wolf", "lynx", "brown bear", "beaver")
FEW = ("complete", "rollout")
QUICK = ("saco", "localisation", "pointing", "mean-iou", "sparseness")


@pytest.fixture(scope="module")
def model(tiny_model):
    processing = Preprocessing((8, 12), mean=(0.4, 0.5, 0.6))
    return replace(tiny_model, labels=LABELS, preprocessing=processing, name="tiny")


@pytest.fixture(scope="module")
def world(model, tmp_path_factory):
    """Twenty photos under the class that the model sees in them, where there is room; masks."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number in range(20):
        label = LABELS[number % 5].replace(" ", "_")
        for kind in ("images", "masks"):
            (folder / kind / label).mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (8, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / label / f"{number}.png")
        mask = (generator.random((8, 12)) < 0.5).astype(np.uint8)
        Image.fromarray(3 * mask).save(folder / "masks" / label / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def dataset(world):
    return index(world / "images", LABELS)


@pytest.fixture(scope="module")
def finished(model, dataset, world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    arguments = {"methods": FEW, "untrained": FEW[:1], "masks": world / "masks"}
    return folder, benchmark.run(model, dataset, folder, measured=QUICK, **arguments)


def contents(folder):
    files = sorted(path for path in folder.rglob("*.npz") if "seconds" not in str(path))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def pick(result, metric, method, model="trained"):
    (one,) = [
        one for one in result.scores if one[0] == f"{metric}-v1" and one[3:5] == (method, model)
    ]
    return one


def test_scores_are_the_metrics_of_each_map(model, dataset, world, finished):
    explain = jax.jit(METHODS["complete"].function)
    score = jax.jit(metrics.saco)
    found = {name: [] for name in QUICK}
    for file, label in zip(dataset.files, dataset.targets, strict=True):
        image = jnp.asarray(images.preprocess(dataset.root / file, model.preprocessing))
        map_ = explain(model, image, losses.target_logit(int(label)))
        array = np.asarray(map_)
        place = ranks(array.ravel(), generator(0, file, 1).permutation(6))
        found["saco"].append(float(score(model, image, map_, jnp.asarray(place[0]), label)))
        mask = np.asarray(Image.open(world / "masks" / file)) > 0
        found["pointing"].append(metrics.pointing_game(array, metrics.pool(mask, (2, 3))))
        found["localisation"].append(metrics.attribution_localisation(array, mask))
        found["mean-iou"].append(metrics.segmentation(array[None], mask[None]).mean_iou[0])
        found["sparseness"].append(metrics.sparseness(array))
    for name, values in found.items():
        one = pick(finished[1], name, "complete")
        assert one.value == pytest.approx(np.mean(values), abs=1e-4), name
        assert one.low <= one.value <= one.high
        assert one.defined == 20


def test_the_rows_that_know_nothing_are_there(finished):
    _, result = finished
    assert [row.name for row in result.rows] == [
        *FEW, RANDOM, BLOB, "complete, random weights",
    ]  # fmt: skip
    assert {one.metric for one in result.scores} == {f"{name}-v1" for name in QUICK}
    assert len(result.scores) == len(QUICK) * 5
    assert set(result.seconds) == {row.name for row in result.rows}
    assert min(result.seconds.values()) > 0
    trained = pick(result, "sparseness", "complete")
    assert pick(result, "sparseness", "complete", "random weights").value != trained.value
    assert pick(result, "sparseness", RANDOM, "none").rank == 0
    expected = float(metrics.sparseness(centred_blob((2, 3)).astype(np.float64)))
    assert pick(result, "sparseness", BLOB, "none").value == pytest.approx(expected, abs=1e-6)


def test_ranks_and_nulls():
    every = rows([Method(name, METHODS["rollout"].function) for name in "abc"], [])
    rng = np.random.default_rng(0)
    chance = rng.random(50)
    better = np.stack([chance + 0.5, chance + 0.6, chance, chance + 0.1, chance], axis=1)
    asked = (metrics.METRICS[name] for name in ("insertion", "deletion"))
    found = table(every, dict.fromkeys(asked, better))
    assert [one.rank for one in found] == [2, 1, 3, 0, 0, 2, 3, 1, 0, 0]
    assert [one.beats_nulls for one in found] == [True, True] + [False] * 8
    assert mean_ranks(found) == {"a": 2, "b": 2, "c": 2}
    undefined = table(every, {metrics.METRICS["insertion"]: np.full((50, 5), np.nan)})
    assert {(one.rank, one.defined) for one in undefined} == {(0, 0)}


class Killed(BaseException):
    pass


def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(
    model, dataset, world, finished, tmp_path, monkeypatch
):
    arguments = {"methods": FEW, "untrained": FEW[:1], "masks": world / "masks"}
    seen = []

    def stop(done):
        seen.append(done)
        if sum(seen) > 40:
            raise Killed

    with pytest.raises(Killed):
        benchmark.run(model, dataset, tmp_path, measured=QUICK, progress=stop, **arguments)
    assert seen == [0, 16, 4, 0, 16, 16]
    part = contents(tmp_path)
    assert 0 < len(part) < len(contents(finished[0]))
    again = []
    monkeypatch.setattr(Explainer, "explain", lambda *_: pytest.fail("maps computed again"))
    result = benchmark.run(
        model, dataset, tmp_path, measured=QUICK, progress=again.append, **arguments
    )
    assert sum(again) == 120
    assert contents(tmp_path) == contents(finished[0])
    assert result.scores == finished[1].scores


@pytest.fixture(scope="module")
def costly(model, dataset, world, finished, tmp_path_factory):
    """The metrics that make more maps or ask the model otherwise, from the maps that are there."""
    folder = tmp_path_factory.mktemp("costly") / "run"
    shutil.copytree(finished[0], folder)
    names = ("sensitivity", "gridpg", "gridpg-3x3", "mprt", "completeness", "srg", "positive",
             "negative")  # fmt: skip
    arguments = {"methods": FEW, "untrained": FEW[:1], "masks": world / "masks"}
    return benchmark.run(model, dataset, folder, measured=names, **arguments)


def test_randomisation_is_scipys_correlation(model, dataset, costly):
    drawn = initialize(model.config, jax.random.key(0), labels=LABELS)
    explain = jax.jit(METHODS["complete"].function)
    found = []
    for file, label in zip(dataset.files, dataset.targets, strict=True):
        image = jnp.asarray(images.preprocess(dataset.root / file, model.preprocessing))
        loss = losses.target_logit(int(label))
        whole = np.asarray(explain(model, image, loss)).ravel()
        stages = metrics.cascade(replace(model, name="tiny"), drawn)
        maps = [np.asarray(explain(stage, image, loss)).ravel() for stage in stages]
        found.append(np.mean([np.asarray(stats.spearmanr(whole, one))[0] for one in maps]))
    assert pick(costly, "mprt", "complete").value == pytest.approx(np.mean(found), abs=1e-3)
    assert pick(costly, "mprt", BLOB, "none").value == pytest.approx(1)
    assert abs(pick(costly, "mprt", RANDOM, "none").value) < 0.3
    assert pick(costly, "mprt", "complete", "random weights").defined == 0


def test_the_gain_is_that_of_each_map(model, dataset, costly):
    explain, score = jax.jit(METHODS["complete"].function), jax.jit(metrics.srg)
    found = []
    for file, label in zip(dataset.files, dataset.targets, strict=True):
        image = jnp.asarray(images.preprocess(dataset.root / file, model.preprocessing))
        map_ = np.asarray(explain(model, image, losses.target_logit(int(label))))
        place = ranks(map_.ravel(), generator(0, file, 1).permutation(6))
        found.append(float(score(model, image, jnp.asarray(place), label)))
    assert pick(costly, "srg", "complete").value == pytest.approx(np.mean(found), abs=1e-4)
    # Nine classes are needed; there are five.
    assert pick(costly, "gridpg-3x3", "complete").defined == 0


def test_nulls_of_the_costly_metrics(costly):
    assert pick(costly, "sensitivity", BLOB, "none").value == 0
    assert pick(costly, "sensitivity", RANDOM, "none").value > 1
    assert 0 < pick(costly, "sensitivity", "complete").value < 2
    # Nothing promises completeness but integrated gradients and LRP.
    assert all(one.defined == 0 for one in costly.scores if one.metric == "completeness-v2")
    blob = pick(costly, "gridpg", BLOB, "none")
    assert blob.defined == 0 or blob.value == pytest.approx(0.25)
    positive, negative = (pick(costly, one, "complete").value for one in ("positive", "negative"))
    assert 0 < positive < 0.9
    assert 0 < negative < 0.9


def test_mosaics_of_recognised_images(model, dataset, tmp_path):
    """Labels moved to what the model sees: all images can be put into mosaics."""
    ask = jax.jit(lambda model, image: jax.nn.softmax(forward(model, image)[0]))
    shown = [images.preprocess(dataset.root / f, model.preprocessing) for f in dataset.files]
    chance = np.stack([np.asarray(ask(model, jnp.asarray(one))) for one in shown])
    targets = chance.argmax(axis=1).astype(np.int32)
    result = benchmark.run(
        model, dataset._replace(targets=targets), tmp_path, methods=["complete"], untrained=[],
        measured=["gridpg"],
    )  # fmt: skip
    assert result.recognised == (chance.max(axis=1) >= 0.5).sum()
    enough = len(set(targets[chance.max(axis=1) >= 0.5])) >= 4
    blob = pick(result, "gridpg", BLOB, "none")
    assert blob.defined == (result.recognised if enough else 0)
    if enough:
        assert blob.value == pytest.approx(0.25)


def test_explaining_an_image_does_not_depend_on_its_shard(model, dataset):
    explainer = Explainer(model, model, 0)
    shown = np.stack([images.preprocess(dataset.root / f, model.preprocessing)
                      for f in dataset.files])  # fmt: skip
    row, names = Row("complete", METHODS["complete"], "trained"), list(dataset.files)
    whole = explainer.explain(row, shown, dataset.targets, names)
    some = explainer.explain(row, shown[17:], dataset.targets[17:], names[17:])
    np.testing.assert_array_equal(whole[17:], some)
    chance = Row(RANDOM, None, "none")
    drawn = explainer.explain(chance, shown, dataset.targets, names)
    np.testing.assert_array_equal(
        drawn[17:], explainer.explain(chance, shown[17:], dataset.targets[17:], names[17:])
    )
    assert (drawn != explainer.explain(chance, shown, dataset.targets, names, purpose=1)).all()


def test_unreadable_images_are_left_out(model, dataset, tmp_path):
    root = tmp_path / "photos"
    for file in dataset.files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        data = (dataset.root / file).read_bytes()
        (root / file).write_bytes(b"nothing" if file in dataset.files[:17:8] else data)
    given = {"methods": ["rollout"], "untrained": [], "measured": ["sparseness"]}
    result = benchmark.run(model, dataset._replace(root=root), tmp_path / "out", **given)
    assert result.images == 17
    assert [file for file, _ in result.skipped] == list(dataset.files[:17:8])
    for file in dataset.files:
        (root / file).write_bytes(b"nothing")
    with pytest.raises(ImageError, match="none of the 20 images can be read"):
        benchmark.run(model, dataset._replace(root=root), tmp_path / "none", **given)


def test_what_is_refused(model, dataset, world, finished, tmp_path):
    def run(**given):
        return benchmark.run(model, dataset, tmp_path / "out", **given)

    with pytest.raises(JaxattrError, match="unknown method nonsense; choose from conservative"):
        run(methods=["nonsense"])
    with pytest.raises(JaxattrError, match="unknown metric taste; choose from positive"):
        run(methods=["rollout"], measured=["taste"])
    with pytest.raises(JaxattrError, match="pointing, map: compares maps with masks; give --masks"):
        run(methods=["rollout"], measured=["pointing", "map"])
    with pytest.raises(JaxattrError, match="no method to score"):
        run(methods=[])
    with pytest.raises(LedgerError, match=r"holds another run \(different: methods\)"):
        benchmark.run(model, dataset, finished[0], methods=["rollout"])
    unknown = dataset._replace(targets=np.full(20, -1, np.int32))
    with pytest.raises(DatasetError, match="20 of 20 images have no label"):
        benchmark.run(model, unknown, tmp_path)
    with pytest.raises(DatasetError, match="no such mask; give each image a PNG"):
        run(methods=["rollout"], untrained=[], measured=["pointing"], masks=world / "images" / "x")
    for file in dataset.files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).with_suffix(".png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="this mask cannot be read; give a whole PNG"):
        run(methods=["rollout"], untrained=[], measured=["pointing"], masks=tmp_path)


def test_the_figure(finished):
    figure = draw(finished[1], "a note with a $ sign")
    shown = [axis for axis in figure.axes if axis.get_visible()]
    titles = [axis.get_title().split(":")[0] for axis in shown]
    assert titles == [f"{name}-v1" for name in metrics.METRICS if name in QUICK]
    assert encode(figure, "svg") == encode(draw(finished[1], "a note with a $ sign"), "svg")


def test_the_prediction_explained_is_the_label_of_a_folder_labelled_by_the_model(
    model, dataset, finished, tmp_path
):
    folder, _ = finished
    told = np.concatenate(
        [np.load(one)["prediction"] for one in sorted((folder / "maps").iterdir())]
    )
    assert (told != dataset.targets).any()
    arguments = {"methods": FEW[:1], "untrained": (), "measured": ("saco", "gridpg")}
    by_label = dataset._replace(targets=told.astype(np.int32))
    labelled = benchmark.run(model, by_label, tmp_path / "labels", **arguments)
    nothing_told = dataset._replace(targets=np.full_like(dataset.targets, -1))
    there = tmp_path / "predictions"
    found = benchmark.run(model, nothing_told, there, target="prediction", **arguments)
    np.testing.assert_equal(found.scores, labelled.scores)
    assert found.recognised == labelled.recognised
    assert json.loads((there / "run.json").read_text())["target"] == "prediction"
    with pytest.raises(DatasetError, match="have no label, which is what is explained"):
        benchmark.run(model, nothing_told, there, **arguments)
    with pytest.raises(LedgerError, match="different: index, target"):
        benchmark.run(model, dataset, there, **arguments)


def test_a_folder_begun_before_targets_were_noted_goes_on(
    model, dataset, finished, world, tmp_path
):
    folder = tmp_path / "older"
    shutil.copytree(finished[0], folder)
    receipt = json.loads((folder / "run.json").read_text())
    del receipt["target"]
    (folder / "run.json").write_text(json.dumps(receipt))
    arguments = {"methods": FEW, "untrained": FEW[:1], "masks": world / "masks"}
    found = benchmark.run(model, dataset, folder, measured=QUICK, **arguments)
    np.testing.assert_equal(found.scores, finished[1].scores)
