"""`jaxattr bench explanations`: real runs on a few scenes, and a benchmark that is right."""

from __future__ import annotations

import csv
import inspect
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner

from jaxattr import scenes as drawn
from jaxattr.bench.explanations import maps, trials
from jaxattr.bench.explanations import run as explanations
from jaxattr.bench.explanations.figure import draw
from jaxattr.bench.explanations.maps import LOSSES
from jaxattr.bench.explanations.trials import HELD_OUT
from jaxattr.checkpoints import load
from jaxattr.cli.bench import explanations_table as scores
from jaxattr.cli.main import main
from jaxattr.errors import JaxattrError, LabelError
from jaxattr.methods import CHEAP, METHODS
from jaxattr.plot.figures import encode

GRID = (12, 12)
COUNT = 6
FEW = ("rollout", "complete", "absolute", "conservative")


def bench(*arguments):
    return CliRunner().invoke(main, ["bench", "explanations", *arguments])


@pytest.fixture(scope="module")
def results():
    lines = []
    found = explanations.run(load("scenes"), count=COUNT, methods=FEW, report=lines.append)
    assert lines[0] == f"Drawing {COUNT} scenes: two objects"
    assert len(lines) == 9
    return found


@pytest.fixture(scope="module")
def asked():
    draws = (trials.two_objects, trials.one_object, trials.twins)
    return {one.name: one for one in (draw(20, 0, 96, GRID) for draw in draws)}


def pick(found, **wanted):
    return [one for one in found if all(getattr(one, k) == v for k, v in wanted.items())]


class Row:
    """What `rows` wants to know of a method."""

    def __init__(self, signed=True):
        self.name, self.signed, self.target_dependent = "made up", signed, False


def score(trial, maps, signed=True):
    found = np.stack([maps, maps], axis=1)
    rows = explanations.rows(trial, found, Row(signed), "none", 0)
    return {one.measure: one for one in rows}


def test_the_truth_itself_is_perfect_and_its_negative_is_not(asked):
    two = asked["two objects"]
    perfect = np.where(two.target > 0.99, 1.0, 0) - np.where(two.opponent > 0.99, 1.0, 0)
    found = score(two, perfect)
    ones = ("sign_accuracy", "pointing_positive", "pointing_negative")
    assert [found[name].value for name in ones] == [1, 1, 1]
    assert found["positive_in_target"].value > 0.99
    assert found["negative_in_rival"].value > 0.99
    assert found["background_share"].value < 0.01
    wrong = score(two, -perfect)
    assert [wrong[name].value for name in ones] == [0, 0, 0]

    one = asked["one object"]
    found = score(one, np.where(one.target >= 0.5, 1.0, -1.0))
    assert found["sign_accuracy"].value == 1
    assert found["iou_best"].value == found["iou_zero"].value > 0.75

    parts = asked["twins"].part
    assert score(asked["twins"], -parts)["part_hit"].value == 1
    assert score(asked["twins"], np.where(parts == 0, 1.0, 0))["part_hit"].value == 0


def test_what_needs_a_sign_is_missing_without_one(asked):
    found = score(asked["two objects"], asked["two objects"].target, signed=False)
    missing = {name for name, one in found.items() if np.isnan(one.value)}
    assert missing == {"sign_accuracy", "negative_in_rival", "pointing_negative"}
    found = score(asked["one object"], asked["one object"].target, signed=False)
    assert {name for name, one in found.items() if np.isnan(one.value)} == {
        "sign_accuracy",
        "iou_zero",
    }


def test_trials_hold_what_the_scenes_are(asked):
    two = asked["two objects"]
    assert (two.label[0::2] == two.rival[1::2]).all()
    assert (two.images[0::2] == two.images[1::2]).all()
    np.testing.assert_array_equal(two.target[0::2], two.opponent[1::2])
    assert (two.objects <= two.target + two.opponent + 1e-12).all()
    for label, rival in zip(two.label, two.rival, strict=True):
        assert drawn.twin(drawn.CLASSES[label]) != drawn.CLASSES[rival]

    twins = asked["twins"]
    for i, (first, second, part) in enumerate(drawn.PAIRS):
        scene = drawn.draw((HELD_OUT, 3, i), [second])
        np.testing.assert_array_equal(twins.images[i], scene.image)
        assert drawn.CLASSES[twins.label[i]] == second
        assert drawn.CLASSES[twins.rival[i]] == first
        shown = scene.parts[0][part].reshape(12, 8, 12, 8).mean(axis=(1, 3))
        np.testing.assert_allclose(twins.part[i], shown)


def test_a_scene_is_one_unit_of_chance(asked):
    two = asked["two objects"]
    values = np.arange(40.0)
    values[1] = np.nan
    per_scene = explanations.per_scene(two, {"any": values})["any"]
    assert per_scene.tolist() == [0.0, *(2 * i + 0.5 for i in range(1, 20))]


def test_all_cheap_methods_are_scored_by_default():
    assert set(CHEAP) == {name for name, one in METHODS.items() if one.forwards <= 10}
    assert inspect.signature(explanations.run).parameters["methods"].default == CHEAP


def test_a_run_scores_every_method_and_baseline(results):
    assert {one.method for one in results} == {*FEW, "random map", "centred blob"}
    for one in results:
        if not np.isnan(one.value):
            assert one.low - 1e-12 <= one.value <= one.high + 1e-12, one
            assert 1 <= one.defined <= COUNT
    for name, method in ((name, METHODS[name]) for name in FEW):
        losses = {one.loss for one in pick(results, method=name, model="trained")}
        assert losses == (set(LOSSES) if method.target_dependent else {"any"})
        for model in ("trained", "random weights"):
            for kind, measures in explanations.MEASURES.items():
                found = pick(results, method=name, model=model, scenes=kind)
                assert {one.measure for one in found} == set(measures)


def test_the_scores_tell_knowledge_from_chance(results):
    def value(method, measure, model="trained", loss="difference", kind="two objects"):
        (one,) = pick(results, method=method, measure=measure, model=model, loss=loss, scenes=kind)
        return one.value

    chance = value("random map", "positive_in_target", "none", "any")
    assert 0.05 < chance < 0.2
    trained = value("complete", "positive_in_target")
    assert trained > 3 * chance
    assert trained > 2 * value("complete", "positive_in_target", "random weights")
    # The difference's map for the other class is its negative, and no other measure knows it.
    assert value("complete", "likeness") < -0.9
    assert value("absolute", "likeness") > 0.99
    # Of two objects the log-odds is the difference to the rival, without naming it.
    for loss in ("difference", "log-odds"):
        assert value("conservative", "sign_accuracy", loss=loss) == 1
        assert value("conservative", "positive_in_target", loss=loss) > 0.8


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("scenes", {"count": 0}, "0 scenes asked for"),
        ("scenes", {"methods": ["nonsense"]}, "unknown method nonsense; choose from"),
    ],
)
def test_bad_arguments(model, options, message):
    with pytest.raises(JaxattrError, match=message):
        explanations.run(load(model), **options)


def test_a_model_without_the_classes_is_refused(tiny_model):
    square = type(tiny_model)(
        tiny_model.parameters,
        type(tiny_model.config)((8, 8), (4, 4), 12, 3, 2, 20, 5),
        tiny_model.labels,
        name="tiny",
    )
    with pytest.raises(LabelError, match="tiny: does not know the classes of the scenes"):
        explanations.run(square)
    with pytest.raises(JaxattrError, match="takes images of 8 x 12, scenes are square"):
        explanations.run(tiny_model)


def test_the_command(tmp_path):
    picture, few = tmp_path / "scores.png", ("rollout", "complete")
    done = bench("-n", "2", "-m", few[0], "-m", few[1], "-f", "csv", "--figure", str(picture))
    assert done.exit_code == 0, done.stderr
    # The same seed gives the same scores, to all digits.
    results = explanations.run(load("scenes"), count=2, methods=few)
    assert done.stdout == scores.text(results, "csv", {}) + "\n"
    assert "Explaining 4 targets" in done.stderr
    assert picture.read_bytes() == encode(
        draw(results, "model scenes, 2 scenes of each kind, seed 0"), "png"
    )


def test_the_table(results):
    lines = scores.text(results, "table", {}).splitlines()
    assert lines[0] == "TWO OBJECTS"
    assert lines[1].split()[:3] == ["method", "model", "loss"]
    assert next(line for line in lines if line.startswith("rollout")).count("–") == 3
    assert {"ONE OBJECT", "TWINS"} < set(lines)


def test_quiet_and_fewer_methods():
    done = bench("-n", "1", "-m", "rollout", "--quiet", "-f", "csv")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    methods = {row["method"] for row in csv.DictReader(io.StringIO(done.stdout))}
    assert methods == {"rollout", "random map", "centred blob"}


def test_formats_for_programs(results):
    facts = {"model": "scenes", "seed": 0}
    content = json.loads(scores.text(results, "json", facts))
    assert content["seed"] == 0
    table = list(csv.DictReader(io.StringIO(scores.text(results, "csv", facts))))
    for row, one, score in zip(table, content["scores"], results, strict=True):
        assert row["measure"] == one["measure"] == score.measure
        assert (float(row["value"]) if row["value"] else None) == one["value"]
        assert one["value"] == (None if np.isnan(score.value) else score.value)
    markdown = scores.text(results, "md", facts)
    assert markdown.startswith("### Two objects\n\n| method | model | loss |")


def test_cells_are_short():
    score = explanations.Score("a", "b", "c", "d", "likeness", -0.004, -0.126, 0.5, 9)
    assert scores.cell(score) == "-0.00 [-0.13, 0.50]"
    assert scores.cell(score._replace(measure="iou_best", low=0, value=0.126)) == "13 [0, 50]"
    assert scores.cell(score._replace(value=float("nan"))) == "–"


def test_figures_are_the_same_bytes(results):
    assert encode(draw(results), "png") == encode(draw(results), "png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-n", "0"), "0 is not in the range 1<=x<=10000"),
        (("--seed", "-1"), "-1 is not in the range 0<=x<=4294967295"),
        (("-m", "nonsense"), "'nonsense' is not one of"),
        (("--figure", "scores.gif"), "has no suffix of a picture"),
        (("--figure", "nowhere/scores.png"), "the folder nowhere does not exist"),
        (("--model", "no-such.safetensors"), "no-such.safetensors"),
    ],
)
def test_bad_input_is_told_before_the_work(arguments, message):
    done = bench(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_run_that_keeps_its_maps_resumes(tmp_path, monkeypatch):
    """What lies there is not explained again; another run's folder is refused in one line."""
    words = ("-n", "2", "-m", "rollout", "-q", "-f", "csv", "--output", str(tmp_path / "kept"))
    first = bench(*words)
    assert first.exit_code == 0, first.stderr
    shards = sorted((tmp_path / "kept" / "scores").rglob("shard-*.npz"))
    assert len(shards) == 6  # three kinds of scenes, two models
    shards[0].unlink()
    counted, explained = [], maps._explain
    monkeypatch.setattr(maps, "_explain", lambda *given: counted.append(1) or explained(*given))
    again = bench(*words)
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert len(counted) == 1
    other = bench(*words, "--seed", "1")
    assert other.exit_code == 2
    assert "another run" in other.stderr
    assert other.stderr.count("\n") == 1
