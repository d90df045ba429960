"""What a person sees of the benchmarks: figures and tables of scores that are known."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from seen import Seen, hue

from jaxattr.bench.audit import figure as audit_figure
from jaxattr.bench.audit import run as audit
from jaxattr.bench.audit.rankings import AUDIT
from jaxattr.bench.explanations import figure
from jaxattr.bench.explanations import run as explanations
from jaxattr.bench.methods import figure as method_figure
from jaxattr.bench.methods import run as method_runs
from jaxattr.bench.methods.maps import BLOB, RANDOM, Row
from jaxattr.bench.methods.table import Score as MethodScore
from jaxattr.bench.perturbation import figure as perturbation_figure
from jaxattr.bench.perturbation import run as perturbation
from jaxattr.bench.perturbation.protocols import PROTOCOLS
from jaxattr.bench.perturbation.table import Curve
from jaxattr.bench.perturbation.table import Score as Area
from jaxattr.cli.bench import audit_table as audit_text
from jaxattr.cli.bench import explanations_table as scores
from jaxattr.cli.bench import methods_table as methods_text
from jaxattr.cli.bench import perturbation_table as perturbation_text
from jaxattr.methods import METHODS, Method

TITLES = {
    ("two objects", "sign_accuracy"): "signs right",
    ("two objects", "positive_in_target"): "+ inside the target",
    ("two objects", "negative_in_rival"): "− inside the rival",
    ("two objects", "likeness"): "likeness",
    ("one object", "iou_best"): "IoU, best threshold",
    ("one object", "iou_zero"): "IoU, positive patches",
    ("twins", "part_hit"): "largest |S|",
}


def explained():
    """A value of its own for each panel, method, loss and model."""
    found, value = [], 0.02
    for scenes, measure in TITLES:
        for method in ("first", "second"):
            for model, loss in (
                ("trained", "logit"), ("trained", "difference"), ("random weights", "logit"),
            ):  # fmt: skip
                value += 0.02
                ends = value - 0.01, value + 0.015
                found.append(
                    explanations.Score(scenes, method, model, loss, measure, value, *ends, 9)
                )
    return found


def marks(axis: Any):
    """The points of a panel, `(x, row, colour, filled)`, and its lines from left to right ends."""
    points = [
        (
            float(line.get_xdata()[0]),
            float(line.get_ydata()[0]),
            to_hex(line.get_markeredgecolor()),
            to_hex(line.get_markerfacecolor()) != "#ffffff",
        )
        for line in axis.lines
        if line.get_marker() == "o"
    ]
    spans = {
        tuple(map(float, line.get_xdata()))
        for line in axis.lines
        if line.get_marker() != "o" and len(line.get_xdata()) == 2
    }
    return points, spans


def test_the_figure_of_explanations_shows_each_score_in_its_panel_and_row():
    drawn: Any = figure.draw(explained(), "note")
    legend = {
        text.get_text(): (
            to_hex(handle.get_markeredgecolor()),
            to_hex(handle.get_markerfacecolor()),
        )
        for text, handle in zip(
            drawn.legends[0].get_texts(), drawn.legends[0].legend_handles, strict=True
        )
    }
    colours = {name: legend[f"loss: {name}"][0] for name in ("logit", "difference")}
    assert hue([int(colours["logit"][i : i + 2], 16) for i in (1, 3, 5)]) == "orange"
    assert len(set(colours.values())) == 2
    assert legend["hollow: random weights"][1] == "#ffffff"
    for axis, ((scenes, measure), title) in zip(drawn.axes, TITLES.items(), strict=True):
        assert title in axis.get_title().replace("\n", " ")
        points, spans = marks(axis)
        mine = [one for one in explained() if (one.scenes, one.measure) == (scenes, measure)]
        assert len(points) == len(mine)
        for one in mine:
            (point,) = [point for point in points if point[0] == pytest.approx(one.value)]
            assert round(point[1]) == ("first", "second").index(one.method)
            assert point[2] == colours[one.loss]
            assert point[3] == (one.model == "trained")
            assert (one.low, one.high) in spans
    labels = [text.get_text() for text in drawn.axes[0].get_yticklabels()]
    assert labels == ["first", "second"]
    seen = Seen(drawn)  # the first row is the upper one
    first, second = (drawn.axes[0].transData.transform((0, row))[1] for row in (0, 1))
    assert first > second
    assert any(text.endswith("lines: 95 % intervals") for text, *_ in seen.words())


def test_tables_of_explanations_are_in_percent_under_the_right_heads():
    text = scores.text(explained(), "table", {})
    parts = re.split(r"\n\n", text)
    assert [part.splitlines()[0] for part in parts] == ["TWO OBJECTS", "ONE OBJECT", "TWINS"]
    for part in parts:
        lines = [re.split(r"  +", line.strip()) for line in part.splitlines()[1:]]
        head = lines[0]
        rows = {tuple(line[:3]): line[3:] for line in lines[1:] if len(line) == len(head)}
        for one in explained():
            if one.scenes.upper() != part.splitlines()[0]:
                continue
            names = {"sign_accuracy": "signs right", "positive_in_target": "+ in target",
                     "negative_in_rival": "- in rival", "likeness": "likeness",
                     "iou_best": "IoU, best", "iou_zero": "IoU, zero", "part_hit": "all pairs",
                     }  # fmt: skip
            cell = rows[one.method, one.model, one.loss][head.index(names[one.measure]) - 3]
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", cell)]
            factor = 1 if one.measure == "likeness" else 100
            expected = [factor * number for number in (one.value, one.low, one.high)]
            np.testing.assert_allclose(numbers, expected, atol=0.005 * factor + 1e-9)


def result():
    """Two methods, both nulls, and one row of random weights, on two metrics."""
    good, bad = (Method(name, METHODS["rollout"].function) for name in ("good", "bad"))
    rows = (
        Row("good", good, "trained"),
        Row("bad", bad, "trained"),
        Row(RANDOM, None, "none"),
        Row(BLOB, None, "none"),
        Row("good, random weights", good, "random weights"),
    )
    found, value = [], 0.1
    for metric, better in (("up", "higher"), ("down", "lower")):
        for row in rows:
            value += 0.05
            rank = {"good": 1, "bad": 2}.get(row.name, 0)
            found.append(
                MethodScore(metric, "faithfulness", better, row.shown, row.model,
                            value, value - 0.01, value + 0.02, 9, rank, row.name == "good")
            )  # fmt: skip
    seconds = {row.name: 0.001 * (i + 1) for i, row in enumerate(rows)}
    return method_runs.Result(rows, found, seconds, 9, 5, [])


def test_the_figure_of_methods_shows_each_score_and_both_nulls():
    drawn: Any = method_figure.draw(result(), "note")
    for axis, (metric, arrow) in zip(drawn.axes, (("up", "↑"), ("down", "↓")), strict=True):
        assert axis.get_title() == f"{metric}: {arrow}"
        points, spans = marks(axis)
        for one in [one for one in result().scores if one.metric == metric]:
            if one.model == "none":
                (line,) = [
                    line for line in axis.lines
                    if line.get_linestyle() in ("--", ":") and line.get_xdata()[0] == one.value
                ]  # fmt: skip
                assert line.get_linestyle() == ("--" if one.method == RANDOM else ":")
                continue
            (point,) = [point for point in points if point[0] == pytest.approx(one.value)]
            assert round(point[1]) == ("good", "bad").index(one.method)
            assert point[3] == (one.model == "trained")
            assert (one.low, one.high) in spans
    labels = [text.get_text() for text in drawn.axes[0].get_yticklabels()]
    assert labels == ["good", "bad"]
    assert drawn.axes[0].get_ylim()[0] > drawn.axes[0].get_ylim()[1]
    legend: dict[str, Any] = dict(
        zip(
            [text.get_text() for text in drawn.legends[0].get_texts()],
            drawn.legends[0].legend_handles,
            strict=True,
        )
    )
    assert legend[RANDOM].get_linestyle() == "--"
    assert legend[BLOB].get_linestyle() == ":"
    assert to_hex(legend["on random weights"].get_markerfacecolor()) == "#ffffff"


def test_the_table_of_methods_says_direction_interval_rank_nulls_and_time():
    text = methods_text.text(result(), "table", {})
    assert re.search(r"up ↑ +down ↓", text)
    assert "0.15 [0.14, 0.17] #1 " in text
    assert "0.20 [0.19, 0.22] #2°" in text
    times = text.split("RANKS AND TIME")[1]
    assert re.search(r"good +trained +1\.0 +1\.0\n", times)
    assert re.search(r"bad +trained +2\.0 +2\.0\n", times)


def curves():
    """Four panels, two methods: a line of its own in each."""
    protocol, found, start = (
        next(one for one in PROTOCOLS.values() if len(one.explained) == 2),
        [],
        0.3,
    )
    for explained in protocol.explained:
        for order in ("positive", "negative"):
            for method in ("first", "second"):
                start += 0.03
                for fraction in (0.1, 0.5):
                    value = start - 0.2 * fraction
                    found.append(
                        Curve(protocol.name, method, explained, order, "accuracy", fraction,
                              value, value - 0.05, value + 0.04, 9)
                    )  # fmt: skip
    areas = [
        Area(protocol.name, "first", against, explained, order, "accuracy", value, value - 0.1,
             value + 0.2, 9)
        for against in ("", "second")
        for explained in protocol.explained
        for order, value in (("positive", 0.25), ("negative", 0.5))
    ]  # fmt: skip
    return perturbation.Result(protocol, ("first", "second"), areas, found, 9, 0, [])


def test_the_figure_of_perturbation_shows_each_curve_in_percent():
    of = curves()
    drawn: Any = perturbation_figure.draw(of, "accuracy")
    words = {"label": "label", "predicted": "predicted class"}
    panels = [(one, order) for one in of.protocol.explained for order in ("negative", "positive")]
    for axis, (explained, order) in zip(drawn.axes, panels, strict=True):
        better, begin = {
            "positive": ("lower is better", "highest first"),
            "negative": ("higher is better", "lowest first"),
        }[order]
        title = f"{order.capitalize()} test, {words[explained]}: {begin}, {better}"
        assert axis.get_title() == title
        for line, band, method in zip(axis.lines, axis.collections, of.methods, strict=True):
            assert line.get_label() == method
            key = explained, order, method
            mine = [one for one in of.curves if (one.explained, one.order, one.method) == key]
            expected = [[100 * one.fraction, 100 * one.value] for one in mine]
            np.testing.assert_allclose(line.get_xydata(), expected)
            ends = band.get_paths()[0].vertices[:, 1]
            assert ends.min() == pytest.approx(100 * min(one.low for one in mine))
            assert ends.max() == pytest.approx(100 * max(one.high for one in mine))
    assert drawn.axes[0].get_ylabel() == "accuracy, %"


def test_the_table_of_perturbation_names_directions_and_differences():
    text = perturbation_text.text(curves(), "table", {})
    head = re.search(r"positive \(lower is better\) +negative \(higher is better\)", text)
    assert head
    first, second = text.split("PAIRED DIFFERENCE")
    for part, name in ((first, "first"), (second, "first - second")):
        rows = [line for line in part.splitlines() if re.search(rf"accuracy +{name}  ", line)]
        assert rows
        for row in rows:
            numbers = [float(one) for one in re.findall(r"-?\d+\.\d+", row)]
            ratio = numbers[0] / numbers[3]
            assert ratio == pytest.approx(0.25 / 0.5, abs=0.01)
            assert numbers[1] < numbers[0] < numbers[2]


def audited():
    """Power by size and rate, and the precision of two methods."""
    found = []
    for size in (20, 50):
        for rate in (0.05, 0.2):
            power = rate + size / 100
            found.append(audit.Score("random", size, rate, AUDIT, "power", power, power - 0.1,
                                     power + 0.05, 3))  # fmt: skip
            for method, value in ((AUDIT, 0.8), ("confusion counts", 0.4)):
                found.append(audit.Score("random", size, rate, method, "pair_ap", value + rate,
                                         value, value + 0.19, 3))  # fmt: skip
    return found


def test_the_figure_and_table_of_the_audit():
    drawn: Any = audit_figure.draw(audited())
    power, precision = drawn.axes
    assert power.get_ylabel() == "power"
    assert precision.get_ylabel() == "average precision of pairs"
    for line, size in zip(power.lines, (20, 50), strict=True):
        assert line.get_label() == f"{size} per class"
        np.testing.assert_allclose(line.get_ydata(), [0.05 + size / 100, 0.2 + size / 100])
        np.testing.assert_allclose(line.get_xdata(), [5, 20], atol=0.5)
    bars = [segment[:, 1] for segment in power.collections[0].get_segments()]
    np.testing.assert_allclose(bars, [[0.15, 0.3], [0.3, 0.45]])
    assert [line.get_label() for line in precision.lines] == [
        f"{AUDIT}, 50 per class", "confusion counts, 50 per class",
    ]  # fmt: skip
    np.testing.assert_allclose(precision.lines[1].get_ydata(), [0.45, 0.6])
    text = audit_text.text(audited(), "table", {})
    (row,) = [line for line in text.splitlines() if re.match(rf" *20 +20% +{AUDIT}", line)]
    assert "0.40 [0.30, 0.45]" in row
    assert "1.00 [0.80, 0.99]" in row
