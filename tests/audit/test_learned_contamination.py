"""A model that mixes one class into another, told from a folder that holds wrong labels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from jaxattr.audit.findings.learned_contamination import LISTED, learned_contamination
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import FORMAT, Receipt
from jaxattr.bench.audit.labelled import Labelled

CLASSES, EACH = 8, 100


def make(seed: int, mixed: float = 0.0, moved: int = 0, each: int = EACH) -> Labelled:
    """Gaussians and their exact posterior, of which a share of class 5's goes to class 2.

    `moved` images of class 5 carry the label 2.
    """
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(CLASSES, 12))
    means *= 2.5 / np.linalg.norm(means, axis=1, keepdims=True)
    label = np.repeat(np.arange(CLASSES), each)
    feature = means[label] + rng.normal(size=(len(label), 12))
    p = special.softmax(feature @ means.T - 0.5 * (means**2).sum(axis=1), axis=1)
    p[:, 2] += mixed * p[:, 5]
    p[:, 5] *= 1 - mixed
    label[np.flatnonzero(label == 5)[:moved]] = 2
    logits, count = np.log(p), len(label)
    others = logits.copy()
    others[np.arange(count), label] = -np.inf
    names = tuple(f"class {i}" for i in range(CLASSES))
    receipt = Receipt(FORMAT, "0", "m", "x", names, (2, 2), 12, {}, "d", "h", count, count, 100, {})
    columns = {
        "index": np.arange(count, dtype=np.int32),
        "label": label.astype(np.int32),
        "logits": logits.astype(np.float32),
        "feature": feature.astype(np.float32),
        "rival": others.argmax(axis=1).astype(np.int32),
    }
    return Labelled(Path("nowhere"), receipt, columns)


def test_the_excess_is_its_formula():
    given = make(0, mixed=0.1)
    found = Analysis(given).excess
    p = special.softmax(given.columns["logits"].astype(np.float64), axis=1)
    own = np.eye(CLASSES)[given.label]
    for a, b in [(2, 5), (5, 2), (0, 7)]:
        total = sum(p[i, b] * (p[i, a] - own[i, a]) for i in range(len(p)))
        spread = np.sqrt(sum(p[i, b] ** 2 * p[i, a] * (1 - p[i, a]) for i in range(len(p))))
        assert found.rate[a, b] == pytest.approx(total / EACH, abs=1e-9)
        assert found.z[a, b] == pytest.approx(total / spread)
    assert (np.diag(found.rate) == 0).all()


def test_a_model_that_mixes_two_classes_is_told_with_the_images():
    (one, *rest) = learned_contamination(Analysis(make(1, mixed=0.25)))
    assert one.classes == (2, 5)
    assert one.effect is not None
    assert 0.1 < one.effect < 0.25  # a quarter of what it gives class 5, weighted by the rest
    assert one.q_value is None
    assert one.p_value is None
    assert "not certified" in one.detail
    assert "trained on" in one.action
    assert all(5 * EACH <= image < 6 * EACH for image in one.images)
    assert rest == []


def test_calibrated_models_and_wrong_labels_are_no_learned_contamination():
    found = [learned_contamination(Analysis(make(seed))) for seed in range(4)]
    found += [learned_contamination(Analysis(make(seed, moved=15))) for seed in range(2)]
    assert sum(map(len, found)) == 0


@pytest.mark.parametrize(("mixed", "told"), [(0.015, []), (0.06, [(2, 5)])])
def test_an_excess_below_two_percent_is_not_listed_however_sure(mixed, told):
    given = make(3, mixed=mixed, each=3000)
    found = Analysis(given).excess
    assert found.z[2, 5] > 4  # a sure one, of 1.2 % and of 4.6 %
    assert found.rate[2, 5] > 0.005
    assert [one.classes for one in learned_contamination(Analysis(given))] == told


def test_at_most_a_handful_is_listed(monkeypatch):
    module = sys.modules[learned_contamination.__module__]  # the package's name is the function
    monkeypatch.setattr(module, "Z_FLOOR", -1e9)
    monkeypatch.setattr(module, "EXCESS_FLOOR", -1e9)
    found = learned_contamination(Analysis(make(1, mixed=0.25)))
    assert len(found) == LISTED
    assert found[0].classes == (2, 5)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert found[0].extra["of"] > LISTED
