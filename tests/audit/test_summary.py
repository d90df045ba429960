"""The streamed summary against plain NumPy over all rows at once."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from ledgers import GRID, make_ledger, make_rows

from jaxattr.audit.report import summary as summary_module
from jaxattr.audit.report.summary import STRIP, summarize, summarize_pairs


@pytest.fixture
def rows():
    return make_rows(150, unreadable={5, 77})


@pytest.fixture
def readable(rows):
    return [row for row in rows if not row["error"]]


def softmax(logits):
    shifted = np.exp(logits.astype(np.float64) - logits.max())
    return shifted / shifted.sum()


def margin(row):
    return float(row["logits"][row["label"]]) - float(row["logits"][row["rival"]])


def unit(values):
    return values.astype(np.float64) / np.abs(values.astype(np.float64)).sum()


def test_overall_numbers(tmp_path, rows, readable):
    summary = summarize(make_ledger(tmp_path, rows))
    assert summary.images == 148
    assert summary.skipped == (("1/5.png", "cut off"), ("1/77.png", "cut off"))
    assert summary.correct == sum(row["prediction"] == row["label"] for row in readable)
    ranks = [(row["logits"] > row["logits"][row["label"]]).sum() for row in readable]
    assert summary.top5 == sum(rank < 5 for rank in ranks)
    sure = [softmax(row["logits"]).max() for row in readable]
    np.testing.assert_allclose(summary.confidence, np.mean(sure), rtol=1e-12)
    assert summary.bins[:, 0].sum() == 148
    assert summary.bins[:, 2].sum() == summary.correct


def test_class_numbers_equal_plain_numpy(tmp_path, rows, readable):
    summary = summarize(make_ledger(tmp_path, rows))
    assert list(summary.classes) == [0, 1, 2, 3]
    for label, one in summary.classes.items():
        mine = [row for row in readable if row["label"] == label]
        probabilities = np.stack([softmax(row["logits"]) for row in mine])
        predictions = [row["prediction"] for row in mine]
        assert one.images == len(mine)
        assert one.accuracy == predictions.count(label) / len(mine)
        np.testing.assert_allclose(one.label_probability, probabilities[:, label].mean())
        np.testing.assert_allclose(one.confidence, probabilities.max(axis=1).mean())
        counts = {other: predictions.count(other) for other in set(predictions) - {label}}
        assert one.confusions == tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
        mean = np.mean([unit(row["map_label"]) for row in mine], axis=0)
        np.testing.assert_allclose(one.mean_map, mean.reshape(GRID), atol=1e-15)
        by_rival = {}
        for row in mine:
            by_rival[row["rival"]] = by_rival.get(row["rival"], 0) + 1
        order = sorted(by_rival, key=lambda b: (-by_rival[b], -probabilities[:, b].mean(), b))
        assert one.rivals == tuple(order[:3])
        clear = sorted(mine, key=lambda row: (-margin(row), row["index"]))
        assert one.typical == tuple(row["index"] for row in clear if margin(row) > 0)[:STRIP]
        assert one.suspicious == tuple(row["index"] for row in reversed(clear))[:STRIP]


def test_pair_numbers_equal_plain_numpy(tmp_path, rows, readable):
    summary = summarize(make_ledger(tmp_path, rows))
    assert set(summary.pairs) == {(a, b) for a, one in summary.classes.items() for b in one.rivals}
    for (label, rival), pair in summary.pairs.items():
        mine = [row for row in readable if (row["label"], row["rival"]) == (label, rival)]
        assert pair.images == len(mine)
        assert pair.preferring == sum(row["prediction"] == rival for row in mine)
        units = {row["index"]: unit(row["map_pair"]) for row in mine}
        mean = np.mean(list(units.values()), axis=0)
        np.testing.assert_allclose(pair.mean_map, mean.reshape(GRID), atol=1e-15)
        np.testing.assert_allclose(pair.consistency, np.abs(mean).sum())
        worst = sorted(mine, key=lambda row: (margin(row), row["index"]))
        typical = [member.image for member in pair.typical]
        expected = [row["index"] for row in worst if row["index"] not in typical]
        assert [member.image for member in pair.suspicious] == expected[:STRIP]
        for member in pair.typical:
            own = units[member.image]
            cosine = own @ mean / np.linalg.norm(own) / np.linalg.norm(mean)
            assert member.margin > 0
            np.testing.assert_allclose(member.agreement, cosine, rtol=1e-5)
        agreements = [member.agreement for member in pair.typical]
        assert agreements == sorted(agreements, reverse=True)


def test_the_shard_size_does_not_matter(tmp_path, rows):
    first = summarize(make_ledger(tmp_path / "a", rows, shard_size=7))
    second = summarize(make_ledger(tmp_path / "b", rows, shard_size=64))
    assert first.pairs.keys() == second.pairs.keys()
    for key, pair in first.pairs.items():
        other = second.pairs[key]
        assert pair.typical == other.typical
        assert pair.suspicious == other.suspicious
        np.testing.assert_array_equal(pair.mean_map, other.mean_map)


def test_one_image_is_typical_or_suspicious_not_both(tmp_path):
    rows = make_rows(4)
    summary = summarize(make_ledger(tmp_path, rows))
    for row, one in zip(rows, summary.classes.values(), strict=True):
        mine, none = (row["index"],), ()
        clear = margin(row) > 0
        assert (one.typical, one.suspicious) == ((mine, none) if clear else (none, mine))
        assert one.mean_photo is None


def test_equal_margins_are_ordered_by_index(tmp_path):
    rows = [make_rows(1)[0] | {"index": i, "file": f"{i}"} for i in range(20)]
    one = summarize(make_ledger(tmp_path, rows)).classes[0]
    if margin(rows[0]) > 0:
        assert one.typical == tuple(range(8))
    assert one.suspicious == tuple(i for i in range(20) if i not in one.typical)[:8]


def test_a_pair_without_images_is_left_out(tmp_path, rows):
    ledger = make_ledger(tmp_path, rows)
    assert summarize_pairs(ledger, [(5, 4)]) == {}


def test_all_images_unreadable(tmp_path):
    rows = make_rows(3, unreadable={0, 1, 2})
    summary = summarize(make_ledger(tmp_path, rows))
    assert summary.images == 0
    assert summary.classes == {}
    assert summary.calibration_error == 0


def test_memory_does_not_grow_with_images(tmp_path, monkeypatch):
    monkeypatch.setattr(summary_module, "_SAMPLE", 8)  # so that all bounded lists are full
    peaks = []
    summarize(make_ledger(tmp_path / "warm", make_rows(64), shard_size=64))
    for count in (320, 1280):
        rows = make_rows(64)
        rows = [row | {"index": i} for i, row in enumerate(rows * (count // 64))]
        ledger = make_ledger(tmp_path / str(count), rows, shard_size=64)
        tracemalloc.start()
        summarize(ledger)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Whole columns of numbers, one row an image, and nothing wider such as maps and logits.
    assert peaks[1] - peaks[0] < 100 * (1280 - 320)
