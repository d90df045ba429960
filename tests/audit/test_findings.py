"""Findings on synthetic ledgers whose truth is known, and the contract of every finder."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from jaxattr.audit.findings import FINDERS, find
from jaxattr.audit.findings.finding import SEVERITIES, Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import FORMAT, MAPS, Ledger, Receipt, open_ledger, read_ledger
from jaxattr.audit.report.export import COLUMNS, findings_csv, findings_json
from jaxattr.audit.report.limits import limits
from jaxattr.audit.report.limits_text import sentences

GRID = (6, 6)


def gaussians(classes: int, each: int, *, seed: int, size: int = 16, distance: float = 2.6):
    """Features around class means and the exact log posterior as logits, sharpened by 1.5."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(classes, size))
    means *= distance / np.linalg.norm(means, axis=1, keepdims=True)
    truth = np.repeat(np.arange(classes), each)
    feature = means[truth] + rng.normal(size=(len(truth), size))
    logits = 1.5 * (feature @ means.T - 0.5 * (means**2).sum(axis=1))
    return truth, logits.astype(np.float32), feature.astype(np.float32)


def write(
    folder: Path,
    label: np.ndarray,
    logits: np.ndarray,
    feature: np.ndarray,
    *,
    shard: int = 97,
    bad: tuple[int, ...] = (),
) -> Ledger:
    """A ledger of these arrays; pair maps have their negative part in the top left corner."""
    rng = np.random.default_rng(0)
    names = tuple(f"class {i:02d}, also {i}" for i in range(logits.shape[1]))
    count = len(label)
    receipt = Receipt(
        FORMAT,
        "0",
        "model",
        "x",
        names,
        GRID,
        feature.shape[1],
        {},
        "d",
        "h",
        count,
        count,
        shard,
        {},
    )
    ledger = open_ledger(folder, receipt)
    for number in range(receipt.shards):
        rows = []
        for i in range(number * shard, min(count, (number + 1) * shard)):
            row = {"index": i, "file": f"{i:05d}, ü.png", "label": int(label[i]), "error": ""}
            if i in bad:
                rows.append({**row, "error": "not an image"})
                continue
            others = np.where(np.arange(logits.shape[1]) == label[i], -np.inf, logits[i])
            values = rng.integers(0, 128, GRID)
            values[:2, :2] = -100 if i % 2 else values[:2, :2]
            maps = {name: values.astype(np.int8).ravel() for name in MAPS}
            scales = {name.replace("map", "scale"): 0.01 for name in MAPS}
            rows.append(
                {
                    **row,
                    **maps,
                    **scales,
                    "sha256": f"{i:064x}",
                    "prediction": int(logits[i].argmax()),
                    "rival": int(others.argmax()),
                    "logits": logits[i],
                    "feature": feature[i],
                    "thumbnail": b"x",
                }
            )
        ledger.write(number, rows)
    return read_ledger(folder)


def move(truth: np.ndarray, source: int, target: int, rate: float, seed: int) -> np.ndarray:
    """Labels in which a share of one class's images carry another's label."""
    members = np.flatnonzero(truth == source)
    chosen = np.random.default_rng(seed).choice(members, round(rate * len(members)), replace=False)
    label = truth.copy()
    label[chosen] = target
    return label


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ledger, np.ndarray, np.ndarray]:
    """8 classes of 60 images, of which 20 % of class 5 carry the label 2."""
    truth, logits, feature = gaussians(8, 60, seed=3)
    label = move(truth, 5, 2, 0.2, seed=1)
    folder = tmp_path_factory.mktemp("planted")
    return write(folder, label, logits, feature, bad=(7, 100)), truth, label


@pytest.mark.parametrize("kind", FINDERS)
def test_every_finder_keeps_the_contract(kind: str, planted):
    ledger = planted[0]
    found = FINDERS[kind](Analysis(ledger))
    readable = set(ledger.read("index")["index"].tolist())
    for one in found:
        assert isinstance(one, Finding)
        assert one.kind == kind
        assert one.severity in SEVERITIES
        assert one.title
        assert "\n" not in one.title
        assert one.detail
        assert one.action
        assert one.caveat
        assert one.classes
        assert all(type(c) is int and 0 <= c < 8 for c in one.classes)
        assert set(one.images) <= readable
        assert all(type(image) is int for image in one.images)
        assert np.isfinite(one.score)
        assert (one.effect is None) == (one.effect_name == "")
        if one.interval is not None:
            assert one.effect is not None
            assert one.interval[0] <= one.effect <= one.interval[1]
        if one.p_value is not None:
            assert 0 <= one.p_value <= 1
            assert one.null
        json.dumps(one._asdict(), allow_nan=False)


def test_the_planted_pair_and_its_images_are_found(planted):
    ledger, truth, label = planted
    (pair,) = FINDERS["contaminated_pair"](Analysis(ledger))
    assert pair.classes == (2, 5)
    assert pair.severity == "high"
    assert pair.q_value is not None
    assert pair.q_value < 0.001
    low, high = pair.interval or (0, 0)
    assert low < 0.2 < high
    moved = set(np.flatnonzero(truth != label).tolist()) - {7, 100}
    flagged = set(pair.images)
    assert len(flagged & moved) >= 0.8 * len(moved)
    assert len(flagged - moved) <= 0.2 * len(flagged)
    certified = [
        one for one in FINDERS["mislabelled_image"](Analysis(ledger)) if one.severity == "high"
    ]
    assert {one.images[0] for one in certified} == flagged
    assert all(one.q_value == pair.q_value for one in certified)


def test_findings_are_sorted_and_the_same_again(planted):
    ledger = planted[0]
    found = find(Analysis(ledger))
    severities = [SEVERITIES.index(one.severity) for one in found]
    assert severities == sorted(severities, reverse=True)
    again = read_ledger(ledger.folder)
    assert findings_json(found, Analysis(ledger)) == findings_json(
        find(Analysis(again)), Analysis(again)
    )
    assert findings_csv(found, Analysis(ledger)) == findings_csv(
        find(Analysis(again)), Analysis(again)
    )


def test_exports_name_classes_and_files_and_hold_no_nan(planted):
    ledger = planted[0]
    found = find(Analysis(ledger))
    content = json.loads(findings_json(found, Analysis(ledger)))
    assert content["schema"] == "jaxattr.findings"
    assert content["schema_version"] == 2
    assert len(content["findings"]) == len(found)
    assert [entry["file"] for entry in content["skipped"]] == ["00007, ü.png", "00100, ü.png"]
    first = content["findings"][0]
    assert first["kind"] == "contaminated_pair"
    assert first["classes"][0] == {"index": 2, "label": "class 02, also 2"}
    assert first["images"][0]["file"] == f"{first['images'][0]['index']:05d}, ü.png"
    assert first["score"] == float(f"{found[0].score:.6g}")
    rows = list(csv.reader(io.StringIO(findings_csv(found, Analysis(ledger)))))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(found) + 1
    assert rows[1][COLUMNS.index("labels")] == "class 02, also 2;class 05, also 5"
    # not even a finding of nothing but special values gets NaN into the file
    strange = found[0]._replace(score=float("nan"), effect=float("inf"), extra={"x": np.float32(1)})
    entry = json.loads(findings_json([strange], Analysis(ledger)))["findings"][0]
    assert entry["score"] is None
    assert entry["extra"] == {"x": 1.0}


def test_evidence_says_where_and_whether_it_is_localised(planted):
    found = FINDERS["mislabelled_image"](Analysis(planted[0]))
    assert {one.extra["localised"] for one in found} == {True, False}
    for one in found:
        top, left, bottom, right = one.extra["box"]
        if one.images[0] % 2:  # drawn with its negative part in the top left corner
            assert one.extra["localised"]
            assert (top, left, bottom, right) == (0, 0, 2, 2)
            assert one.extra["share"] == 1.0
        else:
            assert not one.extra["localised"]
            assert one.extra["localisation_p_value"] == 1.0
        assert one.extra["of"] == len(found)
        assert one.extra["omitted"] == 0
        if not one.extra["certified"]:
            assert one.severity != "high"
            assert one.q_value is None
            assert "Ranked only" in one.detail


def test_clean_and_noisy_labels_raise_no_pair(tmp_path: Path):
    """Ten sets without a defect: labels of their own posterior, and with uniform noise."""
    alarms = 0
    for seed in range(5):
        truth, logits, feature = gaussians(8, 60, seed=seed)
        rng = np.random.default_rng(seed)
        label = np.where(rng.random(len(truth)) < 0.15, rng.integers(0, 8, len(truth)), truth)
        for name, labels in (("clean", truth), ("noisy", label)):
            ledger = write(tmp_path / f"{name}{seed}", labels, logits, feature)
            alarms += len(Analysis(ledger).pairs.accepted)
            noise = Analysis(ledger).posterior.final.estimated_noise
            assert noise == pytest.approx(0.15 if name == "noisy" else 0.0, abs=0.06)
    assert alarms == 0


def test_planted_pairs_are_found_with_the_rate_in_the_interval(tmp_path: Path):
    found, covered, false = 0, 0, 0
    for seed in range(6):
        truth, logits, feature = gaussians(8, 60, seed=10 + seed)
        label = move(truth, 1, 4, 0.15, seed)
        ledger = write(tmp_path / str(seed), label, logits, feature)
        for pair in Analysis(ledger).pairs.accepted:
            hit = (pair.label, pair.source) == (4, 1)
            found, false = found + hit, false + (not hit)
            covered += hit and pair.interval[0] <= 0.15 <= pair.interval[1]
    assert found >= 5
    assert false == 0
    assert covered >= found - 1


@pytest.mark.parametrize("kind", ["permuted labels", "random head"])
def test_a_model_that_knows_nothing_is_refused(kind: str, tmp_path: Path):
    truth, logits, feature = gaussians(8, 40, seed=0)
    rng = np.random.default_rng(1)
    if kind == "permuted labels":
        truth = rng.permutation(truth)
    else:
        logits = (feature @ rng.normal(size=(16, 8)) * 0.05).astype(np.float32)
    (only,) = find(Analysis(write(tmp_path, truth, logits, feature)))
    assert only.kind == "unknown_class"
    assert only.severity == "low"
    assert "guessing" in only.detail


def test_a_few_images_do_not_show_that_a_model_knows_nothing(tmp_path: Path):
    """Two of four right, of two classes: that is guessing, or a model of which little was seen."""
    logits = np.array([[2, 0], [0, 2], [0, 2], [2, 0]], np.float32)
    feature = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    ledger = write(tmp_path, np.array([0, 0, 1, 1]), logits, feature)
    (only,) = find(Analysis(ledger))
    assert only.title.startswith("4 images are too few to tell whether the model knows")
    assert "guessing:" not in only.title
    said = sentences(limits(Analysis(ledger)), Analysis(ledger))
    assert any(
        "4 images are too few to tell whether the model knows the classes" in s for s in said
    )
    assert not any("does not know" in one or "knows none" in one for one in said)


def test_one_class_that_the_model_does_not_know_is_left_out(tmp_path: Path):
    truth, logits, feature = gaussians(8, 40, seed=0)
    logits[:, 3] -= 20  # never predicted
    found = find(Analysis(write(tmp_path, truth, logits, feature)))
    (unknown,) = [one for one in found if one.kind == "unknown_class"]
    assert unknown.classes == (3,)
    assert unknown.effect == 0
    assert all(one.classes[0] != 3 for one in found if one.kind == "mislabelled_image")
    assert all(3 not in one.classes for one in found if one.kind == "contaminated_pair")


def test_small_and_odd_folders(tmp_path: Path):
    """One image a class, one class only, outputs that no image carries, nothing readable."""
    truth, logits, feature = gaussians(8, 1, seed=0)
    ledger = write(tmp_path / "one", truth, logits, feature)
    assert not Analysis(ledger).posterior.discriminant
    assert all(one.kind == "mislabelled_image" for one in find(Analysis(ledger)))
    truth, logits, feature = gaussians(8, 30, seed=0)
    single = write(tmp_path / "single", np.full(60, 2), logits[:60], feature[:60])
    assert Analysis(single).pairs.tests == 0
    json.loads(findings_json(find(Analysis(single)), Analysis(single)))
    some = truth < 3
    part = write(tmp_path / "part", truth[some], logits[some], feature[some])
    assert Analysis(part).posterior.classes.tolist() == [0, 1, 2]
    assert Analysis(part).pairs.tests == 6
    outside = [one.extra["rival_in_folder"] for one in FINDERS["mislabelled_image"](Analysis(part))]
    assert not all(outside)
    nothing = write(tmp_path / "nothing", truth[:2], logits[:2], feature[:2], bad=(0, 1))
    assert find(Analysis(nothing)) == []


def test_memory_does_not_grow_with_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """K = 150: three times the images cost a few hundred bytes each, not their logits."""
    monkeypatch.setattr("jaxattr.audit.ledger.reading.CALIBRATED_ON", 1000)
    monkeypatch.setattr("jaxattr.audit.inference.sharpening.FITTED_ON", 1000)
    monkeypatch.setattr("jaxattr.audit.ledger.reading._CHUNK", 50)  # some are in work at a time
    peaks = []
    for each in (10, 10, 30):  # the first pays for imports
        truth, logits, feature = gaussians(150, each, seed=0)
        folder = tmp_path / f"{len(peaks)}"
        ledger = write(folder, truth, logits, feature, shard=50)
        tracemalloc.start()
        assert Analysis(ledger).sharpened.discriminant
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 3000 * 450  # logits alone would be 3000 * 600
