"""A ledger that is not what was written: one clear line, never other numbers."""

from __future__ import annotations

import json
from pathlib import Path

import drawn_ledger
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxattr.audit.ledger import Ledger, open_ledger, read_ledger
from jaxattr.errors import LedgerError


def small(folder: Path) -> Ledger:
    return drawn_ledger.ledger(folder, drawn_ledger.rows([(n % 5, n % 3) for n in range(10)]))


def edited(ledger: Ledger, change) -> Path:
    path = ledger.shard(0)
    pq.write_table(change(pq.read_table(path)), path)
    return path


def test_a_flipped_bit_never_gives_other_numbers(tmp_path):
    ledger = small(tmp_path)
    path, names = ledger.shard(0), [*pq.read_schema(ledger.shard(0)).names]
    names = [name for name in names if not name.startswith("mean_")]  # nulls
    content, wanted = path.read_bytes(), ledger.read(*names)
    generator, caught = np.random.default_rng(0), 0
    for at in generator.integers(8, len(content) - 8, 150):
        damaged = bytearray(content)
        damaged[at] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        try:
            found = ledger.read(*names)
        except LedgerError as error:
            caught += "run the same command again" in str(error)
        else:
            for name in names:
                np.testing.assert_array_equal(found[name], wanted[name])
    assert caught > 75


def test_numbers_that_are_none(tmp_path):
    ledger = small(tmp_path)

    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index("logits")
        values = table["logits"].to_pylist()
        values[1][0] = float("nan")
        field = table.schema.field(at)
        return table.set_column(at, field, pa.array(values, field.type))

    edited(ledger, change)
    with pytest.raises(LedgerError, match="holds logits that are not finite numbers"):
        ledger.read("logits")


def test_a_column_that_is_gone(tmp_path):
    ledger = small(tmp_path)
    path = edited(ledger, lambda table: table.drop_columns(["logits"]))
    with pytest.raises(LedgerError, match=rf"{path.name} of the ledger .* has no column logits"):
        ledger.read("logits")


@pytest.mark.parametrize(
    ("found", "said"), [(2, "an earlier version"), (99, "a later version"), (None, "no ledger")]
)
def test_a_ledger_of_another_version_is_told_apart_in_one_line(tmp_path, found, said):
    ledger = small(tmp_path)
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": found}))
    line = rf"run\.json: format is {found}, wanted 3: .*{said} .*run `jaxattr audit` again, with an"
    for again in (lambda: read_ledger(tmp_path), lambda: open_ledger(tmp_path, ledger.receipt)):
        with pytest.raises(LedgerError, match=line) as caught:
            again()
        assert "\n" not in str(caught.value)
    assert ledger.shard(0).exists()  # nothing of it is lost
