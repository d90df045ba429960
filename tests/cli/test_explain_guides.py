"""`jaxattr explain --guide` and `--details`: numbers against the library, pictures, bad input."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from seen import Seen, values

from jaxattr import scenes
from jaxattr.checkpoints import load, native
from jaxattr.cli.common import options
from jaxattr.cli.main import main
from jaxattr.data import images
from jaxattr.experiments import guides
from jaxattr.experiments.details import details
from jaxattr.experiments.guidance import guided
from jaxattr.plot import figures
from jaxattr.vit import Preprocessing, initialize


@pytest.fixture(scope="module")
def model(tiny_config):
    """One layer, and the classes of the scenes, so that guides can be drawn for it."""
    config = replace(tiny_config, image_size=(16, 16), patch_size=(8, 8), layers=1, classes=12)
    preprocessing = Preprocessing((16, 16))
    made = initialize(config, jax.random.key(5), labels=scenes.CLASSES, preprocessing=preprocessing)
    louder = jax.tree.map(lambda leaf: (leaf + 0.01) * 9 if leaf.ndim > 1 else leaf, made)
    return replace(louder, name="tiny")


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """Two model files, the second without known classes; photos; a folder of labelled guides."""
    folder = tmp_path_factory.mktemp("guides")
    native.save(model, folder / "scenes.safetensors")
    plain = replace(model, labels=tuple(f"thing {i}" for i in range(12)))
    native.save(plain, folder / "plain.safetensors")
    random = np.random.default_rng(2)
    for number in range(24):
        pixels = random.integers(0, 256, (16, 16, 3), np.uint8)
        logits = forward(model, images.normalize(pixels, model.preprocessing))
        # Half of the guides lie where the model itself would put them, so that they can guide.
        class_ = int(logits.argmax()) if number < 12 else number - 12
        path = folder / "bank" / f"thing {class_}" / f"g{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    for number in range(2):
        Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)).save(
            folder / f"p{number}.png"
        )
    return folder


@pytest.fixture
def run(files, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "prepare_jax", lambda dtype="float32": None)
    monkeypatch.setattr(guides, "CONFIDENCE", 0.0)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model="scenes"):
        words = ["explain", "--model", str(files / f"{model}.safetensors"), "-q", "-o", "out"]
        return CliRunner().invoke(main, [*words, *map(str, arguments)])

    return run


def one_line(result, *words):
    """The command failed with one line that holds the words, and wrote nothing."""
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("Error: ")
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in line, line


@jax.jit
def forward(model, image):
    return model.forward(image)[0]


def answer(model, path):
    image = images.preprocess(path, model.preprocessing)
    return image, np.asarray(forward(model, image))


def test_a_guide_file_is_the_librarys_map(run, files, model):
    photo, guide = files / "p0.png", files / "p1.png"
    (image, logits), (beside, other) = answer(model, photo), answer(model, guide)
    against = int(other.argmax())
    target = next(int(one) for one in np.argsort(-logits) if one != against)
    result = run(photo, "-t", target, "--guide", guide, "-f", "json", "-f", "png")
    assert result.exit_code == 0, result.stderr
    found = json.loads(Path("out/p0.json").read_text())
    assert (found["classes"], found["against"], found["loss"]) == (
        [target],
        [against],
        "difference",
    )
    assert found["guide_names"] == [["p1.png"]]
    expected = jax.jit(guided)(model, image, beside[None], target, jnp.array([against]))
    scale = np.abs(expected.mean).max()
    np.testing.assert_allclose(found["maps"][0], expected.mean, atol=1e-4 * scale)
    np.testing.assert_allclose(found["guide_logits"][0], expected.logits, rtol=1e-3, atol=1e-4)
    assert not np.any(found["spread"])
    name = scenes.CLASSES[target].replace(" ", "_")
    with Image.open(f"out/p0-{name}-guided.png") as picture:
        assert picture.width > 1500  # photo, alone, canvas, own part


def test_drawn_guides_and_their_spread(run, monkeypatch):
    """The embedded model, because a guide must be recognised."""
    monkeypatch.setattr(guides, "CONFIDENCE", 0.5)
    model = load("scenes")
    Image.fromarray(scenes.draw((1, 2), ["zebra"], difficulty=0.0).image).save("zebra.png")
    words = ["zebra.png", "-t", "zebra", "--guide", "auto", "--guides", "3", "-f", "npz"]
    result = CliRunner().invoke(main, ["explain", *words, "-q", "-o", "out"])
    assert result.exit_code == 0, result.output
    with np.load("out/zebra.npz") as found:
        content = dict(found)
    assert re.search(r"zebra beside .*\(drawn\).*: spread / mean = \d", result.stdout)
    maps = content["guide_maps"]
    assert maps.shape == (1, 3, 12, 12)
    scale = np.abs(maps).max()
    np.testing.assert_allclose(content["maps"], maps.mean(axis=1), atol=1e-5 * scale)
    np.testing.assert_allclose(content["spread"], maps.std(axis=1), atol=1e-5 * scale)
    allowed = guides.far(guides.similarity(model), content["logits"], content["classes"].item())
    assert allowed[content["guide_classes"]].all()
    horse = model.labels.index("horse")
    assert not allowed[horse]  # the twin
    assert len(set(content["guide_classes"][0].tolist())) == 3


def test_a_folder_of_guides_and_the_class_asked_for(run, files, model):
    bank = files / "bank"
    logits = answer(model, files / "p0.png")[1]
    recognised = {
        path.parent.name
        for path in bank.glob("*/*.png")
        if path.parent.name == f"thing {answer(model, path)[1].argmax()}"
    }
    target = int(logits.argmax())
    class_ = sorted(recognised - {f"thing {target}"})[0]
    words = ("-t", target, "--guide-images", bank, "-f", "json")
    result = run(files / "p0.png", *words, "--guide", class_, model="plain")
    if result.exit_code == 0:
        found = json.loads(Path("out/p0.json").read_text())
        assert found["labels"][found["against"][0]] == class_
        (name,) = found["guide_names"][0]
        assert (bank / class_ / name).is_file()
    else:  # the guide itself shows the target
        one_line(result, "can guide")
    one_line(run(files / "p0.png", *words, "--guide", f"thing {target}", model="plain"), "thing")
    result = run(files / "p0.png", *words, "--guide", "auto", "--guides", 100, model="plain")
    one_line(result, "100 guides asked for", "p0.png")


def test_details_are_all_pairs_in_one_picture(run, files, model):
    result = run(files / "p0.png", "-t", "cat", "--details", 3, "-f", "json", "-f", "png")
    assert result.exit_code == 0, result.stderr
    image, logits = answer(model, files / "p0.png")
    cat = scenes.CLASSES.index("cat")
    classes = list(dict.fromkeys([cat, *np.argsort(-logits).tolist()]))[:3]
    expected = jax.jit(details)(model, image, jnp.array(classes))
    found = json.loads(Path("out/p0.json").read_text())
    assert found["classes"] == expected.first.tolist()
    assert found["against"] == expected.second.tolist()
    np.testing.assert_allclose(
        found["maps"], expected.maps, atol=1e-4 * np.abs(expected.maps).max()
    )
    assert sorted(path.name for path in Path("out").iterdir()) == ["p0-details.png", "p0.json"]
    with Image.open("out/p0-details.png") as picture:
        assert picture.height > 6 * 400  # a row per pair


def test_losses_that_do_not_guide_are_told(run, files, model):
    logits = answer(model, files / "p0.png")[1]
    first, second = (int(one) for one in np.argsort(logits)[:2])
    assert logits[first] < 0
    words = ("-t", first, "-t", second, "--details", 2, "--loss", "relative", "-f", "json")
    result = run(files / "p0.png", *words)
    assert result.exit_code == 0
    assert result.stderr.count("not both positive") == 1  # said once for both directions
    # The guide's class must not be the target's.
    guide = int(answer(model, files / "p1.png")[1].argmax())
    first = first if first != guide else second
    words = ("-t", first, "--loss", "ratio", "-f", "json", "--guide", files / "p1.png")
    result = run(files / "p0.png", *words)
    assert result.exit_code == 0, result.stderr
    (canvas,) = json.loads(Path("out/p0.json").read_text())["guide_logits"][0]
    guiding = canvas[first] > 0 and canvas[guide] > 0
    assert ("beside 1 of 1 guides" in result.stderr) != guiding


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--guide", "auto", "--details", "2"], "give one of them"),
        (["--guide", "auto", "--against", "cat"], "leave out --against"),
        (["--details", "2", "--against", "cat"], "leave out --against"),
        (["--guides", "4"], "add --guide auto"),
        (["--guide-images", "scenes"], "--guide and --details"),
        (["--guide", "auto", "--guides", "0"], "--guides"),
        (["--details", "1"], "--details"),
        (["--details", "13"], "more than the model's 12 classes"),
        (["--details", "2", "-t", "top3"], "write --details 3"),
        (["--details", "2", "--loss", "logit"], "leave out --details or --loss"),
        (["--guide", "missing.png"], "missing.png: no such image file"),
        (["--guide", "dolphin"], "unknown class 'dolphin'"),
        (["-t", "cat", "--guide", "cat"], "the class to explain"),
        (["--guide", "auto", "--guide-images", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_wrong_words(run, files, words, message):
    one_line(run(files / "p0.png", *words), message)


def test_what_needs_a_folder_or_one_guide(run, files):
    one_line(run(files / "p0.png", "--guide", "auto", model="plain"), "add --guide-images DIR")
    result = run(files / "p0.png", "--guide", "auto", "--guide-images", "scenes", model="plain")
    one_line(result, "does not know the classes of the scenes")
    guide = ("--guide", files / "p1.png", "--guides", 2)
    one_line(run(files / "p0.png", *guide), "is one image")
    shutil.copy(files / "p0.png", "same.png")
    one_line(run(files / "p0.png", "--guide", "same.png"), "choose another --guide")


@pytest.fixture
def drawn(monkeypatch):
    """The figures that a command draws, as they are written."""
    found, encode = [], figures.encode

    def keep(figure, format):
        found.append(figure)
        return encode(figure, format)

    monkeypatch.setattr(figures, "encode", keep)
    return found


PLAIN = ("--alpha", 0, "--patches", "-f", "png", "-f", "json")


def test_the_sheet_of_pairs_shows_each_pairs_map_logits_and_typical_image(run, files, drawn):
    words = ("-t", "cat", "--details", 2, "--guide-images", files / "bank")
    result = run(files / "p0.png", "-t", "thing 1", *words[2:], *PLAIN, model="plain")
    assert result.exit_code == 0, result.stderr
    content = json.loads(Path("out/p0.json").read_text())
    seen = Seen(drawn[0])
    cells = {seen.words(axis)[0][0]: axis for axis in seen.pictures()}
    limit = np.abs(content["maps"]).max()
    for first, second, one in zip(
        content["classes"], content["against"], content["maps"], strict=True
    ):
        axis = cells[f"thing {first} against thing {second}"]
        np.testing.assert_allclose(
            values(seen.cells(axis, 2, 2), "diverging"), np.array(one) / limit, atol=0.02
        )
        logits = content["logits"]
        said = f"logits {logits[first]:.2f}, {logits[second]:.2f}"
        assert seen.words(axis)[1][0].startswith(said)
        legend = [(sign, text) for sign, _, text in seen.legend(axis)]
        assert legend == [("+", f"for thing {first}"), ("−", f"for thing {second}")]
        beside = [one for one, box in ((a, a.get_window_extent()) for a in seen.pictures())
                  if abs(box.y0 - axis.get_window_extent().y0) < 3]  # fmt: skip
        titles = [seen.words(one)[0][0] for one in beside]
        assert titles[2:] in ([], [f"typical thing {second}"])


def test_the_sheet_of_guides_shows_each_map_under_its_own_words(run, files, drawn):
    result = run(files / "p0.png", "-t", "cat", "--guide", "zebra", "--guides", 3, *PLAIN)
    assert result.exit_code == 0, result.stderr
    content = json.loads(Path("out/p0.json").read_text())
    seen = Seen(drawn[0])
    cells = {seen.words(axis)[0][0]: axis for axis in seen.pictures()}
    own = np.abs(content["maps"][0]).max(), np.abs(content["spread"][0]).max()
    wanted = {
        "cat, no guide": (content["unguided"][0], None, "diverging"),
        "Mean of 3 guides": (content["maps"][0], max(own), "diverging"),
        "Spread": (content["spread"][0], max(own), "sequential"),
    }
    for title, (one, limit, palette) in wanted.items():
        found = values(seen.cells(cells[title], 2, 2), palette)
        limit = limit or np.abs(one).max()
        np.testing.assert_allclose(found, np.array(one) / limit, atol=0.02)
    legends = {title: [text for *_, text in seen.legend(axis)] for title, axis in cells.items()}
    assert legends["cat, no guide"] == ["for cat", "against cat"]
    assert legends["Mean of 3 guides"] == ["for cat", "for zebra"]
    assert legends["Spread"] == ["standard deviation over guides"]
    assert legends["cat beside zebra"] == ["for cat", "for zebra"]
    canvas = seen.cells(cells["cat beside zebra"], 2, 2)
    assert not np.allclose(values(canvas, "diverging"), np.abs(values(canvas, "diverging")))
