"""The report in a real headless Chromium with the network off."""

from __future__ import annotations

import numpy as np
import pytest
from ledgers import make_ledger, make_rows
from test_report import HOSTILE, make_finding, photo

from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.report import render
from jaxattr.audit.report.summary import summarize
from jaxattr.plot.heatmap import palette_table

pytestmark = pytest.mark.browser
LABELS = ("kite", "bald eagle", "zebra", "tusker", "snail", "conch" + HOSTILE)
# A canvas is drawn if it is marked so and holds more than one colour.
DRAWN = """() => [...document.querySelectorAll('canvas')].map((canvas) => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set();
  for (let i = 0; i < data.length; i += 4) colours.add(data.slice(i, i + 4).join());
  return canvas.dataset.drawn === '1' && colours.size > 1;
})"""
ALL_DRAWN = (
    "() => [...document.querySelectorAll('canvas')].every((one) => one.dataset.drawn === '1')"
)
PHOTOS = """() => [...document.images].every((one) => one.complete && one.naturalWidth > 0)"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    rows = make_rows(80, labels=LABELS, grid=(14, 14), classes=6, unreadable={5})
    for row in rows:
        row["thumbnail"] = photo(row["index"])
        row["file"] += HOSTILE
    ledger = make_ledger(folder / "ledger", rows, labels=LABELS, grid=(14, 14), total=100)
    summary = summarize(ledger)
    pair = next(iter(summary.pairs.values()))
    evidence = [member.image for member in (*pair.suspicious, *pair.typical)]
    findings = [
        make_finding(evidence, (pair.label, pair.rival), title=f"First {HOSTILE}"),
        make_finding(
            [8],
            (2, 5),
            title="Labelled zebra",
            severity="low",
            kind="mislabelled_image",
            extra={"box": [1, 2, 6, 7], "localised": True},
        ),
        *(make_finding([i], (3, 0), title=f"Tusker {i}", severity="medium") for i in range(60)),
    ]
    findings = [one for one in findings if 5 not in one.images]
    path = folder / "report.html"
    path.write_text(render(Analysis(ledger), summary, findings), encoding="utf-8")
    return path, pair, ledger


LONG = "x" * 180
LONG_LABELS = (
    "donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2,
    "kite",
    "العربية" * 14,
    "<img src=x onerror=alert(1)>" * 4,
    "\U0001f469\u200d\U0001f467" * 40,
    "conch" + HOSTILE + LONG,
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A report of labels, files, settings and reasons that are long, of any script, or markup."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = make_rows(60, labels=LONG_LABELS, grid=(14, 14), classes=6, unreadable={5, 11})
    for row in rows:
        row["thumbnail"] = photo(row["index"])
        row["file"] += f"{LONG}{HOSTILE}\n\x1b[31m.png"
        row["error"] = row["error"] and row["error"] + LONG
    ledger = make_ledger(
        folder / "ledger",
        rows,
        labels=LONG_LABELS,
        grid=(14, 14),
        model="m" * 200,
        images="/" + "folder" * 60,
        sizes=tuple((class_, 20) for class_ in range(6)),
        unlooked=((".heic", 7), (".jxl", 2)),
        preprocessing={"k" * 100: "v" * 300},
        settings={"classes": list(LONG_LABELS), "seed": 0},
    )
    summary = summarize(ledger)
    pair = next(iter(summary.pairs.values()))
    evidence = [member.image for member in (*pair.suspicious, *pair.typical)]
    words = dict.fromkeys(("detail", "action", "caveat", "null", "power"), LONG)
    title = f"Images of {LONG_LABELS[5]} in the folder of {LONG_LABELS[2]}"
    training = {"training": [{"index": 0, "file": LONG, "label": 1}], "training_images": 1}
    findings = [
        make_finding(evidence, (pair.label, pair.rival), title=title, **words),
        make_finding([8], (2, 5), title=title, kind="mislabelled_image"),
        make_finding([1, 2], (1, 2), title=title, kind="duplicate_image", extra=training),
        make_finding([3, 9, 15], (3,), title=title, kind="shortcut_place"),
    ]
    path = folder / "report.html"
    path.write_text(render(Analysis(ledger), summary, findings), encoding="utf-8")
    return path, pair


@pytest.fixture
def page(browser, report):
    """An open report; whatever it complains of or asks the network for fails the test."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    opened, complaints = context.new_page(), []
    opened.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "request",
        lambda request: request.url.startswith("http") and complaints.append(request.url),
    )
    opened.goto(report[0].as_uri())
    yield opened
    context.close()
    assert complaints == []


def go(page, route: str) -> None:
    page.evaluate("route => { location.hash = route; }", route)
    page.wait_for_function("route => current === route", arg=route)


def all_drawn(page) -> int:
    """Wait until every picture of the page is there; the number of canvases."""
    page.wait_for_function(ALL_DRAWN)
    page.wait_for_function(PHOTOS)
    drawn = page.evaluate(DRAWN)
    assert all(drawn)
    return len(drawn)


def test_findings_page(page, report):
    assert page.locator("h1").inner_text() == "Findings"
    assert page.locator(".finding").count() == 40
    shown = HOSTILE.replace("\u202e", "\\u202e").replace("\u2028", "\\u2028")
    assert page.locator(".finding .title").first.text_content() == f"First {shown}"
    assert page.locator("main b").count() == 0  # the label's own markup is only text
    page.locator(".more").click()
    assert page.locator(".finding").count() == 61
    assert page.locator(".top .badge.partial").is_visible()
    assert page.locator(".finding .badge.partial").count() == 61
    assert page.locator(".band").inner_text().startswith("PARTIAL: 80 of the folder")
    assert page.locator(".limits li").count() >= 2
    all_drawn(page)


def test_findings_can_be_filtered(page):
    page.get_by_label("Severity").select_option("low")
    assert page.locator(".finding").count() == 1
    page.get_by_label("Severity").select_option("")
    page.get_by_label("Kind").select_option("mislabelled_image")
    assert page.locator(".finding .title").all_text_contents() == ["Labelled zebra"]
    page.get_by_label("Kind").select_option("")
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("/")
    page.keyboard.type("zebra")
    assert "match" in page.locator("[role=status]").inner_text()
    assert "Labelled zebra" in page.locator(".finding .title").all_text_contents()


def test_every_page_is_drawn(page, report):
    _, pair, *_ = report
    routes = [
        *("#/finding/1", "#/finding/2", "#/classes", "#/limits", "#/protocol", "#/skipped"),
        *(f"#/class/{index}" for index in range(6)),
        f"#/pair/{pair.label}/{pair.rival}",
        "#/image/17",
    ]
    canvases = {}
    for route in routes:
        go(page, route)
        canvases[route] = all_drawn(page)
        assert page.locator("h1").inner_text() != "Not in this report"
    assert canvases["#/image/17"] == 10  # five maps, each with its colour bar
    assert canvases[f"#/pair/{pair.label}/{pair.rival}"] > 3
    assert page.locator(".panels img.photo").count() == 1


def test_links_lead_from_finding_to_image_to_class(page, report):
    _, pair, *_ = report
    page.locator(".finding .title").first.click()
    page.wait_for_function("() => current === '#/finding/1'")
    page.locator(".tile").first.click()
    page.wait_for_function("() => /^#.image.[0-9]+[?]from=finding.1$/.test(current)")
    page.locator(".facts a[href^='#/class/']").first.click()
    page.wait_for_function("route => current === route", arg=f"#/class/{pair.label}")
    page.locator("a[href^='#/pair/']").first.click()
    page.wait_for_function("() => current.startsWith('#/pair/')")
    assert " against " in page.locator("h1").inner_text()


def test_a_finding_about_one_image_shows_its_maps_and_place(page):
    go(page, "#/finding/2")
    assert page.locator(".panels .panel").count() == 4
    box, frame = (
        page.locator(name).bounding_box() for name in (".box", ".panels .frame:has(.box)")
    )
    for start, size, low, high in (("x", "width", 2, 7), ("y", "height", 1, 6)):
        first = (box[start] - frame[start]) / frame[size]
        assert first == pytest.approx(low / 14, abs=0.01)
        assert first + box[size] / frame[size] == pytest.approx(high / 14, abs=0.01)


def test_keyboard(page, report):
    def at(route):
        page.wait_for_function("route => current === route", arg=route)

    go(page, "#/finding/1")
    images = page.locator(".tile").evaluate_all("tiles => tiles.map((one) => one.hash)")
    page.locator(".tile").first.click()
    at(images[0])
    for key, route in (
        ("j", images[1]),
        ("ArrowRight", images[2]),
        ("k", images[1]),
        ("Escape", "#/finding/1"),
        ("ArrowRight", "#/finding/2"),
        ("ArrowLeft", "#/finding/1"),
        ("Escape", "#/"),
    ):
        page.keyboard.press(key)
        at(route)
    page.keyboard.press("j")
    page.keyboard.press("j")
    titles = "() => [...document.querySelectorAll('.title')].indexOf(document.activeElement)"
    assert page.evaluate(titles) == 1
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_token_is_read_in_all_maps_at_once(page):
    go(page, "#/image/17")
    all_drawn(page)
    canvas = page.locator("canvas.map").first
    area = canvas.bounding_box()
    page.mouse.move(area["x"] + area["width"] * 4.5 / 14, area["y"] + area["height"] * 2.5 / 14)
    values = page.evaluate(
        """() => {
          const image = imageOf(17), maps = MAP_NAMES.map((name) => mapOf(image, name));
          maps.splice(3, 0, additiveMap(image, 0, 1));
          return maps.map((map) => signed(map.values[2 * COLUMNS + 4] * map.scale, 3));
        }"""
    )
    readouts = page.locator(".readout").all_inner_texts()
    assert [text.split()[0] for text in readouts] == values
    words = [" ".join(text.split()[1:2]) for text in readouts]
    assert all(word in ("for", "against", "zero") for word in words)
    canvas.focus()
    page.keyboard.press("ArrowDown")
    assert page.locator(".readout").all_inner_texts() != readouts
    assert page.evaluate("location.hash") == "#/image/17"


def test_scale_sign_and_opacity_change_the_maps(page):
    go(page, "#/image/17")
    all_drawn(page)
    pixels = "() => document.querySelectorAll('canvas.map')[0].toDataURL()"
    ticks = page.locator(".panels .ticks")
    assert len({ticks.nth(i).inner_text() for i in range(3)}) == 1
    before = page.evaluate(pixels)
    for name in ("own", "for", "against", "red/blue"):
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_timeout(50)
        after = page.evaluate(pixels)
        if name != "own":  # the map with the largest value keeps its scale
            assert after != before
        before = after
    assert len({ticks.nth(i).inner_text() for i in range(3)}) > 1
    page.get_by_label("Opacity of the photo over the map").fill("1")
    page.wait_for_timeout(50)
    whole = page.evaluate("""() =>
      [...document.querySelectorAll('.panels canvas.map')].map((one) => one.toDataURL())""")
    assert len(set(whole)) == 1  # nothing but the photo


def test_rows_of_images_begin_with_own_scales(page):
    go(page, "#/finding/1")
    all_drawn(page)
    pixels = """() =>
      [...document.querySelectorAll('.tile canvas')].map((one) => one.toDataURL())"""
    own = page.evaluate(pixels)
    page.get_by_role("button", name="shared", exact=True).click()
    page.wait_for_timeout(50)
    shared = page.evaluate(pixels)
    # On one scale all but the strongest map are paler than before.
    assert sum(a == b for a, b in zip(own, shared, strict=True)) == 1


def test_dark_and_light(page):
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(background)
    page.locator("#theme").click()
    assert page.evaluate(background) != light
    page.locator("#theme").click()
    assert page.evaluate(background) == light
    page.emulate_media(color_scheme="dark")
    page.evaluate("delete document.documentElement.dataset.theme")
    assert page.evaluate(background) != light


@pytest.mark.parametrize("width", [1280, 800, 420])
def test_no_page_is_wider_than_the_window(page, report, width):
    page.set_viewport_size({"width": width, "height": 900})
    _, pair, *_ = report
    pair_route = f"#/pair/{pair.label}/{pair.rival}"
    for route in (
        "#/",
        "#/limits",
        "#/finding/1",
        "#/classes",
        "#/class/0",
        pair_route,
        "#/image/17",
    ):
        go(page, route)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, route


def every_route(pair) -> list[str]:
    """One page at least of every kind."""
    return [
        *("#/", "#/finding/1", "#/finding/2", "#/finding/3", "#/finding/4", "#/classes"),
        *(f"#/class/{index}" for index in range(6)),
        f"#/pair/{pair.label}/{pair.rival}",
        *("#/image/17", "#/image/8?from=finding/2"),
        *("#/limits", "#/protocol", "#/skipped", "#/nothing"),
    ]


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (400, "dark"), (1280, "light")])
def test_hostile_names_wrap(browser, hostile, width, scheme):
    path, pair = hostile
    size = {"width": width, "height": 900}
    context = browser.new_context(offline=True, viewport=size, color_scheme=scheme)
    page, complaints = context.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(path.as_uri())
    for route in every_route(pair):
        go(page, route)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, route
        # A name may be cut or broken, but never what the page itself says in its head.
        assert page.evaluate("document.querySelector('.top nav').offsetHeight") < 60, route
        assert page.locator("main img[src=x]").count() == 0
        words = page.locator("main").inner_text()
        assert not set(words) & set("\u202e\u2028\x1b"), route
    context.close()
    assert complaints == []


# For every map of the page: its image and kind, what stands as its legend, and its cells' colours.
MAPS_SHOWN = """() => [...document.querySelectorAll('main canvas.map')].map((canvas) => {
  const figure = canvas.closest('figure'), link = canvas.closest('a');
  const above = [...document.querySelectorAll('.legend')].filter((one) =>
    one.compareDocumentPosition(canvas) & Node.DOCUMENT_POSITION_FOLLOWING).pop();
  const legend = figure ? figure.querySelector('.colourbar') : above;
  const [, kind, number] = (link || location).hash.match(/^#.([a-z]*).?([0-9]*)/);
  const index = kind === 'finding' ? D.findings[number].images[0] : Number(number);
  const mean = Boolean(canvas.closest('.mean')), image = mean ? null : imageOf(index);
  const size = canvas.width / COLUMNS, middle = (at) => Math.floor((at + .5) * size);
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return { index, mean, kind: canvas.dataset.map, legend: legend.dataset.map,
    label: image && printable(className(image.label)),
    rival: image && printable(className(image.rival)),
    words: [...legend.querySelectorAll('.sign, .signs span')].map((one) => one.textContent),
    spots: [...legend.querySelectorAll('.swatch')].map((one) => one.style.backgroundColor),
    cells: Array.from({ length: ROWS * COLUMNS }, (_, i) => {
      const at = 4 * (middle(Math.floor(i / COLUMNS)) * canvas.width + middle(i % COLUMNS));
      return [...pixels.slice(at, at + 3)];
    }) };
})"""
COLUMN = {
    "label": "map_label",
    "rival": "map_rival",
    "pair": "map_pair",
    "positive": "map_positive",
}


def stored(ledger, index, kind):
    """A map of the ledger; of any class against any other that of the label against the rival."""
    if kind != "any":
        return ledger.rows([index], COLUMN[kind])[index][COLUMN[kind]]
    row = ledger.rows([index], "map_class", "weight_class")[index]
    first, second = row["weight_class"][:2, None, None] * row["map_class"][:2]
    return first - second


@pytest.mark.parametrize("colours", ["diverging", "paper"])
def test_every_map_has_the_ledgers_sign_and_its_own_true_legend(page, report, colours):
    _, pair, ledger = report
    page.evaluate("c => Object.assign(view, {opacity: 0, smooth: false, colours: c})", colours)
    table = palette_table(colours).astype(int)
    spots = [f"rgb({', '.join(map(str, table[127 + at]))})" for at in (90, -90)]
    kinds: dict[str, set[str]] = {}
    for route in every_route(pair):
        go(page, route)
        page.wait_for_function(ALL_DRAWN)
        for one in page.evaluate(MAPS_SHOWN):
            assert one["legend"] == one["kind"], route
            kinds.setdefault(route.split("/")[1].split("?")[0], set()).add(one["kind"])
            assert one["spots"] in ([], spots), route  # a colour bar has none
            if one["mean"]:
                continue
            values = stored(ledger, one["index"], one["kind"]).ravel()
            at = int(np.abs(values).argmax())
            place = np.abs(table - one["cells"][at]).sum(axis=1).argmin()
            assert np.sign(place - 127) == np.sign(values[at]), (route, one["kind"])
            first, second = one["words"] if one["spots"] else one["words"][::-1]
            speaks = {"label": one["label"], "pair": one["label"], "rival": one["rival"]}
            name = speaks.get(one["kind"], one["label"])
            assert first in (f"for {name}", "for the label"), route
            against = {
                "label": (f"against {one['label']}", "against it"),
                "rival": (f"against {one['rival']}",),
                "pair": (f"for {one['rival']}", "for the strongest other class of each image"),
                "any": (f"for {one['rival']}",),
                "positive": ("",),
            }
            assert second in against[one["kind"]], route
    assert kinds["pair"] == kinds["class"] == {"pair", "label"}
    assert kinds["image"] == {"label", "rival", "pair", "any", "positive"}
    assert kinds[""] == {"pair"}


def test_what_is_not_there_is_said(page):
    go(page, "#/image/99999")
    assert page.locator("h1").inner_text() == "Not in this report"
