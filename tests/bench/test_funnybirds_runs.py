"""The FunnyBirds protocols on scenes: every intervention drawn and asked again, one by one."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from jaxattr import metrics, scenes
from jaxattr.bench.explanations import funnybirds, trials
from jaxattr.checkpoints import load
from jaxattr.cli.main import main
from jaxattr.data import images
from jaxattr.errors import JaxattrError
from jaxattr.vit import forward

COUNT = 3


@pytest.fixture(scope="module")
def model():
    return load("scenes")


@pytest.fixture(scope="module")
def ask(model):
    compiled = jax.jit(lambda image: forward(model, image)[0])
    return lambda picture: np.asarray(compiled(images.normalize(picture, model.preprocessing)))


def test_parts_are_left_out_one_by_one(model, ask):
    # One scene with a thing in the background at least.
    scene = next(
        one for one in (trials.scene_of_one(i, 1, 96) for i in range(9)) if one.plan.clutter
    )
    found, names = funnybirds.leave_out(model, scene), list(scene.parts[0])
    label, whole = scenes.CLASSES.index(scene.classes[0]), ask(scene.image)
    assert (found.label, found.predicted[-1]) == (label, whole.argmax())
    assert found.predicted.shape == (2 ** len(names),)
    for p, name in enumerate(names):
        less = scenes.render(scene.plan, without=[(0, name)]).image
        assert found.drop[p] == pytest.approx(whole[label] - ask(less)[label], abs=1e-3)
        rest = [(0, other) for other in names if other != name]
        only = scenes.render(scene.plan, without=rest).image
        assert found.predicted[1 << p] == ask(only).argmax()
        # Nothing changes outside the part's region.
        changed = metrics.pool((less != scene.image).any(axis=-1), model.config.grid)
        assert (changed <= found.regions[p] + 1e-12).all()
    bare = scenes.render(scene.plan, without=[(0, name) for name in names]).image
    assert found.predicted[0] == ask(bare).argmax()
    things = len(found.regions) - len(names)
    assert 0 < things <= len(scene.plan.clutter) + len(scene.plan.occluders)
    assert found.unimportant.shape == (len(names) + things,)
    first = scenes.render(scene.plan._replace(clutter=scene.plan.clutter[1:])).image
    gone = metrics.pool((first != scene.image).any(axis=-1), model.config.grid)
    if gone.any():
        np.testing.assert_array_equal(found.regions[len(names)], gone)
        drop = whole[label] - ask(first)[label]
        assert found.unimportant[len(names)] == (drop < 0.05 * abs(whole[label]))


def test_objects_are_left_out_whole(model, ask):
    scene = trials.scene_of_two(0, 0, 96)
    found = funnybirds.changes(model, scene)
    for owner in (0, 1):
        less = scenes.render(scene.plan, without=[(owner, part) for part in scene.parts[owner]])
        assert not less.objects[owner].any()
        for k, name in enumerate(scene.classes):
            place = scenes.CLASSES.index(name)
            expected = ask(less.image)[place] - ask(scene.image)[place]
            assert found[k, owner] == pytest.approx(expected, abs=1e-3)


def test_parts_that_suffice():
    names = ["tail", "wings", "body", "beak", "head"]
    assert funnybirds.sufficient("kite", names).tolist() == [[False] * 4 + [True]]
    assert funnybirds.sufficient("snail", names[:3]).tolist() == np.eye(3, dtype=bool).tolist()


def made_up(label=0, said=0):
    """Three parts and a thing on a grid of 1 x 4; only the first part matters, and suffices."""
    predicted = np.array([5, said] * 4)
    return funnybirds.Parts(
        label, predicted, np.array([3.0, 0.0, -1.0]), np.array([False, True, True, True]),
        np.eye(4)[:, None], np.array([[True, False, False]]),
    )  # fmt: skip


def test_maps_that_are_right_and_wrong():
    right, wrong = np.array([[3.0, 0.0, -1.0, 0.0]]), np.array([[-1.0, 0.0, 3.0, 5.0]])
    both = funnybirds.with_parts([made_up()], right[None], right[None])
    assert {name: float(one[0]) for name, one in both.items()} == {
        **dict.fromkeys(("csdc", "pc", "dc", "distractibility"), 1),
        "sd": pytest.approx(1),
        "threshold": 0.01,
    }
    # Two of three that do not matter are chosen up to 3/7 of the sum, then one.
    found = funnybirds.with_parts([made_up()], wrong[None], wrong[None])
    assert [float(found[name][0]) for name in ("csdc", "pc", "dc", "sd")] == [0, 0, 0, 0]
    assert found["distractibility"] == pytest.approx(2 / 3)
    assert found["threshold"][0] >= 3 / 7
    # A scene that is not recognised is left out of the data check only.
    missed = funnybirds.with_parts([made_up(label=1)], right[None], wrong[None])
    assert np.isnan(missed["csdc"]).all()
    assert (missed["pc"][0], missed["dc"][0]) == (0, 0)


def test_sensitivity_of_scenes_of_two():
    asked = trials.two_objects(2, 0, 96, (12, 12))
    own = funnybirds.with_two(asked, asked.target - asked.opponent, np.array([True, True]))
    assert own.tolist() == [1, 1]
    same = funnybirds.with_two(asked, np.ones((4, 12, 12)), np.array([True, False]))
    np.testing.assert_array_equal(same, [0, np.nan])


def test_the_command_and_its_nulls():
    words = ("bench", "funnybirds", "-n", str(COUNT), "-m", "rollout", "-m", "positive", "-q")
    result = CliRunner().invoke(main, [*words, "-f", "json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["scenes"], found["seed"]) == (COUNT, 0)
    rows = {(one["method"], one["loss"], one["measure"]): one for one in found["scores"]}
    assert {method for method, *_ in rows} == {
        "rollout", "positive", "random map", "centred blob"
    }  # fmt: skip
    assert {one["scenes"] for one in found["scores"]} == {"funnybirds-v1"}
    # Maps that do not depend on the class are not sensitive to it.
    assert rows["rollout", "any", "ts"]["value"] == rows["centred blob", "any", "ts"]["value"] == 0
    for one in found["scores"]:
        assert one["value"] is None or 0 <= one["low"] <= one["value"] <= one["high"] <= 1


def test_what_is_refused(model):
    with pytest.raises(JaxattrError, match="unknown method nonsense; choose from conservative"):
        funnybirds.run(model, methods=["nonsense"])
    with pytest.raises(JaxattrError, match="0 scenes asked for"):
        funnybirds.run(model, count=0)
