"""What a person sees on the report's page, in Chromium, against the ledger.

Pixels are read from the canvases, numbers from the text. What they should be is computed here from
the ledger's rows, with SciPy where there is a formula, and not by the page's own code. The grid is
not square, and photos have one known colour.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from ledgers import make_ledger, make_rows, thumbnail
from PIL import Image
from scipy import special, stats
from seen import hue, values
from test_report import make_finding
from test_report_browser import ALL_DRAWN, go

from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import unpack
from jaxattr.audit.report import render
from jaxattr.audit.report.limits import limits
from jaxattr.audit.report.summary import summarize
from jaxattr.plot import heatmap

pytestmark = pytest.mark.browser
GRID = (5, 7)
LABELS = ("kite", "bald eagle", "zebra", "tusker", "snail", "conch")
MAPS = ("label", "rival", "pair", "any", "positive")
COLOUR = (200, 60, 30)
CLOSE = 1.6 / 127


@dataclass
class World:
    path: Any
    ledger: Any
    rows: dict[int, dict[str, Any]]
    summary: Any
    findings: list[Any]

    def map(self, index, kind):
        """The stored map of an image, `[row, column]`; `any` is label against rival at first."""
        row = self.rows[index]
        if kind == "any":
            return self.against(index, row["label"], row["rival"])
        return unpack(row[f"map_{kind}"], row[f"scale_{kind}"]).reshape(GRID)

    def against(self, index, first, second=None):
        """The additive map of a class against another one, or against all others."""
        row = self.rows[index]
        classes = row["classes"].tolist()
        maps = row["map_class"].reshape(-1, *GRID) * row["scale_class"][:, None, None]
        x = classes.index(first)
        if second is None:
            return maps[x]
        y, p = classes.index(second), special.softmax(row["logits"].astype(np.float64))
        return (1 - p[first]) * maps[x] - (1 - p[second]) * maps[y]

    def of_class(self, label):
        return [row for row in self.rows.values() if row["label"] == label]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    rows = make_rows(70, labels=LABELS, grid=GRID, classes=5, unreadable={5})
    for row in rows:
        row["thumbnail"] = thumbnail(COLOUR)
        if not row["error"]:  # a common offset, as of a method without a sign
            row["map_positive"] = (row["map_positive"] // 2 + 60).astype(np.int8)
    ledger = make_ledger(folder / "ledger", rows, labels=LABELS, grid=GRID)
    summary = summarize(ledger)
    words = {"detail": "D", "action": "ACT", "caveat": "CAVEAT", "power": "POWER", "null": "NULL"}
    findings = [
        make_finding([8], (3, 1), kind="mislabelled_image", severity="low", effect=0.25,
                     interval=(0.125, 0.5), p_value=0.0123, q_value=0.34, score=77.0, **words),
        make_finding(range(20, 25), (0, 2), effect=3.5, interval=(-1.25, 8.0), p_value=2e-7,
                     q_value=4e-5, score=0.5, **words),
    ]  # fmt: skip
    path = folder / "report.html"
    path.write_text(render(Analysis(ledger), summary, findings), encoding="utf-8")
    return World(path, ledger, {r["index"]: r for r in rows if not r["error"]}, summary, findings)


@pytest.fixture
def page(browser, world):
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    opened, complaints = context.new_page(), []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(world.path.as_uri())
    yield opened
    context.close()
    assert complaints == []


def visit(page, route, **view):
    """Go to a page, drawn with these settings and without photos where nothing else is said."""
    page.evaluate("v => Object.assign(view, v)", {"opacity": 0, "smooth": False, **view})
    go(page, "#/nothing")
    go(page, route)
    page.wait_for_function(ALL_DRAWN)


# Some pixels of every map, with where it stands: `[rows, columns]` of them, evenly placed.
CANVASES = """([rows, columns]) => [...document.querySelectorAll('canvas.map')].map((canvas) => {
  const [number] = (canvas.closest('a.tile') || location).hash.match(/[0-9]+/) || [0];
  const { width, height } = canvas, context = canvas.getContext('2d');
  const data = context.getImageData(0, 0, width, height).data;
  const at = (i, count, size) => Math.floor(((i + 0.5) * size) / count);
  const pixels = Array.from({ length: rows * columns }, (_, i) => {
    const y = at(Math.floor(i / columns), rows, height), x = at(i % columns, columns, width);
    return [...data.slice(4 * (y * width + x), 4 * (y * width + x) + 3)];
  });
  return { index: Number(number), kind: canvas.dataset.map, mean: Boolean(canvas.closest('.mean')),
    tile: Boolean(canvas.closest('.tile')), words: canvas.getAttribute('aria-label'),
    size: [height, width], pixels };
})"""


def canvases(page, shape=GRID):
    """Each map's record, with `pixels` in the middles of the cells, `[row, column, 3]`."""
    found = page.evaluate(CANVASES, list(shape))
    for one in found:
        one["pixels"] = np.array(one["pixels"]).reshape(*shape, 3)
    return found


def drawn(one, kind, limit=None):
    """What a map should look like: signed ones around zero, the others between their ends."""
    if kind == "positive":
        return (one - one.min()) / (one.max() - one.min())
    return np.clip(one / (limit or np.abs(one).max()), -1, 1)


def shared(world, index):
    return max(float(np.abs(world.map(index, kind)).max()) for kind in MAPS[:3])


def limit_of(world, index, kind):
    """What the end of a map's colours stands for while the scale is shared."""
    return shared(world, index) if kind in MAPS[:3] else None


@pytest.mark.parametrize("colours", ["diverging", "paper"])
def test_every_cell_of_an_images_maps_is_the_ledgers(page, world, colours):
    for index in (8, 23, 41):
        for scale in ("shared", "own"):
            visit(page, f"#/image/{index}", scale=scale, colours=colours)
            found = canvases(page)
            assert [one["kind"] for one in found] == list(MAPS)
            for one in found:
                limit = limit_of(world, index, one["kind"]) if scale == "shared" else None
                expected = drawn(world.map(index, one["kind"]), one["kind"], limit)
                read = values(one["pixels"], colours)
                np.testing.assert_allclose(read, expected, atol=CLOSE)


def test_smooth_maps_are_bilinear_and_signs_can_be_hidden(page, world):
    visit(page, "#/image/23", smooth=True)
    for one in canvases(page, (23, 31)):
        expected = drawn(world.map(23, one["kind"]), one["kind"], limit_of(world, 23, one["kind"]))
        height, width = one["size"]
        large = Image.fromarray(expected.astype(np.float32)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        rows = ((np.arange(23) + 0.5) * height / 23).astype(int)
        columns = ((np.arange(31) + 0.5) * width / 31).astype(int)
        read = values(one["pixels"], "diverging")
        np.testing.assert_allclose(read, np.asarray(large)[rows[:, None], columns], atol=CLOSE)
    for sign, low, high in (("for", 0, 1), ("against", -1, 0)):
        visit(page, "#/image/23", sign=sign)
        for one in canvases(page):
            expected = drawn(
                world.map(23, one["kind"]), one["kind"], limit_of(world, 23, one["kind"])
            )
            read = values(one["pixels"], "diverging")
            np.testing.assert_allclose(read, np.clip(expected, low, high), atol=CLOSE)


def test_tiles_have_the_map_of_their_own_image(page, world):
    label, rival = next(iter(world.summary.pairs))
    routes = {"#/class/1": "label", "#/finding/2": "pair", f"#/pair/{label}/{rival}": "pair"}
    for route, kind in routes.items():
        visit(page, route)
        tiles = [one for one in canvases(page) if one["tile"]]
        assert len({one["index"] for one in tiles}) > 1
        for one in tiles:
            if route == "#/class/1" or one["kind"] == kind:
                expected = drawn(world.map(one["index"], one["kind"]), one["kind"])
                read = values(one["pixels"], "diverging")
                np.testing.assert_allclose(read, expected, atol=CLOSE)
    visit(page, "#/finding/2", rows="shared")
    tiles = canvases(page)
    limit = max(np.abs(world.map(one["index"], "pair")).max() for one in tiles)
    for one in tiles:
        expected = drawn(world.map(one["index"], "pair"), "pair", limit)
        read = values(one["pixels"], "diverging")
        np.testing.assert_allclose(read, expected, atol=CLOSE)
    visit(page, "#/")
    (one,) = canvases(page)  # of the finding about one image
    expected = drawn(world.map(8, "pair"), "pair")
    np.testing.assert_allclose(values(one["pixels"], "diverging"), expected, atol=0.03)


def test_mean_maps_are_those_of_their_class_and_pair(page, world):
    label, rival = next(iter(world.summary.pairs))
    for route, mean in (
        ("#/class/1", world.summary.classes[1].mean_map),
        (f"#/pair/{label}/{rival}", world.summary.pairs[label, rival].mean_map),
    ):
        visit(page, route)
        one = next(one for one in canvases(page) if one["mean"])
        read = values(one["pixels"], "diverging")
        np.testing.assert_allclose(read, drawn(mean, "label"), atol=0.02)
        caption = page.locator(".mean figcaption").first.inner_text()
        of = world.summary.classes[1] if route == "#/class/1" else world.summary.pairs[label, rival]
        assert caption.endswith(f"Consistency {of.consistency:.2g}.")


def test_photos_lie_over_the_maps_as_the_page_begins(page, world):
    photo = np.asarray(Image.open(io.BytesIO(world.rows[8]["thumbnail"])).convert("RGB"))[5, 5]
    grey = np.full(3, photo @ np.array([0.299, 0.587, 0.114]))
    go(page, "#/image/8")
    page.evaluate("() => { view.smooth = false; redraw(); }")
    page.wait_for_timeout(150)
    first = canvases(page)[0]["pixels"]
    bare = 255 * heatmap.colorize(drawn(world.map(8, "label"), "label", shared(world, 8)))
    np.testing.assert_allclose(first, 0.3 * grey + 0.7 * bare, atol=6)
    page.get_by_label("grey photo").uncheck()
    page.get_by_label("Opacity of the photo over the map").fill("0.8")
    page.wait_for_timeout(150)
    coloured = canvases(page)[0]["pixels"]
    np.testing.assert_allclose(coloured, 0.8 * photo + 0.2 * bare, atol=6)


def number(text):
    """A number as it is shown, back from text."""
    text = text.replace("\u00a0", " ").replace("−", "-").replace(",", "").strip(" %+")
    found = re.fullmatch(r"(-?[\d.]+)(?: × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text)
    assert found, text
    exponent = (found[2] or "⁰").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return float(found[1]) * 10 ** int(exponent)


BARS = """() => [...document.querySelectorAll('main .colourbar')].map((bar) => {
  const canvas = bar.querySelector('canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, 1).data;
  return { kind: bar.dataset.map, ramp: [...data], signs: [...bar.querySelectorAll('.signs span')]
    .map((one) => one.textContent), ticks: [...bar.querySelectorAll('.ticks span')].map((one) =>
    one.textContent) };
})"""


def test_colour_bars_say_which_end_is_which_and_how_much_it_is(page, world):
    for index, scale in ((8, "shared"), (23, "own")):
        visit(page, f"#/image/{index}", scale=scale)
        row = world.rows[index]
        label, rival = (LABELS[row[name]] for name in ("label", "rival"))
        words = {
            "label": [f"against {label}", f"for {label}"],
            "rival": [f"against {rival}", f"for {rival}"],
            "pair": [f"for {rival}", f"for {label}"],
            "any": [f"for {rival}", f"for {label}"],
            "positive": ["", f"for {label}"],
        }
        for bar in page.evaluate(BARS):
            kind, ticks = bar["kind"], [number(text) for text in bar["ticks"]]
            one = world.map(index, kind)
            ramp = np.array(bar["ramp"]).reshape(-1, 4)[:, :3]
            assert bar["signs"] == words[kind]
            assert hue(ramp[-1]) == "orange"
            if kind == "positive":
                assert hue(ramp[0]) == "white"
                np.testing.assert_allclose(ticks, [one.min(), one.max()], rtol=0.06)
                continue
            assert (hue(ramp[0]), hue(ramp[127])) == ("blue", "white")
            own = scale == "own" or kind == "any"
            limit = np.abs(one).max() if own else shared(world, index)
            np.testing.assert_allclose(ticks, [-limit, 0, limit], rtol=0.06)
            assert bar["ticks"][2].startswith("+")
            np.testing.assert_allclose(
                values(ramp, "diverging"), np.linspace(-1, 1, 255), atol=0.03
            )


def test_captions_and_descriptions_are_of_their_map(page, world):
    for index in (8, 23):
        visit(page, f"#/image/{index}")
        row = world.rows[index]
        label, rival = (LABELS[row[name]] for name in ("label", "rival"))
        right = row["label"] == row["prediction"]
        other = "strongest rival" if right else "prediction"
        captions = page.locator("main figure.panel figcaption").evaluate_all(
            "all => all.map((one) => [...one.children].map((part) => part.textContent))"
        )
        assert captions == [
            ["Photo", "as the model saw it"],
            ["For the label", f"for {label}"],
            [f"For the {other}", f"for {rival}"],
            [f"Label against {other.split()[-1]}", f"{label} against {rival}"],
            ["Additive map", f"{label} against {rival}"],
            ["Positive map of the label", f"for {label}, positive only"],
        ]
        strongest = {one: rival if one == "rival" else label for one in MAPS}
        for one in canvases(page):
            stored = world.map(index, one["kind"])
            at = np.unravel_index(stored.argmax(), GRID)
            place = f"at row {at[0] + 1}, column {at[1] + 1} (+"
            assert f"strongest for {strongest[one['kind']]} {place}" in one["words"]
            if one["kind"] != "positive":
                low = np.unravel_index(stored.argmin(), GRID)
                against = f"for {rival}" if one["kind"] in ("pair", "any") else "against "
                assert f"strongest {against}" in one["words"]
                assert f"at row {low[0] + 1}, column {low[1] + 1} (−" in one["words"]


def test_a_token_is_read_from_the_ledger_and_marked_where_it_is(page, world):
    visit(page, "#/image/23")
    row, column = 3, 5
    canvas = page.locator("canvas.map").first
    area = canvas.bounding_box()
    page.mouse.move(
        area["x"] + area["width"] * (column + 0.5) / GRID[1],
        area["y"] + area["height"] * (row + 0.5) / GRID[0],
    )
    of = world.rows[23]
    label, rival = LABELS[of["label"]], LABELS[of["rival"]]
    shown = page.locator(".readout").all_inner_texts()
    for text, kind in zip(shown, MAPS, strict=True):
        value = world.map(23, kind)[row, column]
        first, rest = text.split(" ", 1)
        np.testing.assert_allclose(number(first), value, rtol=0.01)
        other = {"label": f"against {label}", "rival": f"against {rival}"}
        own = rival if kind == "rival" else label
        assert rest == (f"for {own}" if value > 0 else other.get(kind, f"for {rival}"))
    marker = page.locator(".token").first.bounding_box()
    assert marker["x"] - area["x"] == pytest.approx(area["width"] * column / GRID[1], abs=2)
    assert marker["y"] - area["y"] == pytest.approx(area["height"] * row / GRID[0], abs=2)


def test_any_class_is_set_against_any_other(page, world):
    """Chosen by the keyboard or by name: pixels, legend, caption, description and readout."""
    for index in (8, 23):
        visit(page, f"#/image/{index}")
        classes = world.rows[index]["classes"].tolist()
        own, other = page.get_by_label("For", exact=True), page.get_by_label("against", exact=True)
        options = [text.split("  (")[0] for text in own.locator("option").all_inner_texts()]
        assert options == [LABELS[one] for one in classes]
        for first, second in [*permutations(classes, 2), *((one, None) for one in classes)]:
            against = "all other classes" if second is None else LABELS[second]
            other.select_option(index=0)  # all others, so that no choice turns the two round
            own.select_option(value=str(classes.index(first)))
            other.select_option(value="" if second is None else str(classes.index(second)))
            page.wait_for_timeout(20)
            shown = next(one for one in canvases(page) if one["kind"] == "any")
            expected = world.against(index, first, second)
            read = values(shown["pixels"], "diverging")
            np.testing.assert_allclose(read, drawn(expected, "any"), atol=CLOSE)
            (bar,) = [one for one in page.evaluate(BARS) if one["kind"] == "any"]
            name = LABELS[first]
            wrong = f"against {name}" if second is None else f"for {against}"
            assert bar["signs"] == [wrong, f"for {name}"]
            limit = np.abs(expected).max()
            np.testing.assert_allclose(
                [number(text) for text in bar["ticks"]], [-limit, 0, limit], rtol=0.06
            )
            caption = page.locator("section.any figcaption bdi").inner_text()
            assert caption == f"{name} against {against}"
            at = np.unravel_index(expected.argmax(), GRID)
            place = f"strongest for {name} at row {at[0] + 1}, column {at[1] + 1} (+"
            assert f"Map {caption}: {place}" in shown["words"]
            page.evaluate("document.activeElement.blur()")
            page.locator("section.any canvas.map").focus()
            page.keyboard.press("ArrowRight")  # one beside the middle
            value = expected[GRID[0] // 2, GRID[1] // 2 + 1]
            first_word, rest = page.locator("section.any .readout").inner_text().split(" ", 1)
            np.testing.assert_allclose(number(first_word), value, rtol=0.01)
            assert rest == (f"for {name}" if value > 0 else wrong)


def test_a_class_is_not_set_against_itself_and_a_choice_is_kept(page, world):
    visit(page, "#/image/8")
    own, other = page.get_by_label("For", exact=True), page.get_by_label("against", exact=True)
    first, second = (text.split("  (")[0] for text in own.locator("option").all_inner_texts()[:2])
    caption = page.locator("section.any figcaption bdi")
    assert caption.inner_text() == f"{first} against {second}"
    own.focus()
    page.keyboard.press("ArrowDown")  # the class that it stands against: they change places
    assert caption.inner_text() == f"{second} against {first}"
    offered = [text.split("  (")[0] for text in other.locator("option").all_inner_texts()]
    assert second not in offered
    assert offered[0] == "all other classes"
    assert len(offered) == 4
    assert page.evaluate("location.hash") == "#/image/8"  # keys of the list turn no page
    go(page, "#/image/23")
    row = world.rows[23]
    assert caption.inner_text() == f"{LABELS[row['rival']]} against {LABELS[row['label']]}"


def test_marks_write_the_sign_into_the_strong_patches(page, world):
    page.evaluate(
        """() => {
          window.written = [];
          const write = CanvasRenderingContext2D.prototype.fillText;
          CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
            const { width, height, dataset } = this.canvas;
            written.push([dataset.map, text, x / width, y / height]);
            return write.call(this, text, x, y);
          };
        }"""
    )
    visit(page, "#/image/23", marks=True, scale="own")
    found = {}
    for kind, text, x, y in page.evaluate("written"):
        found.setdefault(kind, {})[int(y * GRID[0]), int(x * GRID[1])] = text
    for kind in MAPS:
        share = drawn(world.map(23, kind), kind)
        expected = {
            at: "+" if value > 0 else "−"
            for at, value in np.ndenumerate(share)
            if abs(value) >= 0.25
        }
        assert found[kind] == expected


# The first two cells of each row.
TWO = "all => all.map((one) => [...one.children].slice(0, 2).map((cell) => cell.textContent))"


def stats_of(page) -> dict[str, tuple[str, str]]:
    """The boxes with numbers at a page's head: name, number, and the small print under it."""
    found = page.locator("main dl.stats .stat").evaluate_all(
        """all => all.map((one) => {
          const small = one.querySelector('small'), note = small ? small.textContent : '';
          const value = one.querySelector('dd').textContent, end = value.length - note.length;
          return [one.querySelector('dt').textContent, value.slice(0, end), note];
        })"""
    )
    return {name: (value, note) for name, value, note in found}


def wilson(hits, count):
    found = stats.binomtest(hits, count).proportion_ci(0.95, "wilson")
    return [100 * found.low, 100 * found.high]


def ends(text):
    """The two ends of an interval that is shown as `95 %: 12–34 %`."""
    found = re.search(r"([\d.]+)–([\d.]+) %", text)
    assert found, text
    return [float(found[1]), float(found[2])]


def probabilities(row):
    return special.softmax(row["logits"].astype(np.float64))


def test_the_numbers_of_the_whole_folder(page, world):
    rows = list(world.rows.values())
    right = [row["prediction"] == row["label"] for row in rows]
    sure = np.array([probabilities(row)[row["prediction"]] for row in rows])
    ranks = [int((row["logits"] > row["logits"][row["label"]]).sum()) for row in rows]
    go(page, "#/")
    found = stats_of(page)
    assert found["Images"][0] == "69"
    value, note = found["Accuracy"]
    assert number(value) == pytest.approx(100 * np.mean(right), abs=0.051)
    np.testing.assert_allclose(ends(note), wilson(sum(right), len(rows)), atol=0.051)
    five = np.mean([rank < 5 for rank in ranks])
    assert number(found["In the top five"][0]) == pytest.approx(100 * five, abs=0.051)
    assert number(found["Mean confidence"][0]) == pytest.approx(100 * sure.mean(), abs=0.051)
    tenth = np.minimum((10 * sure).astype(int), 9)
    wrong = sum(
        abs(sure[tenth == one].sum() - np.array(right)[tenth == one].sum()) for one in range(10)
    )
    error = found["Mean confidence"][1].removeprefix("calibration error ")
    assert number(error) == pytest.approx(100 * wrong / len(rows), abs=0.051)
    assert found["Skipped"][0] == "1"
    reliability(page, sure, np.array(right), tenth)


def reliability(page, sure, right, tenth):
    """The bars of the small chart, read from its pixels, and its words."""
    canvas = page.locator("canvas.reliability")
    parts = [
        f"{100 * sure[tenth == one].mean():.0f} % sure, {100 * right[tenth == one].mean():.0f} % "
        f"right ({(tenth == one).sum()})"
        for one in range(10)
        if (tenth == one).any()
    ]
    words = (canvas.get_attribute("aria-label") or "").replace("\u00a0", " ")
    assert words.split(": ")[1].split("; ") == parts
    size, data = canvas.evaluate(
        """c => {
          const context = c.getContext('2d');
          return [[c.height, c.width], [...context.getImageData(0, 0, c.width, c.height).data]];
        }"""
    )
    filled = np.array(data).reshape(*size, 4)[..., 3] > 200
    for one in range(10):
        x = int((one + 0.15) * size[1] / 10)  # beside the dashed line where it crosses high bars
        tall = right[tenth == one].mean() * size[0] if (tenth == one).any() else 0
        bottom = filled[:, x][::-1]
        height = int(np.argmin(np.append(bottom, False)))
        expected = max(tall, 2) if (tenth == one).any() else 0
        assert height == pytest.approx(expected, abs=6) or (tall < 12 and height < 20), one
    # The line goes from the lower left to the upper right.
    half = filled[: size[0] // 2, : size[1] // 4], filled[: size[0] // 3, -size[1] // 4 :]
    assert half[0].sum() < half[1].sum()


def test_findings_show_effect_interval_p_and_q_in_their_places(page, world):
    go(page, "#/")
    rows = page.locator(".finding")
    numbers = [rows.nth(i).locator(".numbers span").all_inner_texts() for i in range(2)]
    assert [text.replace("\u00a0", " ") for text in numbers[0]] == [
        "25.0 %", "12.5–50.0 %", "q 0.34",
    ]  # fmt: skip
    assert numbers[1] == ["3.5", "−1.25 to 8", "q 4.0 × 10⁻⁵"]
    tallies = [" ".join(one.split()) for one in page.locator(".tally").all_inner_texts()]
    assert tallies == ["high 1", "low 1"]
    for rank, p, q, effect, interval in (
        (1, "0.012", "0.34", "25.0 %", "12.5–50.0 %"),
        (2, "2.0 × 10⁻⁷", "4.0 × 10⁻⁵", "3.5", "−1.25 to 8"),
    ):
        go(page, f"#/finding/{rank}")
        facts = dict(page.locator(".facts").first.locator("tr").evaluate_all(TWO))
        shown = {name: text.replace("\u00a0", " ") for name, text in facts.items()}
        assert shown["p-value"] == f"{p} against: NULL"
        assert shown["q-value"] == q
        assert shown["Effect"] == f"{effect} (95 % interval {interval}) share"
        assert shown["Power"] == "POWER"
        assert page.locator(".lead").inner_text() == "D"
        advice = page.locator(".advice div").all_inner_texts()
        assert [text.split("\n") for text in advice] == [
            ["What to do", "ACT"], ["What would make it wrong", "CAVEAT"],
        ]  # fmt: skip
        classes = shown["Classes"].split(", ")
        assert classes == [LABELS[one] for one in world.findings[rank - 1].classes]
    tiles = page.locator(".strip .tile").evaluate_all("all => all.map((one) => one.hash)")
    assert tiles == [f"#/image/{index}?from=finding/2" for index in range(20, 25)]
    files = page.locator(".files li").all_inner_texts()
    assert files == [world.rows[index]["file"] for index in range(20, 25)]


def per_class(world):
    found = {}
    for label in range(5):
        rows = world.of_class(label)
        right = sum(row["prediction"] == label for row in rows)
        sure = np.mean([probabilities(row)[row["prediction"]] for row in rows])
        own = np.mean([probabilities(row)[label] for row in rows])
        wrong = [row["prediction"] for row in rows if row["prediction"] != label]
        counts = sorted(
            {one: wrong.count(one) for one in wrong}.items(), key=lambda p: (-p[1], p[0])
        )
        found[label] = (len(rows), right, own, sure, counts)
    return found


def test_the_table_of_classes_and_its_order(page, world):
    go(page, "#/classes")
    expected = per_class(world)

    def rows():
        return page.locator("table.classes tbody tr").evaluate_all(
            "all => all.map((one) => [...one.children].map((cell) => cell.textContent))"
        )

    def names():
        return [row[0].split(" class ")[0] for row in rows()]

    accuracy = {LABELS[i]: one[1] / one[0] for i, one in expected.items()}
    found = [accuracy[name] for name in names()]
    assert found == sorted(found)
    assert found[0] < found[-1]
    for row in rows():
        images, right, own, sure, wrong = expected[LABELS.index(row[0].split(" class ")[0])]
        assert row[1] == str(images)
        assert number(row[2]) == pytest.approx(100 * right / images, abs=0.51)
        assert number(row[3]) == pytest.approx(100 * own, abs=0.51)
        assert number(row[4]) == pytest.approx(100 * (sure - right / images), abs=0.51)
        assert row[5] == f"{LABELS[wrong[0][0]]} {wrong[0][1]}×"
    page.get_by_role("button", name="p (label)").click()
    own = {LABELS[i]: one[2] for i, one in expected.items()}
    assert [own[name] for name in names()] == sorted(own.values(), reverse=True)
    page.get_by_role("button", name="Class", exact=True).click()
    assert names() == sorted(own)


def test_the_page_of_a_class(page, world):
    expected = per_class(world)
    for label in (0, 3):
        visit(page, f"#/class/{label}")
        images, right, own, sure, wrong = expected[label]
        found = stats_of(page)
        assert found["Images"][0] == str(images)
        assert number(found["Accuracy"][0]) == pytest.approx(100 * right / images, abs=0.051)
        np.testing.assert_allclose(ends(found["Accuracy"][1]), wilson(right, images), atol=0.51)
        assert number(found["Probability of the label"][0]) == pytest.approx(100 * own, abs=0.051)
        assert number(found["Confidence"][0]) == pytest.approx(100 * sure, abs=0.051)
        gap = 100 * (sure - right / images)
        value, note = found["Calibration gap"]
        assert number(value.removesuffix(" points")) == pytest.approx(gap, abs=0.06)
        assert note == ("more sure than right" if gap > 0 else "less sure than right")
        tables = {}
        for section in page.locator(".columns section:has(table.confusions)").all():
            cells = section.locator("tr").evaluate_all(TWO)
            tables[section.locator("h2").inner_text()] = [(name, int(n)) for name, n in cells]
        assert tables["Taken for"] == [(LABELS[one], count) for one, count in wrong]
        incoming = [(LABELS[i], dict(one[4]).get(label, 0)) for i, one in expected.items()]
        assert sorted(tables["Others taken for it"]) == sorted(one for one in incoming if one[1])
        for tile in page.locator("a.tile[href*='class/']").all():
            index = int((tile.get_attribute("href") or "").split("/")[2].split("?")[0])
            row = world.rows[index]
            mark = "✓" if row["prediction"] == label else "✗"
            chance = 100 * probabilities(row)[row["prediction"]]
            line = tile.locator(".line").inner_text().replace("\u00a0", " ")
            assert line == f"{mark} {LABELS[row['prediction']]} {chance:.0f} %"


def margin(row, rival=None):
    return float(row["logits"][row["label"]]) - float(row["logits"][row["rival"]])


def test_the_page_of_a_pair(page, world):
    for label, rival in list(world.summary.pairs)[:3]:
        visit(page, f"#/pair/{label}/{rival}")
        mine = [row for row in world.of_class(label) if row["rival"] == rival]
        assert page.locator("h1").inner_text() == f"{LABELS[label]} against {LABELS[rival]}"
        found = stats_of(page)
        preferring = sum(margin(row) < 0 for row in mine)
        assert found["Images"][0] == str(len(mine))
        assert found["Model prefers the rival"][0] == str(preferring)
        share = found["Model prefers the rival"][1]
        assert number(share) == pytest.approx(100 * preferring / len(mine), abs=0.51)
        chance = np.mean([probabilities(row)[rival] for row in mine])
        assert number(found["Probability of the rival"][0]) == pytest.approx(
            100 * chance, abs=0.051
        )
        for one in {label, rival} & set(range(5)):
            right = np.mean([row["prediction"] == one for row in world.of_class(one)])
            accuracy = found[f"Accuracy of {LABELS[one]}"][0]
            assert number(accuracy) == pytest.approx(100 * right, abs=0.051)
        words = page.locator(".mean .signs").first.locator("span").all_inner_texts()
        assert words == [f"for {LABELS[rival]}", f"for {LABELS[label]}"]
        of = world.summary.pairs[label, rival]
        strips = {"Most suspicious": of.suspicious, "Most typical": of.typical}
        for section in page.locator(".sets .strips").all():
            title = section.locator("h3").evaluate("one => one.firstChild.textContent")
            members = strips[title]
            tiles = section.locator(".tile")
            hashes = tiles.evaluate_all("all => all.map((one) => one.hash)")
            assert [int(re.findall(r"\d+", one)[0]) for one in hashes] == [m.image for m in members]
            for line, member in zip(tiles.locator(".line").all_inner_texts(), members, strict=True):
                winner = label if member.margin >= 0 else rival
                name, by = line.split(" by ")
                assert name == LABELS[winner]
                assert number(by) == pytest.approx(abs(member.margin), rel=0.06)
        worst = [member.margin for member in of.suspicious]
        assert worst == sorted(worst)


def test_what_the_page_of_an_image_says(page, world):
    agreeing = next(i for i, row in world.rows.items() if row["label"] == row["prediction"])
    wrong = next(i for i, row in world.rows.items() if row["label"] != row["prediction"])
    for index in (agreeing, wrong):
        visit(page, f"#/image/{index}")
        row = world.rows[index]
        label, prediction, rival = (LABELS[row[name]] for name in ("label", "prediction", "rival"))
        joined = ", predicted" if index == agreeing else ", but predicted"
        assert page.locator("h1").inner_text() == f"labelled {label}{joined} {prediction}"
        verdict = "✓ agrees" if index == agreeing else "✗ contradicts"
        assert page.locator(".verdict").inner_text() == verdict
        table = page.locator("table.probabilities tbody tr").evaluate_all(
            "all => all.map((one) => [...one.children].map((cell) => cell.textContent))"
        )
        order = sorted(range(6), key=lambda one: -row["logits"][one])
        shown = [re.sub("(label|rival)$", "", name) for name, *_ in table]
        assert shown[:5] == [LABELS[one] for one in order[:5]]
        for name, chance, _, logit in table:
            bare = re.sub("(label|rival)$", "", name)
            at = LABELS.index(bare)
            assert number(logit) == pytest.approx(row["logits"][at], abs=0.006)
            assert number(chance) == pytest.approx(100 * probabilities(row)[at], abs=0.06)
            tag = {label: "label", rival: "rival"}.get(bare, "")
            assert name == bare + tag
        text = page.locator(".facts tr:has(th:text-is('Margin')) td").inner_text()
        value = margin(row)
        assert number(text.split(" ")[0]) == pytest.approx(value, abs=0.006)
        assert text.endswith(f"logits, for {label if value >= 0 else rival}")
        assert text.startswith("+" if value > 0 else "−")


def test_the_table_of_power(page, world):
    go(page, "#/limits")
    table = page.locator("table.power tbody tr").evaluate_all(
        "all => all.map((one) => [...one.children].map((cell) => cell.textContent))"
    )
    sizes = limits(Analysis(world.ledger)).sizes
    assert len(table) == len(sizes) > 0

    def rate(value):
        return "at no rate" if value is None else f"{100 * float(f'{value:.2g}'):.0f} %"

    def needed(value):
        if value is None or not np.isfinite(value):
            return "–"
        return f"{int(float(f'{value:.2g}')):,}"

    for row, one in zip(table, sizes, strict=True):
        assert [text.replace("\u00a0", " ") for text in row[1:5]] == [
            str(one.classes), rate(one.unlike), rate(one.alike), str(one.least),
        ]  # fmt: skip
        assert row[5:] == [" / ".join(map(needed, pair)) for pair in one.needed]


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        ("percent(0.1234)", "12.3 %"),
        ("percent(0.5, 0)", "50 %"),
        ("percent(0.99996)", "> 99.9 %"),
        ("percent(0.00001)", "< 0.1 %"),
        ("percent(null)", "–"),
        ("figure(-1234.5678)", "−1230"),
        ("figure(0.0123456, 2)", "0.012"),
        ("figure(0.000123)", "1.23 × 10⁻⁴"),
        ("figure(-123456789, 2)", "−1.2 × 10⁸"),
        ("signed(0.5)", "+0.5"),
        ("signed(-0.5)", "−0.5"),
        ("interval([0.125, 0.5])", "12.5–50.0 %"),
        ("interval([-0.5, 12])", "−0.5 to 12"),
        ("plural(1, 'class', 'classes')", "1 class"),
        ("plural(1234, 'class', 'classes')", "1,234 classes"),
    ],
)
def test_how_numbers_are_written(page, call, shown):
    assert page.evaluate(call).replace("\u00a0", " ") == shown
