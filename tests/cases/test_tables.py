"""Tables of labels as data sets have them, and findings written as tables."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from pathlib import Path

import drawn_ledger
import pytest
from test_folders import LABELS, pairs, picture, put

from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.report import export
from jaxattr.cli.audit.overview import overview
from jaxattr.data.dataset import index
from jaxattr.data.listing import unlooked_sentence
from jaxattr.errors import DatasetError

ROWS = (("a b.jpg", "cat"), ("sub/b.jpg", "dog"))


def filled(root: Path, *names: str) -> Path:
    for name in names or ("a b.jpg", "sub/b.jpg"):
        put(root / name)
    return root


def table(root: Path, text: str, name: str = "metadata.csv", encoding: str = "utf-8") -> Path:
    return put(root / name, text.encode(encoding))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        (("file_name", "label"), "utf-8"),
        (("Path", "Class"), "utf-8-sig"),
        (("image", "category"), "utf-16"),
        (("File Name", "class-name"), "utf-16-le"),
        (None, "utf-8"),
    ],
)
def test_columns_delimiters_and_encodings(tmp_path, delimiter, header, encoding):
    lines = [*([header] if header else []), *ROWS, ("", "")]
    filled(tmp_path)
    table(tmp_path, "\r\n".join(map(delimiter.join, lines)), encoding=encoding)
    assert pairs(index(tmp_path, LABELS)) == {"a b.jpg": 0, "sub/b.jpg": 1}


def test_other_forms_of_tables(tmp_path):
    filled(tmp_path, "a.jpg", "b.jpg")
    wanted = {"a.jpg": 0, "b.jpg": 1}
    for text in (
        "a.jpg 0\nb.jpg   1\n",
        "cat,a.jpg\ndog,b.jpg\n",
        'file,note,target\n"a.jpg","x, ""y""", 0.0\nb.jpg,,1.0\n',
        "sep=;\nfilename;y\na.jpg;cat\nb.jpg;dog\n",
        "id,breed\na,cat\nb,dog\n",
        f"{tmp_path}/a.jpg,cat\n./b.jpg,dog\n",
        f"{tmp_path.name}/a.jpg,cat\n{tmp_path.name}/b.jpg,dog\n",
    ):
        path = table(tmp_path, text, "labels.csv")
        assert pairs(index(tmp_path, LABELS, labels_file=path)) == wanted, text
    lines = [{"image": "a.jpg", "class": 0.0}, {"image": "b.jpg", "class": 1}]
    path = table(tmp_path, "\n".join(map(json.dumps, lines)), "labels.jsonl")
    assert pairs(index(tmp_path, LABELS, labels_file=path)) == wanted


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_names_go_before_a_tables_own_numbers(tmp_path, form):
    """Codes of a data set are no indices of the model: here they say the opposite."""
    rows = [("a.jpg", 1, "cat", "indoor"), ("b.jpg", 0, "dog", "outdoor")]
    columns = ("file_name", "label", "class_name", "category")
    filled(tmp_path, "a.jpg", "b.jpg")
    if form == "csv":
        text = "\n".join(",".join(map(str, row)) for row in (columns, *rows))
    else:
        text = "\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows)
    path = table(tmp_path, text, f"metadata.{form}")
    found = index(tmp_path, LABELS)
    assert pairs(found) == {"a.jpg": 0, "b.jpg": 1}
    said = f"metadata.{form}: the labels are those of its column 'class_name', not of 'label',"
    assert found.notes == (f"{said} 'category'",)
    path.write_text(text.replace("class_name", "caption"))
    with pytest.raises(DatasetError, match=r"\(column 'category', not 'label'\): none of the 2 "):
        index(tmp_path, LABELS)
    path.write_text(text.replace("class_name", "caption").replace("category", "place"))
    assert pairs(index(tmp_path, LABELS)) == {"a.jpg": 1, "b.jpg": 0}


def test_tables_that_could_mean_several_things(tmp_path):
    filled(tmp_path, "a.jpg", "b.jpg")
    for name, text, said in (
        ("x.csv", "file,label\na.jpg,cat, tabby\n", "line 2: 3 columns .*the first line has 2"),
        ("x.csv", "a.jpg,cat\nb.jpg,dog,pug\n", "line 2: 3 columns .*the first line has 2"),
        ("x.csv", "file,label,Label\na.jpg,cat,dog\n", "more than one column is called 'label'"),
        ("x.jsonl", '{"file": "a.jpg", "label": "cat", "label": "dog"}', "a key comes twice"),
        (
            "x.json",
            '[{"file": "a.jpg", "label": "cat"}]',
            "wanted one in each line, with file_name",
        ),
    ):
        with pytest.raises(DatasetError, match=said):
            index(tmp_path, LABELS, labels_file=table(tmp_path, text, name))
    path = table(tmp_path, "file,label\na.jpg,cat,,\nb.jpg,dog,\n", "x.csv")
    assert pairs(index(tmp_path, LABELS, labels_file=path)) == {"a.jpg": 0, "b.jpg": 1}


def test_absolute_paths_over_a_link(tmp_path):
    root = filled(tmp_path / "real", "cat/a.jpg")
    (tmp_path / "link").symlink_to("real")
    for one, other in (("real", "link"), ("link", "real")):
        table(root, f"file,label\n{tmp_path / one}/cat/a.jpg,dog\n")
        assert pairs(index(tmp_path / other, LABELS)) == {"cat/a.jpg": 1}


def test_an_unknown_header_names_the_known_ones(tmp_path):
    filled(tmp_path, "a.jpg")
    table(tmp_path, "picture,kind\na.jpg,cat\n")
    with pytest.raises(DatasetError, match=r"columns are 'picture, kind'.* file_name, .* label, "):
        index(tmp_path, LABELS)
    path = table(tmp_path, "path,kind\na.jpg,cat\n", "labels.csv")
    with pytest.raises(DatasetError, match=r"columns are 'path, kind', of which none .* label, "):
        index(tmp_path, LABELS, labels_file=path)


def test_rows_that_are_missing_are_counted(tmp_path):
    for name in ("cat.jpg", "dog.jpg", "bird.jpg", "fish.jpg"):
        picture(tmp_path / name)
    table(tmp_path, "file_name,label\ncat.jpg,cat\ndog.jpg,dog\n")
    found = index(tmp_path, LABELS)
    assert pairs(found) == {"cat.jpg": 0, "dog.jpg": 1}
    assert found.unlooked == (("not listed in metadata.csv", 2),)
    assert found.examples == (("not listed in metadata.csv", "'bird.jpg', 'fish.jpg'"),)
    assert not found.notes  # one fact, one sentence
    assert (
        unlooked_sentence(found.unlooked, found.examples)
        == "Not looked at: 2 not listed in metadata.csv ('bird.jpg', 'fish.jpg')."
    )


def test_captions_are_no_labels(tmp_path):
    filled(tmp_path, "cat/a.jpg", "dog/b.jpg")
    table(tmp_path, "file_name,text\ncat/a.jpg,a photo\ndog/b.jpg,a photo\n")
    found = index(tmp_path, LABELS)
    assert pairs(found) == {"cat/a.jpg": 0, "dog/b.jpg": 1}
    assert found.notes == (
        "metadata.csv has no column of labels (file_name, text): the folders give the labels",
    )
    lines = ['{"file_name": "cat/a.jpg", "caption": "a"}', '{"file_name": "dog/b.jpg"}']
    (tmp_path / "metadata.csv").unlink()
    table(tmp_path, "\n".join(lines), "metadata.jsonl")
    assert pairs(index(tmp_path, LABELS)) == {"cat/a.jpg": 0, "dog/b.jpg": 1}


def test_files_are_found_whatever_their_spelling(tmp_path):
    decomposed, composed = (unicodedata.normalize(form, "caf\xe9") for form in ("NFD", "NFC"))
    filled(tmp_path, f"{decomposed}.jpg", f"x/{composed}.JPG", "back\\slash.jpg", "y/c.jpg")
    rows = [f"{composed}.jpg", f"x\\{decomposed}.jpg", "back\\slash.jpg", r".\Y\c.jpg"]
    table(tmp_path, "file_name,label\n" + "".join(f"{one},cat\n" for one in rows))
    wanted = {f"{decomposed}.jpg", f"x/{composed}.JPG", "back\\slash.jpg", "y/c.jpg"}
    assert set(index(tmp_path, LABELS).files) == wanted
    # Two files that differ in case only are not guessed between.
    filled(tmp_path, "y/C.jpg")
    with pytest.raises(DatasetError, match="1 of 4 files are not in"):
        index(tmp_path, LABELS)


NAMES = ("a\rb.jpg", "c;d.jpg", 'e"f.jpg', "g,h\n.jpg", "\x1b[31mred.jpg", "plain é.jpg")


def test_findings_are_one_row_each_whatever_the_names(tmp_path):
    drawn = drawn_ledger.rows([(i % 2, i % 2) for i in range(len(NAMES))], classes=2)
    named = [{**row, "file": name} for row, name in zip(drawn, NAMES, strict=True)]
    ledger = drawn_ledger.ledger(tmp_path, named, labels=("cat;dog", "b\rc"))
    every = tuple(range(len(NAMES)))
    title = "the file a\rb\n\x1b[2J"
    findings = [Finding("k", "high", title, "", (0, 1), every, 1.0)] * 2
    text = export.findings_csv(findings, Analysis(ledger))
    assert len(text.splitlines()) == 3
    assert not {"\r", "\x1b"} & set(text)
    for one in csv.DictReader(io.StringIO(text)):
        assert tuple(map(_read, one["files"].split(";"))) == NAMES
        assert tuple(map(_read, one["labels"].split(";"))) == ("cat;dog", "b\rc")
        assert one["title"] == r"the file a\rb\n\u001b[2J"


def test_the_terminal_obeys_no_name(tmp_path, monkeypatch):
    from jaxattr.cli.audit import overview as audit_overview

    monkeypatch.setattr("jaxattr.audit.run.audited", lambda ledger: "seen")
    monkeypatch.setattr(audit_overview, "_cannot_see", lambda ledger: ["\x1b[2J"])
    found = [Finding("k", "high", "a\n\x1bb\r", "", (), (), 1.0)]
    said = overview(None, found)  # pyright: ignore[reportArgumentType]
    assert said.splitlines() == ["seen", "1 finding:", r"  high    a\n\x1bb\r", r"\x1b[2J"]


def _read(member: str) -> str:
    return json.loads(member) if member.startswith('"') else member
