"""What was made faster gives what the plain way gives, byte for byte."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ledgers import make_ledger, make_rows

from jaxattr.audit.inference.posterior import fit_posterior
from jaxattr.audit.ledger import reading, schema
from jaxattr.audit.statistics.localisation import SHUFFLES, localise, windows


def test_a_shard_is_the_file_that_lists_would_give(tmp_path):
    rows = make_rows(12, unreadable={3})
    rows[5] |= dict.fromkeys(("map_pair", "thumbnail"))  # a ledger without maps
    ledger = make_ledger(tmp_path, rows, shard_size=12)
    # Lists of any size: no release of pyarrow before 26 reads null ones of a fixed size.
    wanted = schema(ledger.receipt)
    for at, one in enumerate(wanted):
        if pa.types.is_fixed_size_list(one.type):
            wanted = wanted.set(at, one.with_type(pa.list_(one.type.value_type)))
    table = pa.Table.from_pylist(rows, schema=wanted)
    assert pq.read_table(ledger.shard(0)).equals(table)
    file = io.BytesIO()
    options = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(table, file, **options)
    assert ledger.shard(0).read_bytes() == file.getvalue()


@pytest.mark.parametrize("rows", [1, 10, 1000])
def test_shards_read_together(tmp_path, rows):
    ledger = make_ledger(tmp_path, make_rows(33, unreadable={0, 8, 30, 31, 32}), shard_size=3)
    parts = list(ledger.iterate("index", "logits", "file", rows=rows))
    assert len(parts) == -(-33 // (3 * -(-rows // 3)))  # shards of 3, unreadable images and all
    whole = ledger.read("index", "logits", "file")
    assert [
        one.tolist() for one in ledger.each(lambda part: part["index"], "index", rows=rows)
    ] == [part["index"].tolist() for part in parts]
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), values)
    assert len(whole["index"]) == 28
    assert np.isin(whole["index"], [0, 8, 30]).sum() == 0


def test_the_sample_in_memory_is_the_sample_read_again(tmp_path, monkeypatch):
    rows = make_rows(130, classes=6)
    for row in rows:
        row["feature"] = row["logits"][:3]
    ledger = make_ledger(tmp_path, rows)
    monkeypatch.setattr(reading, "CALIBRATED_ON", 50)
    first = fit_posterior(ledger)
    monkeypatch.setattr(reading, "_KEPT_NUMBERS", 0)
    second = fit_posterior(ledger)
    assert first.discriminant
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_localisation_against_every_window_of_every_shuffle():
    grid = (5, 7)
    maps = np.random.default_rng(0).integers(-99, 60, (6, 35)).astype(np.int8)
    maps[1, 10:] = 40
    maps[2] = 1  # nothing negative
    found, boxes = localise(maps, grid), windows(grid)

    def excess(mass):
        picture = mass.reshape(grid)
        areas = [(low - top) * (right - left) / 35 for top, left, low, right in boxes]
        sums = [picture[top:low, left:right].sum() for top, left, low, right in boxes]
        return np.array(sums) / max(mass.sum(), 1) - areas

    generator = np.random.default_rng(0)
    orders = [generator.permutation(35) for _ in range(SHUFFLES)]
    for i in (0, 1, 3, 4, 5):
        mass = np.maximum(-maps[i].astype(np.float64), 0)
        top = excess(mass).max()
        reached = sum(excess(mass[order]).max() >= top for order in orders)
        assert found.p_value[i] == (1 + reached) / (1 + SHUFFLES)
        assert tuple(found.box[i]) == tuple(boxes[excess(mass).argmax()])
    assert found.p_value[2] == 1
