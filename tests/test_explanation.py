"""`jaxattr.explain` against the method by hand; every kind of image, class, loss; its pictures."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.special import expit, softmax

import jaxattr
from jaxattr import losses
from jaxattr.data.images import preprocess
from jaxattr.errors import ImageError, JaxattrError, LabelError
from jaxattr.methods import METHODS
from jaxattr.methods.views import averaged, chosen
from jaxattr.vit import Preprocessing

LABELS = (
    "n02119789 kit fox, Vulpes macrotis",
    "n02114367 timber wolf, grey wolf",
    "n02127052 lynx, catamount",
    "n02132136 brown bear, bruin",
    "n02363005 beaver",
)


@pytest.fixture(scope="module")
def model(tiny_model):
    return replace(tiny_model, labels=LABELS, preprocessing=Preprocessing((8, 12)), name="tiny")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A photo whose camera lay on its side."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path_factory.mktemp("photos") / "fox & wolf.png"
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def by_hand(model, path, loss, method="conservative"):
    image = jnp.asarray(preprocess(path, model.preprocessing))
    return np.asarray(jax.jit(METHODS[method].function)(model, image, loss))


def logits_of(model, path):
    return np.asarray(model.forward(jnp.asarray(preprocess(path, model.preprocessing)))[0])


def test_the_default_is_the_predicted_class_against_all_others(model, path) -> None:
    seen = jaxattr.explain(model, path)
    logits = logits_of(model, path)
    assert seen.target == logits.argmax()
    assert (seen.against, seen.loss, seen.method) == (None, "log-odds", "conservative")
    np.testing.assert_allclose(seen.logits, logits, rtol=1e-5)
    assert seen.probabilities is not None
    np.testing.assert_allclose(seen.probabilities, softmax(logits), rtol=1e-5)
    expected = by_hand(model, path, losses.log_odds(seen.target))
    np.testing.assert_allclose(seen.map, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["complete", "attn_lrp", "rollout", "saliency"])
def test_a_method_by_name_row_and_function(model, path, name) -> None:
    given = (name, METHODS[name], METHODS[name].function)
    seen = [jaxattr.explain(model, path, 3, method=one) for one in given]
    expected = by_hand(model, path, losses.log_odds(3), name)
    for one in seen:
        assert (one.method, one.signed) == (name, METHODS[name].signed)
        np.testing.assert_allclose(one.map, expected, rtol=1e-4, atol=1e-5 * expected.max())


def test_a_class_by_index_label_wnid_and_synonym(model, path) -> None:
    names = (1, np.int32(1), "1", LABELS[1], "n02114367", "Grey Wolf", "timber_wolf")
    seen = [jaxattr.explain(model, path, name, against="beaver") for name in names]
    assert {(one.target, one.against) for one in seen} == {(1, 4)}
    for one in seen[1:]:
        np.testing.assert_array_equal(one.map, seen[0].map)
    expected = by_hand(model, path, losses.difference(1, 4))
    np.testing.assert_allclose(seen[0].map, expected, rtol=1e-4, atol=1e-5 * expected.max())
    assert seen[0].title == "timber wolf against beaver"


def test_the_rival_is_the_strongest_other(model, path) -> None:
    first, second = (-logits_of(model, path)).argsort()[:2]
    assert jaxattr.explain(model, path, against="rival").against == second
    assert jaxattr.explain(model, path, int(second), against="Rival").against == first


@pytest.mark.parametrize(
    ("name", "pair", "loss"),
    [
        ("logit", None, losses.target_logit(2)),
        ("log-odds", None, losses.log_odds(2)),
        ("difference", 0, losses.difference(2, 0)),
        ("relative", 0, losses.relative_difference(2, 0)),
        ("ratio", 0, losses.ratio(2, 0)),
    ],
)
def test_losses_by_name_and_ones_own(model, path, name, pair, loss) -> None:
    seen = jaxattr.explain(model, path, 2, against=pair, loss=name, method="complete")
    own = jaxattr.explain(model, path, loss=loss, method="complete")
    np.testing.assert_array_equal(seen.map, own.map)
    assert seen.loss == name
    assert own.target == seen.logits.argmax()


def test_a_loss_and_a_method_of_ones_own(model, path) -> None:
    def wolves(logits):
        return logits[1] - logits[0] * 0.5

    def pixels(model, image, loss):
        gradient = jax.grad(lambda one: loss(model.forward(one)[0]))(image)
        return gradient.reshape(2, 4, 3, 4, 3).sum(axis=(1, 3, 4))

    seen = jaxattr.explain(model, path, loss=wolves, method=pixels)
    image = jnp.asarray(preprocess(path, model.preprocessing))
    expected = np.asarray(pixels(model, image, wolves))
    np.testing.assert_allclose(seen.map, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert (seen.loss, seen.method, seen.signed) == ("wolves", "pixels", True)
    assert seen.panel().positive == "raises wolves"
    # A weighted loss is of no one class, and equals its function.
    weights = np.array([-0.5, 1, 0, 0, 0], np.float32)
    again = jaxattr.explain(model, path, loss=losses.weighted(weights), method=pixels)
    np.testing.assert_allclose(seen.map, again.map, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_every_kind_of_image_is_the_same_image(model, path) -> None:
    upright = np.asarray(Image.open(path).transpose(Image.Transpose.ROTATE_270))
    array = preprocess(path, model.preprocessing)
    given = (str(path), Image.open(path), upright, jnp.asarray(upright), array, jnp.asarray(array))
    seen = [jaxattr.explain(model, one) for one in given]
    for one in seen:
        np.testing.assert_array_equal(one.map, seen[0].map)
        np.testing.assert_array_equal(one.logits, seen[0].logits)
    assert [one.name for one in seen] == ["fox & wolf.png"] * 2 + ["image"] * 4
    np.testing.assert_array_equal(seen[0].photo, seen[2].photo)
    # Of a normalised array no more is known than the model's own pixels.
    assert seen[4].photo.shape == (8, 12, 3)


def test_grey_pixels(model) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (16, 24), np.uint8)
    colours = np.repeat(grey[..., None], 3, axis=-1)
    seen = [jaxattr.explain(model, one).map for one in (grey, grey[..., None], colours)]
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])


def test_views(model, path) -> None:
    seen = jaxattr.explain(model, path, 0, method="complete", views=4)
    function = averaged(METHODS["complete"].function, chosen(model.config, 4))
    image = jnp.asarray(preprocess(path, model.preprocessing))
    expected = np.asarray(jax.jit(function)(model, image, losses.log_odds(0)))
    np.testing.assert_allclose(seen.map, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert "mean of 4 views" in seen.caption().footer


def test_heads_without_a_softmax(model, path) -> None:
    config = replace(model.config, problem="multi_label")
    several = jaxattr.explain(replace(model, config=config), path, 1)
    assert several.loss == "logit"
    assert several.probabilities is not None
    np.testing.assert_allclose(several.probabilities, expit(several.logits), rtol=1e-6)
    values = replace(model, config=replace(model.config, problem="regression"))
    value = jaxattr.explain(values, path, 1)
    assert (value.loss, value.probabilities) == ("logit", None)
    assert "value" in value.panel().detail
    with pytest.raises(JaxattrError, match="regression"):
        jaxattr.explain(values, path, 1, loss="log-odds")


def test_what_is_compiled_serves_every_class_and_image(model, path) -> None:
    traced = []

    def counted(model, image, loss):
        traced.append(loss)
        return METHODS["complete"].function(model, image, loss)

    for class_ in range(3):
        jaxattr.explain(model, path, class_, method=counted)
    jaxattr.explain(model, np.zeros((8, 12, 3), np.uint8), 4, method=counted)
    assert len(traced) == 1


def test_the_figure_and_the_notebooks_picture(model, path, tmp_path) -> None:
    seen = jaxattr.explain(model, path, "beaver")
    page = seen._repr_html_()
    found = re.fullmatch(
        r'<img alt="([^"<>]*)" style="[^"]*" src="data:image/png;base64,(.*)">', page
    )
    assert found is not None
    assert found[1] == "fox &amp; wolf.png: beaver"
    picture = Image.open(io.BytesIO(base64.b64decode(found[2], validate=True)))
    picture.load()
    seen.save(tmp_path / "seen.png")
    saved = Image.open(tmp_path / "seen.png")
    assert picture.size == saved.size
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(saved))
    photo, overlay = seen.plot(palette="paper", smooth=False).axes[:2]
    np.testing.assert_array_equal(photo.images[0].get_array(), seen.photo)
    assert any("beaver" in text.get_text() for text in overlay.texts)


def test_upsampled_maps(model, path) -> None:
    seen = jaxattr.explain(model, path)
    assert seen.upsample().shape == seen.photo.shape[:2]
    blocks = np.kron(seen.map, np.ones((4, 4)))
    np.testing.assert_allclose(seen.upsample((8, 12), smooth=False), blocks, rtol=1e-6)


def test_said_in_one_line(model, path) -> None:
    text = repr(jaxattr.explain(model, path, 0, against=1))
    assert text == (
        "Explanation('fox & wolf.png': kit fox against timber wolf, loss difference, method "
        "conservative, 2 x 3 patches)"
    )
    text = repr(model)
    assert text == "Model('tiny', layers=3, hidden=12, heads=2, patch=4x4, image=8x12, classes=5)"


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"target": "fox"}, LabelError, "unknown class 'fox'"),
        ({"target": 5}, LabelError, "not between 0 and 4"),
        ({"target": 1, "against": "grey wolf"}, JaxattrError, "the same class, timber wolf"),
        ({"loss": "ratio"}, JaxattrError, "give against"),
        ({"loss": "logit", "against": 1, "target": 0}, JaxattrError, "leave out against"),
        ({"loss": "margin"}, JaxattrError, "unknown loss margin; choose from log-odds"),
        ({"loss": lambda logits: logits[0], "target": 1}, JaxattrError, "leave out target"),
        ({"method": "completed"}, JaxattrError, "unknown method completed"),
        ({"views": 0}, JaxattrError, "0 views"),
        ({"image": "no/such.png"}, ImageError, "no such image file"),
        ({"image": np.zeros((8, 12, 4), np.uint8)}, ImageError, r"shape \(8, 12, 4\)"),
        ({"image": np.zeros((4, 12, 3), np.float32)}, ImageError, r"shape \(4, 12, 3\)"),
        ({"image": np.zeros((8, 12, 3), np.int32)}, ImageError, "type int32"),
        ({"image": Image.new("F", (8, 8))}, ImageError, "32-bit"),
    ],
)
def test_errors_are_one_line(model, path, asked, error, words) -> None:
    image = asked.pop("image") if "image" in asked else path
    with pytest.raises(error, match=words) as raised:
        jaxattr.explain(model, image, **asked)
    assert "\n" not in str(raised.value)


def test_a_model_is_saved_and_loaded_again(model, path, tmp_path) -> None:
    for place in (tmp_path / "made" / "here", tmp_path / "one.safetensors"):
        jaxattr.save(model, place)
        again = jaxattr.load(place)
        assert (again.labels, again.config) == (model.labels, model.config)
        np.testing.assert_array_equal(
            jaxattr.explain(again, path).map, jaxattr.explain(model, path).map
        )
