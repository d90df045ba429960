"""The benchmark of boxes: photos chosen and scored as by hand, and tables that are refused."""

from __future__ import annotations

import csv
import json

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from jaxattr import losses, metrics, scenes
from jaxattr.bench.explanations import boxes as benchmark
from jaxattr.checkpoints import load
from jaxattr.cli.main import main
from jaxattr.data import images
from jaxattr.data.dataset import index
from jaxattr.errors import DatasetError, JaxattrError
from jaxattr.methods import METHODS
from jaxattr.vit import forward

HEAD = list(benchmark.COLUMNS)
CONFIDENT = 0.9


@pytest.fixture(scope="module")
def model():
    return load("scenes")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Drawn scenes twice as large as the model's input, one of each class, and their boxes."""
    root = tmp_path_factory.mktemp("world")
    rows = []
    for number, name in enumerate(scenes.CLASSES):
        scene = scenes.draw((5, number), [name], size=192)
        file = f"photos/{name.replace(' ', '_')}/one.png"
        (root / file).parent.mkdir(parents=True)
        Image.fromarray(scene.image).save(root / file)
        down, across = np.nonzero(scene.objects[0])
        rows.append([file, across.min(), down.min(), across.max(), down.max()])
    # A second box in the corner of the last photo, and one of a photo that is not there.
    rows += [[rows[-1][0], -3, -3, 9, 11], ["photos/nowhere.png", 0, 0, 5, 5]]
    with (root / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEAD, *rows])
    return root


@pytest.fixture(scope="module")
def dataset(world, model):
    return index(world / "photos", model.labels)


@pytest.fixture(scope="module")
def by_hand(world, dataset, model):
    """Array, label, chance, top class and marked pixels of each photo, without the library."""
    ask = jax.jit(lambda image: jax.nn.softmax(forward(model, image)[0]))
    marked = {file: np.zeros((192, 192), bool) for file in dataset.files}
    with (world / "boxes.csv").open() as lines:
        for file, *corners in list(csv.reader(lines))[1:-1]:
            left, top, right, bottom = (max(int(one), 0) for one in corners)
            marked[file.removeprefix("photos/")][top : bottom + 1, left : right + 1] = True
    found = {}
    for file, label in zip(dataset.files, dataset.targets, strict=True):
        array = images.preprocess(dataset.root / file, model.preprocessing)
        chance = np.asarray(ask(array))
        # A pixel of the input is marked where any of its 2 x 2 pixels is.
        mask = marked[file].reshape(96, 2, 96, 2).any(axis=(1, 3))
        found[file] = array, int(label), chance, mask
    return found


def test_photos_are_chosen_and_scored_as_by_hand(model, world, dataset, by_hand):
    area = 0.2, 0.6
    result = benchmark.run(
        model, dataset, world / "boxes.csv", methods=["complete"], area=area, confidence=CONFIDENT
    )
    fitting = {
        file
        for file, (_, label, chance, mask) in by_hand.items()
        if chance.argmax() == label and chance[label] >= CONFIDENT and 0.2 <= mask.mean() <= 0.6
    }
    assert 0 < len(fitting) < len(by_hand)
    assert set(result.photos) == fitting
    assert (result.looked_at, result.skipped) == (len(by_hand), ())
    assert result.area == pytest.approx(np.mean([by_hand[file][3].mean() for file in fitting]))
    explain = jax.jit(METHODS["complete"].function)
    expected = {name: [] for name in benchmark.MEASURES}
    for file in result.photos:
        array, label, _, mask = by_hand[file]
        map_ = np.asarray(explain(model, array, losses.target_logit(label)), np.float64)
        large = map_.repeat(8, axis=0).repeat(8, axis=1)
        row, column = np.unravel_index(map_.argmax(), map_.shape)
        patch = mask[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        expected["inside_positive"].append(large[mask].sum() > 0)
        expected["inside_above"].append(large[mask].mean() > large[~mask].mean())
        expected["pointing"].append(patch.mean() >= 0.5)
        positive = np.maximum(large, 0)
        expected["positive_inside"].append(positive[mask].sum() / positive.sum())
    for name, values in expected.items():
        (one,) = [
            s for s in result.scores if (s.method, s.loss, s.measure) == ("complete", "logit", name)
        ]
        assert one.value == pytest.approx(np.mean(values), abs=1e-5), name
        assert one.defined == len(fitting)


def test_the_region_itself_is_perfect(by_hand):
    region = metrics.pool(np.stack([one[3] for one in by_hand.values()]), (12, 12))
    found = benchmark.measure(region - 0.5 * (region == 0), region)
    assert all((found[name] == 1).all() for name in benchmark.MEASURES[:3])
    wrong = benchmark.measure(0.5 * (region == 0) - region, region)
    assert all((wrong[name] == 0).all() for name in benchmark.MEASURES)


def test_fewer_photos_are_the_first_of_more(model, world, dataset):
    given = {"methods": ["rollout"], "area": (0.0, 1.0), "confidence": 0.0, "seed": 3}
    every = benchmark.run(model, dataset, world / "boxes.csv", **given)
    some = benchmark.run(model, dataset, world / "boxes.csv", count=3, **given)
    assert some.photos == every.photos[:3]


def test_the_command(world):
    (world / "damaged.csv").write_text("file,xmin,ymin,xmax,ymax\nphotos/cat/one.png,1,2,3\n")
    words = ["bench", "boxes", "--images", str(world / "photos"), "-m", "rollout", "-q"]
    done = CliRunner().invoke(main, [*words, "--boxes", str(world / "boxes.csv"), "-f", "json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["looked_at"] == len(scenes.CLASSES)
    assert {one["method"] for one in found["scores"]} == {
        "rollout", "random map", "centred blob"
    }  # fmt: skip
    assert "Warning: only" in done.stderr
    bad = CliRunner().invoke(main, [*words, "--boxes", str(world / "damaged.csv")])
    assert bad.exit_code == 2
    assert "line 2, 'photos/cat/one.png': no box, 1,2,3,None" in bad.stderr


def test_what_is_refused(model, world, dataset, tmp_path):
    def run(text=None, **given):
        path = world / "boxes.csv"
        if text is not None:
            path = tmp_path / "boxes.csv"
            path.write_text(text)
        return benchmark.run(model, dataset, path, methods=["rollout"], **given)

    with pytest.raises(DatasetError, match="has no column xmax, ymax; a table of boxes is"):
        run("file,xmin,ymin\n")
    with pytest.raises(DatasetError, match=r"line 2, 'a\.png': no box, 5,0,4,9"):
        run("file,xmin,ymin,xmax,ymax\na.png,5,0,4,9\n")
    with pytest.raises(DatasetError, match="names none of the 12 labelled files of"):
        run("file,xmin,ymin,xmax,ymax\na.png,5,0,6,9\n")
    with pytest.raises(DatasetError, match="this table of boxes cannot be read"):
        benchmark.run(model, dataset, tmp_path / "none.csv")
    with pytest.raises(DatasetError, match="none of 12 photos with a box is recognised with 1 and"):
        run(area=(0.999, 1.0), confidence=1.0)
    with pytest.raises(JaxattrError, match="wanted at least one photo, and shares from 0 to 1"):
        run(area=(0.5, 0.1))
    with pytest.raises(JaxattrError, match="unknown method taste"):
        benchmark.run(model, dataset, world / "boxes.csv", methods=["taste"])
