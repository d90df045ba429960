"""Findings on synthetic ledgers whose truth is known, and the contract of every finder."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from jaxattr.audit.export import COLUMNS, findings_csv, findings_json
from jaxattr.audit.finding import SEVERITIES, Finding
from jaxattr.audit.findings import FINDERS, find
from jaxattr.audit.findings.contaminated_pair import pair_tests
from jaxattr.audit.ledger import MAPS, Ledger, Receipt, open_ledger, read_ledger
from jaxattr.audit.posterior import posterior

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
        1, "0", "model", "x", names, GRID, feature.shape[1], {}, "d", "h", count, count, shard, {}
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
                    "sha256": "s",
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
    found = FINDERS[kind](ledger)
    readable = set(ledger.read("index")["index"].tolist())
    for one in found:
        assert isinstance(one, Finding)
        assert one.kind == kind
        assert one.severity in SEVERITIES
        assert one.title
        assert "\n" not in one.title
        assert one.detail
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
    (pair,) = FINDERS["contaminated_pair"](ledger)
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
    certified = [one for one in FINDERS["mislabelled_image"](ledger) if one.severity == "high"]
    assert {one.images[0] for one in certified} == flagged
    assert all(one.q_value == pair.q_value for one in certified)


def test_findings_are_sorted_and_the_same_again(planted):
    ledger = planted[0]
    found = find(ledger)
    severities = [SEVERITIES.index(one.severity) for one in found]
    assert severities == sorted(severities, reverse=True)
    again = read_ledger(ledger.folder)
    assert findings_json(found, ledger) == findings_json(find(again), again)
    assert findings_csv(found, ledger) == findings_csv(find(again), again)
