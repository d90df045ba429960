"""`jaxattr.audit`: the bytes of the command's files, what it tells and whom, and what it gives."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from html.parser import HTMLParser

import pytest
from audit_world import LABELS, arguments, contents, finished, model, world
from click.testing import CliRunner
from PIL import Image

import jaxattr
from jaxattr.audit.evidence import gather
from jaxattr.audit.run import SHOWN_FINDINGS, Progress
from jaxattr.cli.main import main
from jaxattr.errors import JaxattrError, JaxattrWarning, LedgerError


class Told(HTMLParser):
    """The texts of a page's cells, and the targets of its links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.links: list[str | None] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self._inside = tag in ("td", "th")
        self.cells += [""] if self._inside else []
        self.links += [dict(attrs)["href"]] if tag == "a" else []

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def loaded(world):
    return jaxattr.load(world / "model.safetensors")


@pytest.fixture(scope="module")
def audited(loaded, world, tmp_path_factory):
    output = tmp_path_factory.mktemp("function") / "audit"
    return jaxattr.audit(loaded, world / "photos", output=output, batch_size=4)


def test_the_files_are_the_commands(audited, finished) -> None:
    assert contents(audited.report.parent) == contents(finished)


def test_what_it_gives_is_what_lies_in_the_files(audited) -> None:
    found = json.loads((audited.report.parent / "findings.json").read_text(encoding="utf-8"))
    assert [one["title"] for one in found["findings"]] == [one.title for one in audited.findings]
    assert {one.kind for one in audited.findings} == {one["kind"] for one in found["findings"]}
    assert audited.ledger.receipt.labels == LABELS
    assert audited.report.name == "report.html"


def test_it_resumes_and_tells_what_it_does(
    loaded, world, audited, tmp_path, monkeypatch, capsys
) -> None:
    output = tmp_path / "copy"
    shutil.copytree(audited.report.parent, output)
    (output / "ledger" / "shard-000001.parquet").unlink()
    notes, warned, stages = [], [], {}

    @contextmanager
    def bar(doing, unit, total, done):
        steps = stages.setdefault(doing, [total, done])
        yield steps.append

    asked = {"output": output, "progress": Progress(notes.append, warned.append, bar)}
    jaxattr.audit(loaded, str(world / "photos"), **asked)
    assert contents(output) == contents(audited.report.parent)
    total, done, *steps = stages["Explaining"]
    assert (total, done, sum(steps)) == (155, 91, 64)
    assert any("91 images are done" in line for line in notes)
    assert not warned
    monkeypatch.setattr(gather, "evidence_batch", None)  # would fail if it were called
    jaxattr.audit(loaded, world / "photos", output=output)
    said = capsys.readouterr()
    assert said.out == said.err == ""


def test_shown_in_a_notebook(audited) -> None:
    told = Told(audited._repr_html_())
    shown = audited.findings[:SHOWN_FINDINGS]
    assert told.cells[:3] == ["severity", "kind", "finding"] or not shown
    expected = [cell for one in shown for cell in (one.severity, one.kind, one.title)]
    assert told.cells[3:] == expected
    assert told.links == [str(audited.report)]
    assert "\n" not in repr(audited)
    assert "155 images, 5 classes" in repr(audited)


def test_a_part_of_the_folder_and_a_lone_name(loaded, world, tmp_path) -> None:
    asked = {"classes": "red fox", "exclude": "wol?", "probes": False}
    found = jaxattr.audit(loaded, world / "photos", output=tmp_path / "out", limit=3, **asked)
    assert found.ledger.receipt.count == 3
    assert found.ledger.receipt.settings["classes"] == ["red fox"]
    assert set(found.ledger.read("label")["label"].tolist()) == {LABELS.index("red fox")}
    with pytest.raises(LedgerError, match="another run's ledger"):
        jaxattr.audit(loaded, world / "photos", output=tmp_path / "out")


def test_what_must_be_known_is_a_warning(loaded, tmp_path) -> None:
    for label in LABELS[:2]:
        (tmp_path / "photos" / label).mkdir(parents=True)
        Image.new("RGB", (24, 16), "red").save(tmp_path / "photos" / label / "one.png")
    (tmp_path / "photos" / LABELS[0] / "bad.png").write_bytes(b"no image")
    with pytest.warns(JaxattrWarning, match=r"skipped red fox/bad\.png"):
        jaxattr.audit(loaded, tmp_path / "photos", output=tmp_path / "out", probes=False)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"batch_size": 0}, "a batch of 0 images"),
        ({"limit": 0}, "limit 0"),
        ({"classes": ("tiger",)}, "unknown class 'tiger'"),
        ({"training": "nowhere"}, "nowhere"),
    ],
)
def test_errors_are_one_line(loaded, world, tmp_path, asked, words) -> None:
    with pytest.raises(JaxattrError) as raised:
        jaxattr.audit(loaded, world / "photos", output=tmp_path / "out", **asked)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


OWN = """
from jaxattr.audit.findings.finding import Finding


def small_class(analysis):
    counts = zip(analysis.posterior.classes.tolist(), analysis.posterior.counts.tolist())
    label, count = min(counts, key=lambda one: (one[1], one[0]))
    return [
        Finding(
            kind="small_class",
            severity="low",
            title=f"Only {count} images of {analysis.names.short(label)}",
            detail="The fewest of all classes.",
            classes=(label,),
            images=(),
            score=1 / count,
            action="Add images.",
        )
    ]
"""


def test_a_finder_of_ones_own(loaded, world, audited, finished, tmp_path, monkeypatch) -> None:
    """As an object and as a word: ranked, written and shown with the built-in ones."""
    (tmp_path / "my_finders.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import my_finders  # pyright: ignore[reportMissingImports]

    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    found = jaxattr.audit(loaded, world / "photos", output=copy, finders=[my_finders.small_class])
    (one,) = [one for one in found.findings if one.kind == "small_class"]
    counts = audited.analysis.posterior.counts
    assert one.title.startswith(f"Only {counts.min()} images of ")
    assert len(found.findings) == len(audited.findings) + 1
    assert one.title in (copy / "report.html").read_text(encoding="utf-8")

    words = [*arguments(world, copy)[3:], "--finder", "my_finders:small_class"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.stderr
    assert one.title in done.stdout
    done = CliRunner().invoke(main, [*words[:-1], "my_finders:nothing"])
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("Error: 'my_finders:nothing'")
