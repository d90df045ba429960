"""Names of any kind in the report: none is markup, and none turns or breaks a line."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest
from drawn_ledger import ledger, rows

from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.report import render
from jaxattr.audit.report.summary import summarize

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "\" onmouseover=alert(1) '`",
    "&lt;b&gt; &amp; {{ 7 * 7 }} {% raw %}",
    "line\u2028break\u2029\r\nand\ttab",
    "\x1b[31mred\x1b[0m\x00\x07\x9b",
    "\u202eetihw dna kcalb\u202c \u2066isolate\u2069 \u200f",
    "not UTF-8: caf\udce9",
    "a;b,c\"d'e\\f/g",
)
DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report in which every name that comes from outside is hostile, and what went into it."""
    labels = tuple(f"n0000000{i} {one}" for i, one in enumerate(HOSTILE[:5]))
    given = rows([(i % 3, i % 3) for i in range(2 * len(HOSTILE))], unreadable={1})
    for row, name in zip(given, HOSTILE * 2, strict=True):
        # What the ledger keeps is UTF-8; names that are not are refused before.
        row["file"] = f"{row['file']}{name}".encode("utf-8", "replace").decode()
        row["error"] = row["error"] and row["file"]
    everywhere = "".join(HOSTILE)
    of = ledger(
        tmp_path_factory.mktemp("names"),
        given,
        labels=labels,
        model=everywhere.encode("utf-8", "replace").decode(),
        preprocessing={HOSTILE[1]: HOSTILE[0]},
        settings={"classes": list(labels), HOSTILE[1]: HOSTILE[3]},
        unlooked=((HOSTILE[0], 1),),
    )
    words = dict.fromkeys(("title", "detail", "action", "caveat", "null", "power"), everywhere)
    finding = Finding("x" + HOSTILE[0], "high", classes=(0, 1), images=(2,), score=1.0, **words)
    return render(Analysis(of), summarize(of), [finding]), labels, given, everywhere


def test_no_name_is_markup(page):
    html, *_ = page
    assert html.count("<script") == html.count("</script>") == 2
    for markup in ("<img", "<!--<", "<b>&", "onmouseover=alert(1) '`\"", "49"):
        assert markup not in html.replace("<b>jaxattr</b>", "").split('id="data">')[0], markup
    (data,) = DATA.findall(html)
    assert data.isascii()
    assert not set(data) & set("<>&\x7f")


def test_names_arrive_whole(page):
    html, labels, given, everywhere = page
    data = json.loads(DATA.findall(html)[0])
    assert [data["names"][str(i)][1] for i in range(5)] == list(labels)
    assert data["findings"]["1"]["title"] == everywhere
    assert data["skipped"] == {"0": [given[1]["file"], given[1]["file"]]}
    shown = {entry[0] for entry in data["images"].values()}
    assert shown == {row["file"] for row in given if not row["error"]}


def test_nothing_turns_or_breaks_a_line_of_the_page(page):
    html, *_ = page
    script = "".join(re.findall(r"<script>(.*?)</script>", html, re.DOTALL))
    around = DATA.sub("", html).replace(script, "")
    assert not set(around) & set(
        "\x00\x07\x1b\x7f\x9b\r\t\u2028\u2029\u202c\u202e\u2066\u2069\u200f"
    )
    assert "\\u202eetihw" in around  # in the model's name, in the head
    around.encode("utf-8")
    # The script makes text nodes of names, through one function that escapes the same characters.
    assert "printable(String(one))" in script
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_the_escapes_of_page_and_script_are_the_same():
    """`_HIDDEN` in Python and `HIDDEN` in the script name the same marks of direction."""
    script = files("jaxattr.audit.report").joinpath("base.js").read_text(encoding="utf-8")
    python = files("jaxattr.audit.report").joinpath("__init__.py").read_text(encoding="utf-8")
    marks = r"\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    assert marks in script
    assert marks in python


def test_every_row_of_maps_stands_under_a_legend_of_its_kind():
    """The browser's test looks at the pixels; this one, that no row is put up without a legend."""
    folder = files("jaxattr.audit.report")
    scripts = [
        folder.joinpath(f"{name}.js").read_text() for name in ("classes", "findings", "strips")
    ]
    text = re.sub(r"//.*", "", "\n".join(scripts))
    text = re.sub(r"function strip\(.*?\n}\n", "", text, flags=re.DOTALL)
    calls = list(re.finditer(r"\b(legend|strip|part)\(", text))
    rows_put_up = [i for i, one in enumerate(calls) if one[1] == "strip"]
    assert len(rows_put_up) == 4
    for i in rows_put_up:
        end = text.index("\n", calls[i].start())
        label = "map: 'label'" in text[calls[i].start() : end]
        before = next(one for one in reversed(calls[:i]) if one[1] == "legend") if label else None
        if before is not None:
            assert "'label')" in text[before.start() : calls[i].start()]
