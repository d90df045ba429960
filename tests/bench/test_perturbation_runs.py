"""The perturbation benchmark: against loops, interrupted and resumed, and what it refuses."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxattr import losses
from jaxattr.bench.perturbation import passes as perturbing
from jaxattr.bench.perturbation import run as perturbation
from jaxattr.bench.perturbation.figure import draw
from jaxattr.bench.perturbation.protocols import PROTOCOLS, protocol
from jaxattr.bench.perturbation.table import score
from jaxattr.data import images
from jaxattr.data.dataset import index
from jaxattr.errors import DatasetError, ImageError, JaxattrError, LedgerError
from jaxattr.experiments.guidance import Layout, stitch
from jaxattr.methods import METHODS
from jaxattr.plot import heatmap
from jaxattr.plot.figures import encode
from jaxattr.vit import Preprocessing, forward

LABELS = ("red fox", "wolf", "lynx", "brown bear", "beaver")
PAPER, TATTR = "cui-guided-perturb-v1", "tattr-perturb-v1"
THIRDS = (0.0, 0.34, 0.67)
ALL = ("complete", "positive", "raw_attention", "random map")


@pytest.fixture(scope="module")
def model(tiny_model):
    processing = Preprocessing((8, 12), mean=(0.4, 0.5, 0.6))
    return replace(tiny_model, labels=LABELS, preprocessing=processing, name="tiny")


@pytest.fixture(scope="module")
def dataset(model, tmp_path_factory):
    """Five classes of four photos: two shards."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for label in LABELS:
        (folder / label).mkdir()
        for number in range(4):
            pixels = generator.integers(0, 256, (16, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return index(folder, LABELS)


@pytest.fixture(scope="module")
def guide(model, dataset):
    return perturbation.guide_of_class(model, dataset, 2, Layout("right"))


@pytest.fixture(scope="module")
def finished(model, dataset, guide, tmp_path_factory):
    """Both protocols, each in a folder of its own, as they are but for the fractions."""
    folder = tmp_path_factory.mktemp("finished")
    return {
        name: (
            folder / name,
            perturbation.run(
                model,
                dataset,
                folder / name,
                protocol(name, fractions=THIRDS),
                guide=guide if PROTOCOLS[name].guided else None,
            ),
        )
        for name in (TATTR, PAPER)
    }


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _slowly(model, dataset, name, guide):
    """Areas of `complete` for each image, one masked image after the other."""
    ask = jax.jit(lambda model, image: jax.nn.softmax(forward(model, image)[0]))
    explain = jax.jit(METHODS["complete"].function)
    found: dict = {}
    for file, label in zip(dataset.files, dataset.targets, strict=True):
        pixels = images.fit(images.decode(dataset.root / file), model.preprocessing)
        shown = images.normalize(pixels, model.preprocessing)
        if guide is not None:
            shown = np.asarray(stitch(shown, guide.image, layout=guide.layout))
        whole = np.asarray(ask(model, shown))
        for explained in ("label",) if guide else ("label", "predicted"):
            class_ = int(label) if explained == "label" else int(whole.argmax())
            map_ = np.asarray(explain(model, jnp.asarray(shown), losses.target_logit(class_)))
            for order, sign in (("positive", -1), ("negative", 1)):
                answers = [whole]
                for share in THIRDS[1:]:
                    masked = _mask(model, shown, map_, sign, share, name)
                    answers.append(np.asarray(ask(model, masked)))
                for measure, values in (
                    ("accuracy", [float(one.argmax() == label) for one in answers]),
                    ("agreement", [float(one.argmax() == class_) for one in answers]),
                    ("probability", [float(one[class_]) for one in answers]),
                ):
                    key = explained, order, measure
                    found.setdefault(key, []).append(np.trapezoid(values, THIRDS))
    return found


def _mask(model, shown, map_, sign, share, name):
    """T-Attr: pixels of the enlarged map, black. The paper: patches, as the mean colour here."""
    masked = np.array(shown)
    if name == TATTR:
        scores = heatmap.upsample(map_, shown.shape[:2])
        for one in np.argsort(sign * scores.ravel(), kind="stable")[: int(share * scores.size)]:
            row, column = divmod(int(one), shown.shape[1])
            black = -np.array(model.preprocessing.mean) / model.preprocessing.std
            masked[row, column] = black
        return masked.astype(np.float32)
    for one in np.argsort(sign * map_.ravel(), kind="stable")[: int(share * map_.size)]:
        top, left = 4 * (one // 3), 4 * (one % 3)
        masked[top : top + 4, left : left + 4] = shown.mean(axis=(0, 1))
    return masked


@pytest.mark.parametrize("name", [TATTR, PAPER])
def test_areas_are_those_of_a_loop(model, dataset, guide, finished, tmp_path, name):
    used = guide if name == PAPER else None
    if used is None:
        result = finished[name][1]
    else:
        chosen = protocol(name, fill="mean", fractions=THIRDS)
        result = perturbation.run(model, dataset, tmp_path / "out", chosen, guide=used)
        assert result.left_out == 4
    some = dataset if used is None else perturbation.without(dataset, 2)
    assert result.images == len(some.files)
    found = _slowly(model, some, name, used)
    rows = [one for one in result.scores if one.method == "complete" and not one.against]
    assert len(rows) == (10 if used is None else 4)
    for one in rows:
        expected = np.mean(found[one.explained, one.order, one.measure])
        # Equal scores are taken in another order here, so single images may differ.
        assert one.value == pytest.approx(expected, abs=0.02 if used is None else 1e-3), one
        assert one.low <= one.value <= one.high
        assert one.images == len(some.files)


def test_differences_are_paired_and_curves_give_the_areas(finished):
    for _, result in finished.values():
        areas = {one[1:6]: one for one in result.scores if not one.against}
        differences = [one for one in result.scores if one.against]
        assert len(differences) == 6 * len(areas) // 4
        for one in differences:
            rest = one[3:6]
            first, second = areas[(one.method, "", *rest)], areas[(one.against, "", *rest)]
            assert one.value == pytest.approx(first.value - second.value, abs=1e-12)
        for key, area in areas.items():
            points = [one for one in result.curves if one[1:5] == (key[0], *key[2:])]
            assert [one.fraction for one in points] == list(THIRDS)
            assert area.value == pytest.approx(
                np.trapezoid([one.value for one in points], THIRDS), abs=1e-12
            )
        assert result.methods == ALL


def test_pairing_takes_the_common_part_out():
    """Two methods that differ by a constant: each area is unsure, their difference is not."""
    chosen = protocol(TATTR, explained=["label"])
    rng = np.random.default_rng(3)
    chance = rng.random((40, 1, 1, 1, 10)).astype(np.float32) * np.ones((1, 2, 1, 2, 1), np.float32)
    chance[:, 1] -= 0.25
    masked = perturbing.Masked(np.zeros(chance.shape, np.int32), chance)
    labels = np.zeros(40, np.int32)
    scores, _ = score(chosen, ("a", "b"), masked, labels, labels)
    rows = [one for one in scores if one.measure == "probability" and one.order == "positive"]
    first, second, difference = rows
    assert (difference.method, difference.against) == ("a", "b")
    assert first.high - first.low > 0.03 < second.high - second.low
    np.testing.assert_allclose(difference[6:9], 0.225, atol=1e-6)
    accuracy = [one for one in scores if one.measure == "accuracy" and not one.against]
    np.testing.assert_allclose([one.value for one in accuracy], 0.9)


def test_equal_maps_are_tested_once(model, dataset, finished, tmp_path, monkeypatch):
    calls = []
    real = perturbing._mask

    def counted(model, images, *rest):
        calls.append(len(images))
        return real(model, images, *rest)

    monkeypatch.setattr(perturbing, "_mask", counted)
    chosen = protocol(TATTR, fractions=THIRDS)
    unlike = replace(model, name="other")
    perturbation.run(unlike, dataset, tmp_path / "out", chosen)
    # 20 images; raw attention and the random map have one map for both classes.
    assert sum(calls) < 20 * 6 + 8
    with np.load(next((finished[TATTR][0] / "maps").glob("*.npz"))) as shard:
        np.testing.assert_array_equal(
            shard["maps/random map"][:, 0], shard["maps/random map"][:, 1]
        )


class Killed(BaseException):
    pass


def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(
    model, dataset, finished, tmp_path, monkeypatch
):
    folder, chosen = tmp_path / "out", protocol(TATTR, fractions=THIRDS)
    seen = []

    def stop(done):
        seen.append(done)
        if done:
            raise Killed

    with pytest.raises(Killed):
        perturbation.run(model, dataset, folder, chosen, progress=stop)
    assert seen == [0, 16]
    part = contents(folder)
    assert len(part) == 3
    again = []
    result = perturbation.run(model, dataset, folder, chosen, progress=again.append)
    assert again == [16, 4]
    assert contents(folder) == contents(finished[TATTR][0])
    assert part.items() <= contents(folder).items()
    assert result == finished[TATTR][1]

    # Another protocol takes the maps that are there.
    monkeypatch.setattr(perturbation, "explain", lambda *_: pytest.fail("maps computed again"))
    dropped = protocol(TATTR, fill="drop", fractions=THIRDS, explained=["label"])
    other = perturbation.run(model, dataset, folder, dropped)
    assert other.protocol.name == f"{TATTR}+fill=drop+fractions=0,0.34,0.67"
    assert {path.name for path in (folder / "curves").iterdir()} == {
        f"{TATTR}+fractions=0,0.34,0.67@predicted,label",
        f"{TATTR}+fill=drop+fractions=0,0.34,0.67@label",
    }


def test_a_folder_of_another_run_and_a_damaged_shard(model, dataset, finished, tmp_path):
    folder, result = finished[TATTR]
    with pytest.raises(LedgerError, match=r"holds another run \(different: seed\)"):
        perturbation.run(model, dataset, folder, result.protocol, seed=1)
    with pytest.raises(LedgerError, match=r"\(different: methods\)"):
        perturbation.run(model, dataset, folder, result.protocol, methods=["rollout"])
    for name, data in contents(folder).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data[:100] if "curves" in name else data)
    with pytest.raises(LedgerError, match=r"shard-000000\.npz cannot be read .* delete that file"):
        perturbation.run(model, dataset, tmp_path, result.protocol)


def test_unreadable_images_are_left_out(model, dataset, tmp_path):
    root = tmp_path / "photos"
    for file in dataset.files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        data = (dataset.root / file).read_bytes()
        (root / file).write_bytes(b"nothing" if file in dataset.files[:17:8] else data)
    chosen = protocol(TATTR, fractions=(0, 0.5), explained=["label"])
    result = perturbation.run(model, dataset._replace(root=root), tmp_path / "out", chosen)
    assert result.images == 17
    assert [file for file, _ in result.skipped] == list(dataset.files[:17:8])
    for file in dataset.files:
        (root / file).write_bytes(b"nothing")
    with pytest.raises(ImageError, match="none of the 20 images can be read"):
        perturbation.run(model, dataset._replace(root=root), tmp_path / "none", chosen)


def test_without_labels_only_predictions_can_be_explained(model, dataset, tmp_path):
    unknown = dataset._replace(targets=np.full(20, -1, np.int32))
    with pytest.raises(DatasetError, match="20 of 20 images have no label, which tattr-perturb-v1"):
        perturbation.run(model, unknown, tmp_path / "a", protocol(TATTR))
    chosen = protocol(TATTR, fractions=THIRDS, explained=["predicted"])
    scores = perturbation.run(model, unknown, tmp_path / "b", chosen).scores
    for one in scores:
        assert np.isnan(one.value) == (one.measure == "accuracy")


def test_guides(model, dataset, guide, tmp_path):
    assert guide.class_ == 2
    assert guide.name.startswith("lynx/")
    chosen = protocol(PAPER)
    only = index(dataset.root, LABELS, classes=["lynx"])
    with pytest.raises(DatasetError, match="all 4 images are of the guide's own class"):
        perturbation.run(model, only, tmp_path, chosen, guide=guide)
    with pytest.raises(JaxattrError, match="stitches every image with a guide of another class"):
        perturbation.run(model, dataset, tmp_path, chosen)
    with pytest.raises(JaxattrError, match="uses no guide"):
        perturbation.run(model, dataset, tmp_path, protocol(TATTR), guide=guide)
    with pytest.raises(DatasetError, match="holds no readable image of class 0"):
        perturbation.guide_of_class(model, only, 0, Layout())
    path = dataset.root / guide.name
    assert perturbation.guide_from_file(model, path, dataset, Layout()).class_ == 2
    predicted = int(forward(model, jnp.asarray(guide.image))[0].argmax())
    assert perturbation.guide_from_file(model, path, only._replace(files=()), Layout()).class_ == (
        predicted
    )


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("deletion", {}, "protocol 'deletion' is unknown; choose from tattr-perturb-v1, cui-"),
        (TATTR, {"fill": "grey"}, "fill 'grey' is unknown"),
        (TATTR, {"fractions": (0.1, 0.2)}, "wanted two or more that rise from 0"),
        (TATTR, {"fractions": (0, 1.5)}, "150 units to mask, but the image has 100"),
        (TATTR, {"explained": ("rival",)}, "classes to explain are rival; choose label"),
    ],
)
def test_what_is_no_protocol(name, changes, message):
    with pytest.raises(JaxattrError, match=message):
        protocol(name, **changes)


def test_protocols_say_what_was_changed():
    assert protocol(TATTR) == PROTOCOLS[TATTR]
    assert protocol(TATTR, fill="black", fractions=PROTOCOLS[TATTR].fractions) == PROTOCOLS[TATTR]
    assert protocol(TATTR, fill="mean").name == "tattr-perturb-v1+fill=mean"
    assert protocol(TATTR, fill="mean").unit == "pixel"
    assert protocol(TATTR, fill="drop").unit == "patch"
    assert protocol(PAPER, fractions=(0, 0.5)).name == "cui-guided-perturb-v1+fractions=0,0.5"


def test_bad_methods(model, dataset, tmp_path):
    with pytest.raises(JaxattrError, match="unknown method nonsense; choose from"):
        perturbation.run(model, dataset, tmp_path, protocol(TATTR), methods=["nonsense"])


def test_a_random_map_belongs_to_its_image(model, dataset):
    shown = np.zeros((3, 8, 12, 3), np.float32)
    labels, names = np.zeros(3, np.int32), list(dataset.files[:3])
    raw = (METHODS["raw_attention"],)
    three = perturbing.explain(model, shown, labels, names, raw, 0)
    one = perturbing.explain(model, shown[:1], labels[:1], names[2:], raw, 0)
    np.testing.assert_array_equal(three.maps["random map"][2], one.maps["random map"][0])
    other = perturbing.explain(model, shown[:1], labels[:1], names[2:], raw, 1)
    assert (other.maps["random map"] != one.maps["random map"]).all()


def test_the_figure(finished):
    for _, result in finished.values():
        figure = draw(result, "probability", "a note with a $ sign")
        assert len(figure.axes) == 4
        assert all(len(axis.lines) == 4 for axis in figure.axes)
        titles = [axis.get_title() for axis in figure.axes]
        assert [title.split()[0] for title in titles] == ["Negative", "Positive"] * 2
        assert (
            hashlib.sha256(encode(figure, "svg")).digest()
            == (
                hashlib.sha256(encode(draw(result, "probability", "a note with a $ sign"), "svg"))
            ).digest()
        )
