"""Methods, metrics and maps of one's own in `bench methods`: by hand, resumed, and refused."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import own
import pytest
from click.testing import CliRunner
from PIL import Image

from jaxattr import losses, metrics, registry
from jaxattr.bench.methods.given import read_maps
from jaxattr.bench.methods.run import run as bench
from jaxattr.bench.perturbation.protocols import protocol
from jaxattr.bench.perturbation.run import run as perturb
from jaxattr.checkpoints import load, native
from jaxattr.cli.common import options
from jaxattr.cli.main import main
from jaxattr.data import images
from jaxattr.data.dataset import index
from jaxattr.errors import DatasetError, JaxattrError, LedgerError
from jaxattr.methods import complete
from jaxattr.metrics import Case, Context, metric
from jaxattr.metrics.context import generator
from jaxattr.metrics.perturbation import perturb as perturb_image
from jaxattr.metrics.perturbation import ranks
from jaxattr.vit import Model, Preprocessing

LABELS = ("red fox", "wolf", "lynx", "brown bear", "beaver")
QUICK = {"methods": ["rollout"], "untrained": [], "measured": ["saco", "sparseness"]}


@pytest.fixture(scope="module")
def world(tiny_model, tmp_path_factory):
    """A folder with a model, six photos, and the script of one's own."""
    folder = tmp_path_factory.mktemp("own")
    model = replace(tiny_model, labels=LABELS, preprocessing=Preprocessing((8, 12)), name="tiny")
    native.save(model, folder / "model.safetensors")
    rng = np.random.default_rng(0)
    for number in range(6):
        path = folder / "photos" / LABELS[number % 3].replace(" ", "_") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 12, 3), np.uint8)).save(path)
    shutil.copy(own.__file__, folder / "own.py")
    return folder


@pytest.fixture(scope="module")
def model(world) -> Model:
    return load(world / "model.safetensors")


@pytest.fixture(scope="module")
def dataset(world):
    return index(world / "photos", LABELS)


@pytest.fixture
def command(world, tmp_path, monkeypatch):
    """`jaxattr bench methods`, in a folder where `own.py` lies."""
    monkeypatch.setattr(options, "prepare_jax", lambda dtype="float32": None)
    shutil.copy(world / "own.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    line = ["bench", "methods", "--model", str(world / "model.safetensors"), "-q"]
    line += ["--images", str(world / "photos"), "--untrained", "none"]
    return lambda *words: CliRunner().invoke(main, [*line, *map(str, words)])


def pick(scores, metric, method, model="trained"):
    (one,) = [one for one in scores if (one[0], *one[3:5]) == (metric, method, model)]
    return one


def by_hand(model, dataset) -> np.ndarray:
    """The method's maps without `jit`, `vmap` or JAX's `where`: an image at a time."""
    ask = jax.jit(lambda model, image: model.forward(image)[0])
    found = []
    for file, class_ in zip(dataset.files, dataset.targets, strict=True):
        image = images.preprocess(dataset.root / file, model.preprocessing)
        whole = ask(model, jnp.asarray(image))[class_]
        map_ = np.zeros(model.config.grid)
        for row, column in np.ndindex(*map_.shape):
            hidden = image.copy()
            hidden[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0
            map_[row, column] = whole - ask(model, jnp.asarray(hidden))[class_]
        found.append(map_)
    return np.stack(found)


def test_the_script_scores_its_method_and_its_metric(world, model, dataset) -> None:
    line = [sys.executable, "own.py", "model.safetensors", "photos", "out"]
    done = subprocess.run(line, cwd=world, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = [one.rsplit(" ", 1) for one in done.stdout.splitlines()]
    values = {name: float(value) for name, value in words}
    maps = by_hand(model, dataset)
    shares = np.abs(maps).max(axis=(1, 2)) / np.abs(maps).sum(axis=(1, 2))
    assert values["peak-v1 occlusion trained"] == pytest.approx(shares.mean(), rel=1e-4)
    score, saco = jax.jit(metrics.saco), []
    for file, class_, map_ in zip(dataset.files, dataset.targets, maps, strict=True):
        image = jnp.asarray(images.preprocess(dataset.root / file, model.preprocessing))
        place = ranks(map_.ravel(), generator(0, file, 1).permutation(6))[0]
        saco.append(float(score(model, image, jnp.float32(map_), jnp.asarray(place), class_)))
    assert values["saco-v1 occlusion trained"] == pytest.approx(np.mean(saco), abs=1e-4)
    assert {name.split(" ", 1)[0] for name in values} == {"peak-v1", "saco-v1"}


def test_the_command_takes_them_by_module_and_name(command, model, dataset) -> None:
    done = command(
        "-m", "own:occlusion", "--metrics", "own:peak", "--metrics", "saco", "-f", "json"
    )
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    values = {(one["metric"], one["method"]): one["value"] for one in content["scores"]}
    maps = by_hand(model, dataset)
    shares = np.abs(maps).max(axis=(1, 2)) / np.abs(maps).sum(axis=(1, 2))
    assert values["peak-v1", "occlusion"] == pytest.approx(shares.mean(), rel=1e-4)
    assert ("saco-v1", "random map") in values


def test_explain_and_compare_take_a_method_and_a_loss(command, world, model, tmp_path) -> None:
    photo = world / "photos" / "wolf" / "1.png"
    image = images.preprocess(photo, model.preprocessing)
    ask = jax.jit(lambda image: model.forward(image)[0] - model.forward(image)[0].mean())
    wanted = np.zeros((2, 3))
    for row, column in np.ndindex(2, 3):
        hidden = image.copy()
        hidden[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0
        wanted[row, column] = (ask(jnp.asarray(image)) - ask(jnp.asarray(hidden)))[2]
    line = [str(photo), "--model", str(world / "model.safetensors"), "-t", "lynx", "-f", "npz"]
    line += ["--loss", "own:above_mean", "-o", "out"]
    for name, words in (("explain", ["--method"]), ("compare", ["-m"])):
        done = CliRunner().invoke(main, [name, *line, *words, "own:occlusion"])
        assert done.exit_code == 0, done.output
        (file,) = (tmp_path / "out").glob("*.npz")
        with np.load(file) as found:
            np.testing.assert_allclose(found["maps"].squeeze(), wanted, atol=1e-5)
            assert str(found["loss"]) == "own:above_mean"
        file.unlink()
    done = CliRunner().invoke(main, ["explain", *line, "--against", "wolf"])
    assert "--loss own:above_mean looks at one class; leave out --against" in done.stderr
    done = CliRunner().invoke(main, ["explain", *line[:-4], "--loss", "sum"])
    assert "'sum' is not one of 'log-odds', 'logit', 'difference'" in done.stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("-m", "own:nothing"), "'own:nothing': own has no function nothing; write its name."),
        (("-m", "nowhere:map"), "nowhere cannot be imported (ModuleNotFoundError"),
        (("-m", "own:peak"), "the method peak failed (TypeError: "),
        (("-m", "own:"), "'own:' names no method; write package.module:function."),
        (("-m", "occlusion"), "'occlusion' is not one of 'cheap', 'all', 'absolute'"),
        (("-m", "roll_out"), "nor package.module:function; did you mean rollout?"),
        (("--metrics", "own:nothing"), "own has no function nothing"),
        (("--metrics", "saca"), "did you mean saco?"),
        (("-m", "rollout", "--metrics", "own:occlusion"), "the metric occlusion failed (TypeError"),
    ],
)
def test_what_is_none_is_told_in_one_line(command, words, part) -> None:
    done = command(*words)
    assert done.exit_code == 2, done.output
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("Error:")]
    assert part in line
    assert "Traceback" not in done.output


def wide(model, image, loss):
    return jnp.zeros(3)


def whole_numbers(model, image, loss):
    return jnp.zeros(model.config.grid, jnp.int32)


def text(model, image, loss):
    return "a map"


@pytest.mark.parametrize(
    ("method", "part"),
    [
        (wide, r"the method wide returned float32 of shape \(3,\); wanted a map .* of \(2, 3\)"),
        (whole_numbers, r"returned int32 of shape \(2, 3\)"),
        (text, "the method text "),
    ],
)
def test_a_method_that_gives_no_map_is_refused_at_once(
    method, part, model, dataset, tmp_path
) -> None:
    with pytest.raises(JaxattrError, match=part):
        bench(model, dataset, tmp_path / "out", methods=[method])
    with pytest.raises(JaxattrError, match=part):
        perturb(model, dataset, tmp_path / "out", protocol("tattr-perturb-v1"), methods=[method])
    assert not (tmp_path / "out").exists()


def same(model, image, loss):
    """The map of another method under a name of one's own."""
    return complete(model, image, loss)


def test_masking_takes_a_method_of_ones_own(model, dataset, tmp_path) -> None:
    asked = protocol("tattr-perturb-v1", explained=("label",))
    result = perturb(model, dataset, tmp_path, asked, methods=[same, "complete"])
    assert result.methods == ("same", "complete", "raw_attention", "random map")
    alone = [one for one in result.scores if not one.against]
    found = {
        name: [one[3:] for one in alone if one.method == name] for name in ("same", "complete")
    }
    assert found["same"] == found["complete"]
    assert len(found["same"]) > 1
    assert "own_methods" in json.loads((tmp_path / "run.json").read_text())


@metric(id="rest-v1", better="lower", heading="faithfulness")
def rest(context: Context) -> np.ndarray:
    """The class's probability with the highest patch masked: a metric that asks the model."""
    return context.each(_rest)


def _rest(model: Model, case: Case) -> jax.Array:
    masked = perturb_image(model, case.image, case.places[:1], (1,), "black")
    return jax.nn.softmax(masked[0, 0])[case.class_]


def test_a_metric_may_ask_the_model_of_each_image(model, dataset, tmp_path) -> None:
    result = bench(
        model, dataset, tmp_path, methods=["complete"], untrained=[], measured=[rest, "saco"]
    )
    assert [one.metric for one in result.scores[::3]] == ["saco-v1", "rest-v1"]
    explain = jax.jit(lambda image, class_: jaxattr_map(model, image, class_))
    found = []
    for file, class_ in zip(dataset.files, dataset.targets, strict=True):
        image = images.preprocess(dataset.root / file, model.preprocessing)
        row, column = divmod(int(np.argmax(explain(jnp.asarray(image), class_))), 3)
        p = model.preprocessing
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = -np.array(p.mean) / p.std
        found.append(float(jax.nn.softmax(model.forward(jnp.asarray(image))[0])[class_]))
    one = pick(result.scores, "rest-v1", "complete")
    assert one.value == pytest.approx(np.mean(found), abs=1e-5)
    assert (one.heading, one.better) == ("faithfulness", "lower")


def jaxattr_map(model, image, class_):
    return complete(model, image, losses.target_logit(class_))


def test_a_metric_that_gives_something_else_is_refused(model, dataset, tmp_path) -> None:
    def one_number(context):
        return 1.0

    with pytest.raises(JaxattrError, match=r"one_number returned .* shape \(\); wanted one score"):
        bench(model, dataset, tmp_path, methods=["rollout"], measured=[one_number])
    with pytest.raises(JaxattrError, match="saco-v1 is a built-in metric; give this one another"):
        bench(model, dataset, tmp_path, measured=[metric(id="saco-v1")(one_number)])


def test_a_changed_function_is_another_run(world, model, dataset, tmp_path, monkeypatch) -> None:
    """The digest is of the source file: method and metric are found changed, and not mixed up."""
    text = Path(own.__file__).read_text()
    monkeypatch.syspath_prepend(tmp_path)

    def written(changed: str):
        (tmp_path / "changing.py").write_text(changed)
        sys.modules.pop("changing", None)
        importlib.invalidate_caches()
        return importlib.import_module("changing")

    first = written(text)
    asked = {"untrained": [], "measured": [first.peak]}
    before = bench(model, dataset, tmp_path / "out", methods=[first.occlusion], **asked)
    receipt = json.loads((tmp_path / "out" / "run.json").read_text())
    digest = registry.digest(first.occlusion)
    assert receipt["own_methods"] == {"occlusion": digest}
    again = bench(model, dataset, tmp_path / "out", methods=[first.occlusion], **asked)
    assert again.scores == before.scores

    second = written(text.replace("size.max(", "2 * size.max(") + "# longer\n")
    assert registry.digest(second.occlusion) != digest
    asked["measured"] = [second.peak]
    with pytest.raises(LedgerError, match=r"holds another run \(different: own_methods\)"):
        bench(model, dataset, tmp_path / "out", methods=[second.occlusion], **asked)
    twice = bench(model, dataset, tmp_path / "other", methods=["rollout"], **asked)
    asked["measured"] = [written(text).peak]
    once = bench(model, dataset, tmp_path / "other", methods=["rollout"], **asked)
    assert [one.value for one in twice.scores] == [2 * one.value for one in once.scores]
    assert len(list((tmp_path / "other" / "scores").glob("peak-v1@*"))) == 2


def test_maps_made_elsewhere_are_scored_as_those_of_a_method(
    command, model, dataset, tmp_path
) -> None:
    explain = jax.jit(lambda image, class_: jaxattr_map(model, image, class_))
    maps = {}
    for file, class_ in zip(dataset.files, dataset.targets, strict=True):
        image = images.preprocess(dataset.root / file, model.preprocessing)
        maps[file] = np.asarray(explain(jnp.asarray(image), class_))
    np.savez(tmp_path / "theirs.npz", **maps)
    pixels = {file: one.repeat(4, axis=0).repeat(4, axis=1) for file, one in maps.items()}
    np.savez(tmp_path / "pixels.npz", **pixels)
    line = ["-m", "complete", "--metrics", "saco", "--metrics", "mprt", "--figure", "all.png"]
    line += ["--maps", "theirs.npz", "--maps", "pixels.npz", "-f"]
    done = command(*line, "json")
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    found = {(one["metric"], one["method"]): one for one in content["scores"]}
    wanted = found["saco-v1", "complete"]
    for name in ("theirs", "pixels"):
        one = found["saco-v1", name]
        assert one["model"] == "given"
        assert one["value"] == pytest.approx(wanted["value"], abs=1e-6)
        assert found["mprt-v1", name]["value"] is None
        assert content["seconds"][name] is None
    assert found["saco-v1", "theirs"]["rank"] == found["saco-v1", "pixels"]["rank"] > 0
    assert "theirs    given" in command(*line, "table").stdout
    assert ",given," in command(*line, "csv").stdout
    np.savez(tmp_path / "theirs.npz", **{file: -one for file, one in maps.items()})
    assert "different: own_methods" in command(*line, "json").stderr


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (
            lambda maps, file: maps.pop(file),
            "theirs: no map for 1 of 6 images, such as 'lynx",
        ),
        (lambda maps, file: maps.clear(), "theirs: no map for 6 of 6 images.*it is empty"),
        (lambda maps, file: maps.update({file: np.zeros((3, 2))}), r"shape \(3, 2\); wanted num"),
        (lambda maps, file: maps.update({file: np.zeros((2, 3), complex)}), "is complex128"),
        (lambda maps, file: maps.update({file: np.full((2, 3), np.nan)}), "holds NaN or infinity"),
    ],
)
def test_maps_that_do_not_fit_are_refused(change, part, model, dataset, tmp_path) -> None:
    maps = {file: np.ones((2, 3)) for file in dataset.files}
    change(maps, dataset.files[0])
    with pytest.raises(DatasetError, match=part):
        bench(model, dataset, tmp_path / "out", maps={"theirs": maps}, **QUICK)
    assert not (tmp_path / "out").exists()


def test_files_that_hold_no_maps_are_refused(model, dataset, tmp_path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "objects.npz", a=np.array([None]))
    (tmp_path / "text.npz").write_text("no archive")
    for name, part in (
        ("one.npy", "holds one array; write an .npz"),
        ("objects.npz", "cannot be read"),
        ("text.npz", "cannot be read"),
        ("missing.npz", "cannot be read"),
    ):
        with pytest.raises(DatasetError, match=part) as caught:
            read_maps(tmp_path / name)
        assert "\n" not in str(caught.value)
    maps = {file: np.ones((2, 3)) for file in dataset.files}
    with pytest.raises(JaxattrError, match="rollout: maps and a method of one name; rename"):
        bench(model, dataset, tmp_path, maps={"rollout": maps}, **QUICK)
