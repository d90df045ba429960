"""What an audit cannot see: the power that is stated against the power that simulation gives."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from ledgers import make_ledger, make_rows
from test_findings import gaussians, write

from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.report.export import findings_csv, findings_json
from jaxattr.audit.report.limits import least_images, limits
from jaxattr.audit.report.limits_text import sentences
from jaxattr.audit.statistics import rates

CLASSES, EACH = 8, 60


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    label, logits, feature = gaussians(CLASSES, EACH, seed=2, distance=4.0)
    return write(tmp_path_factory.mktemp("clean"), label, logits, feature)


def test_the_fewest_images_that_can_be_certified():
    tried = np.geomspace(1e-6, 0.999, 100_001)
    for count, classes, noise, threshold in ((50, 30, 0.01, 7.4), (1000, 1000, 0.02, 11.3)):
        ratio = classes / noise

        def best(moved, count=count, ratio=ratio):
            return (moved * np.log1p(tried * ratio) + count * np.log1p(-tried)).max()

        least = least_images(count, classes, noise, threshold)
        assert best(least) >= threshold - 1e-3
        assert best(least - 1) < threshold
    assert least_images(1, 1000, 0.01, 14.0) == 2  # more than there are


def test_the_stated_rate_is_found_about_four_times_in_five(clean, tmp_path):
    """Move that share of a class to the folder it is taken for most, many times."""
    of = limits(Analysis(clean))
    (size,) = of.sizes
    assert (size.smallest, size.largest, size.classes) == (EACH, EACH, CLASSES)
    assert size.alike is not None
    assert size.unlike is not None
    assert rates.FLOOR <= size.unlike <= size.alike < 0.5
    columns = clean.read("label", "logits", "feature")
    rng = np.random.default_rng(0)
    found = []
    for trial in range(8):
        label = columns["label"].copy()
        pairs = [(a, (a + 1) % CLASSES) for a in range(0, CLASSES, 4)]
        for a, b in pairs:
            members = np.flatnonzero(columns["label"] == b)
            count = rng.binomial(EACH, (size.unlike + size.alike) / 2)
            label[rng.choice(members, count, replace=False)] = a
        ledger = write(tmp_path / str(trial), label, columns["logits"], columns["feature"])
        accepted = {(one.label, one.source) for one in Analysis(ledger).pairs.accepted}
        found += [pair in accepted for pair in pairs]
    assert 0.6 <= np.mean(found) <= 1.0


def test_needed_images_are_those_of_the_power_formula(clean):
    (size,) = limits(Analysis(clean)).sizes
    few, some, many = (unlike for unlike, _ in size.needed)  # at 2, 5 and 10 %
    assert few > EACH > many
    assert few > some > many
    assert all(alike >= unlike - 1e-9 for unlike, alike in size.needed)


def test_what_is_said(clean):
    said = " ".join(sentences(limits(Analysis(clean)), Analysis(clean)))
    assert "In classes of 60 images wrong labels in one direction are found with 80 % power" in said
    assert "no test can certify that" in said
    assert "Not looked for: copies across splits" in said
    content = json.loads(findings_json([], Analysis(clean)))
    assert content["limits"]["sentences"] == sentences(limits(Analysis(clean)), Analysis(clean))
    assert content["limits"]["tests"] == CLASSES * (CLASSES - 1)
    assert content["partial"] is False


def test_what_is_left_out_is_named(tmp_path):
    rows = make_rows(41, unreadable={7})
    for row in (row for row in rows if not row["error"]):
        row["logits"] = row["logits"] + 4 * (np.arange(6) == row["label"]).astype(np.float32)
        if row["label"] == 2:  # the model does not know this class
            row["logits"] = np.array([0, 0, -9, 5, 0, 0], np.float32)
    rows[40] |= {"label": 5}
    ledger = make_ledger(tmp_path, rows, total=100)
    of = limits(Analysis(ledger))
    assert of.refused == (2,)
    assert of.single == (5,)
    said = sentences(of, Analysis(ledger))
    assert said[0].startswith("PARTIAL: 41 of the folder's 100 images")
    assert any("Not tested, for the model does not know them: cat." in one for one in said)
    assert any("1 image could not be read" in one for one in said)
    finding = Finding("duplicate_image", "low", "Copies", "Equal.", (0,), (0,), 1.0)
    assert json.loads(findings_json([finding], Analysis(ledger)))["partial"] is True
    (row,) = csv.DictReader(findings_csv([finding], Analysis(ledger)).splitlines())
    assert row["partial"] == "partial"
