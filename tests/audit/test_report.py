"""The report as text: size, determinism, escaping, completeness, the policy against requests."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from ledgers import GRID, LABELS, make_ledger, make_rows
from PIL import Image

from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import MAPS
from jaxattr.audit.report import BUDGET, render, selection
from jaxattr.audit.report.summary import summarize
from jaxattr.plot.heatmap import palette_table

HOSTILE = "</script><b>&amp;\u202e\u2028'\""


def make_finding(images, classes=(0, 1), **changes) -> Finding:
    values = {
        "kind": "contaminated_pair",
        "severity": "high",
        "title": f"Pair {classes}",
        "detail": "Look at it.",
        "score": 3.0,
        "effect": 0.04,
        "effect_name": "share",
        "interval": (0.01, 0.09),
        "p_value": 1e-5,
        "q_value": 0.002,
        "null": "no image of b is labelled a",
        "power": "80 % at 5 %",
    }
    return Finding(classes=tuple(classes), images=tuple(images), **{**values, **changes})


def page(ledger, findings=(), **options) -> str:
    return render(Analysis(ledger), summarize(ledger), list(findings), **options)


def data_of(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


@pytest.fixture
def ledger(tmp_path):
    return make_ledger(tmp_path, make_rows(60, unreadable={5}))


def photo(seed, size=128) -> bytes:
    """A WebP file of about the size of a real thumbnail."""
    noise = np.random.default_rng(seed).integers(0, 256, (11, 11, 3), np.uint8)
    file = io.BytesIO()
    smooth = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
    smooth.save(file, "WEBP", quality=95, method=0)
    return file.getvalue()


@pytest.mark.parametrize(("classes", "each"), [(1000, 1), (30, 120), (50, 100)])
def test_size_stays_within_the_budget(tmp_path, classes, each):
    labels = [f"class number {i}, with a synonym" for i in range(classes)]
    photos = [photo(seed) for seed in range(8)]
    rows = make_rows(500, labels=labels, grid=(14, 14), classes=classes)
    for row in rows:
        row["thumbnail"] = photos[row["index"] % 8]
    count = classes * each
    rows = [
        rows[i % 500] | {"index": i, "file": f"folder/photo_{i:06d}.jpg", "label": i % classes}
        for i in range(count)
    ]
    ledger = make_ledger(tmp_path, rows, labels=labels, grid=(14, 14), shard_size=1024)
    wrong = [row for row in rows if row["prediction"] != row["label"]][:1500]
    findings = [
        make_finding([row["index"]], (row["label"], row["prediction"]), kind="mislabelled_image")
        for row in wrong
    ]
    html = page(ledger, findings)
    data = data_of(html)
    size = len(html.encode())
    assert size <= BUDGET
    shown, total = data["shown"]["images"]
    assert total == count
    assert shown == len(data["images"])
    # The budget is used, not just kept; every class has its page.
    assert shown == count or size > 0.9 * BUDGET
    assert data["shown"]["classes"] == [classes, classes]


def test_a_small_budget_is_kept_and_the_omissions_are_counted(ledger):
    findings = [make_finding([i], title=f"number {i}") for i in range(40) if i != 5]
    html = page(ledger, findings, budget=130_000)
    data = data_of(html)
    assert len(html.encode()) <= 130_000
    for name, (shown, total) in data["shown"].items():
        assert shown == len(data[name]) <= total
    assert data["shown"]["images"][0] < data["shown"]["images"][1] == 59


def test_same_ledger_same_bytes(ledger):
    findings = [make_finding([3, 4])]
    assert page(ledger, findings) == page(ledger, findings)


def test_every_finding_is_there_in_the_given_order(ledger):
    findings = [
        make_finding([i], (i % 4, (i + 1) % 4), title=f"Finding {i}") for i in range(30) if i != 5
    ]
    shown = data_of(page(ledger, findings))["findings"]
    assert [shown[str(rank)]["title"] for rank in range(1, 30)] == [one.title for one in findings]
    first = shown["1"]
    assert (first["q"], first["p"], first["interval"]) == (0.002, 1e-5, [0.01, 0.09])
    assert first["null"] == "no image of b is labelled a"


def test_evidence_images_have_a_page_and_pairs_of_findings_too(ledger):
    findings = [make_finding([7, 11, 59], (0, 5)), make_finding([2], (2, 3))]
    summary = summarize(ledger)
    data = data_of(render(Analysis(ledger), summary, findings))
    assert {"7", "11", "59", "2"} <= set(data["images"])
    # (0, 5) may not be among the strongest rivals of 0, but has a page where it has images.
    rows = ledger.read("label", "rival")
    seen = set(zip(rows["label"].tolist(), rows["rival"].tolist(), strict=True))
    for pair in [(0, 5), (2, 3)]:
        assert (f"{pair[0]}/{pair[1]}" in data["pairs"]) == (pair in seen)


def test_maps_and_numbers_arrive_unchanged(ledger):
    data = data_of(page(ledger))
    more = ("classes", "map_class", "weight_class")
    row = ledger.rows([8], *MAPS, *more, "file", "label", "logits", "thumbnail")[8]
    entry = data["images"]["8"]
    assert base64.b64decode(entry[7]) == row["thumbnail"]
    assert entry[:2] == [row["file"], row["label"]]
    packed = np.frombuffer(base64.b64decode(entry[5]), np.int8).reshape(4, *GRID)
    for name, values, scale in zip(MAPS, packed, entry[6], strict=True):
        np.testing.assert_allclose(values * scale, row[name], rtol=1e-5)
    classes, weights, maps, scales = entry[9]
    assert classes == row["classes"].tolist()
    assert classes[0] == row["label"]
    np.testing.assert_allclose(weights, row["weight_class"], rtol=1e-5)
    whole = np.frombuffer(base64.b64decode(maps), "<i2").reshape(-1, *GRID)
    of_classes = whole * np.array(scales)[:, None, None]
    np.testing.assert_allclose(of_classes, row["map_class"], rtol=1e-5)
    logits = row["logits"].astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    for index, probability, logit in entry[4]:
        np.testing.assert_allclose(probability, probabilities[index], rtol=1e-3)
        np.testing.assert_allclose(logit, logits[index], rtol=1e-3)
    table = np.frombuffer(base64.b64decode(data["palettes"]["diverging"]), np.uint8)
    np.testing.assert_array_equal(table.reshape(-1, 3), palette_table("diverging"))


def test_hostile_names_cannot_leave_their_place(tmp_path):
    rows = make_rows(12, unreadable={4})
    for row in rows:
        row["file"] += HOSTILE
        row["error"] = row["error"] and row["error"] + HOSTILE
    labels = [name + HOSTILE for name in LABELS]
    ledger = make_ledger(
        tmp_path, rows, labels=labels, model=HOSTILE, images=HOSTILE, settings={"x": HOSTILE}
    )
    html = page(ledger, [make_finding([3], title=HOSTILE, detail=HOSTILE, kind=HOSTILE)])
    assert "<b>&amp;" not in html.replace("jaxattr</b>", "")
    assert html.count("</script>") == 2
    data = data_of(html)
    assert data["findings"]["1"]["title"] == HOSTILE
    assert data["names"]["0"][1] == labels[0]
    assert data["skipped"] == {"0": ["0/4.png" + HOSTILE, "cut off" + HOSTILE]}


def test_a_folder_name_of_any_bytes_can_be_written(ledger):
    # What Python makes of a path that is not UTF-8.
    receipt = dataclasses.replace(ledger.receipt, images="caf\udce9")
    html = page(dataclasses.replace(ledger, receipt=receipt))
    assert "caf\\udce9" in html.encode("utf-8").decode("utf-8")


def test_nothing_but_its_own_script_and_style_may_run_or_load(ledger):
    html = page(ledger)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy
    assert policy[1].startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy[1]
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", html)
    assert not re.search(r"https?://", html)


def test_partial_is_said(tmp_path):
    rows = make_rows(8)
    whole = page(make_ledger(tmp_path / "a", rows))
    assert "PARTIAL:" not in whole
    assert "<title>jaxattr audit" in whole
    html = page(make_ledger(tmp_path / "b", rows, total=50))
    assert "<title>PARTIAL – jaxattr audit" in html
    assert ">PARTIAL</a>" in html
    assert '<p class="band" role="note">PARTIAL: 8 of the folder&#39;s 50 images' in html
    assert data_of(html)["limits"]["sentences"][0].startswith("PARTIAL: 8 of")


def test_the_protocol_names_the_run(ledger):
    html = page(ledger)
    assert "p" * 64 in html
    assert "i" * 64 in html
    assert "Benjamini" in html


def test_numbers_that_json_cannot_say_are_left_out(ledger):
    html = page(ledger, [make_finding([3], effect=float("nan"), score=float("inf"))])
    assert "effect" not in data_of(html)["findings"]["1"]


def test_a_ledger_without_a_readable_image(tmp_path):
    data = data_of(page(make_ledger(tmp_path, make_rows(3, unreadable={0, 1, 2}))))
    assert data["overall"]["skipped"] == 3
    assert data["images"] == {}


def test_every_finding_gets_an_image_before_any_gets_two(ledger):
    findings = [make_finding(range(10 * i, 10 * i + 10)) for i in range(5)]
    order = selection.image_order(summarize(ledger), findings, [], [])
    assert order[:5] == [0, 10, 20, 30, 40]
    assert sorted(order) == list(range(50))
