"""Groups of copies: what their titles say, and names of files that would break a line."""

from __future__ import annotations

import drawn_ledger
import pytest

from jaxattr.audit.evidence.gather import read
from jaxattr.audit.findings.duplicate_image import duplicate_image
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.errors import ImageError
from jaxattr.vit import Preprocessing


def test_labels_beyond_three_are_counted(tmp_path):
    drawn = drawn_ledger.rows([(n % 5, n % 3) for n in range(5)])
    for row in drawn:
        row["sha256"] = "0" * 64
        row["thumbnail"] = drawn[0]["thumbnail"]
    (found,) = duplicate_image(Analysis(drawn_ledger.ledger(tmp_path, drawn)))
    assert found.title == "The same file 5 times, labelled cat and dog and bird and 2 more"

    (found,) = duplicate_image(Analysis(drawn_ledger.ledger(tmp_path / "three", drawn[:3])))
    assert found.title == "The same file 3 times, labelled cat and dog and bird"


@pytest.mark.parametrize("content", [b"no image", b""])
def test_a_name_of_two_lines_is_said_in_one(tmp_path, content):
    name = "cat\x1b[2J\n.jpg"
    (tmp_path / name).write_bytes(content)
    preprocessing = Preprocessing(resize=(8, 8))
    with pytest.raises(ImageError) as found:
        read(tmp_path, name, preprocessing)
    assert str(found.value).startswith(r"'cat\x1b[2J\n.jpg': ")
    assert str(found.value).isprintable()
    assert str(found.value).count("jpg") == 1
