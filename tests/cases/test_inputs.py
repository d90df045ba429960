"""What the library is given is checked where it enters: one clear error, at trace time too."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import jaxattr
from jaxattr import losses, metrics
from jaxattr.experiments.details import details
from jaxattr.experiments.guidance import guided
from jaxattr.experiments.rewrite import Limits, rewrite
from jaxattr.experiments.transfer import schedule, transfer
from jaxattr.methods import METHODS
from jaxattr.vit import ViTConfig

SIZES: dict[str, Any] = {"hidden_size": 12, "layers": 1, "heads": 2, "mlp_size": 20, "classes": 5}
CONFIG = ViTConfig((8, 12), (4, 4), **SIZES)


@pytest.fixture(scope="module")
def model():
    """One layer, whose attention is far from uniform."""
    made = jaxattr.initialize(CONFIG, jax.random.key(0), labels=tuple("abcde"))
    return jax.tree.map(lambda leaf: (leaf + 0.01) * 12 if leaf.ndim > 1 else leaf, made)


@pytest.fixture(scope="module")
def image():
    return jax.random.normal(jax.random.key(1), (8, 12, 3))


@pytest.fixture(autouse=True)
def unchecked():
    """Without the type checks of these tests, which users do not have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


LOSSES = {
    "target_logit": losses.target_logit,
    "difference": lambda class_: losses.difference(0, class_),
    "relative_difference": lambda class_: losses.relative_difference(class_, 0),
    "ratio": lambda class_: losses.ratio(0, class_),
    "against_rest": losses.against_rest,
    "log_probability": losses.log_probability,
    "log_sigmoid": losses.log_sigmoid,
}
OUTSIDE = (5, -1, 5000, np.int64(-6), np.array(5, np.uint8), 2**40)
NO_INDEX = (1.0, True, "1", None, np.float32(1), jnp.float32(1), [1, "a"], np.bool_(True), b"1")


@pytest.mark.parametrize("name", LOSSES)
def test_a_class_that_is_not_there(name) -> None:
    """Concrete: an error that says what there is. Traced: NaN, also in the gradient."""
    logits = jnp.asarray([2.0, -1.0, 0.5, -3.0, 1.0])
    for class_ in OUTSIDE:
        with pytest.raises(jaxattr.LabelError):
            LOSSES[name](class_)(logits)
    with pytest.raises(jaxattr.LabelError, match="class index 5 is not one of the model's 5"):
        jax.jit(lambda logits: LOSSES[name](5)(logits))(logits)
    value = jax.jit(jax.value_and_grad(lambda logits, loss: loss(logits)))
    for class_ in (5, -1, 5000):
        found, slope = value(logits, LOSSES[name](class_))
        assert np.isnan(found)
        assert np.isnan(slope).any()
    found, slope = value(logits, LOSSES[name](4))
    assert np.isfinite(found)
    assert np.isfinite(slope).all()
    many = jax.vmap(lambda class_: LOSSES[name](class_)(logits))(jnp.array([4, 5, -1]))
    assert np.isnan(many).tolist() == [False, True, True]


@pytest.mark.parametrize("given", NO_INDEX, ids=repr)
def test_what_is_no_class_index(given) -> None:
    for build in LOSSES.values():
        with pytest.raises(jaxattr.LabelError, match="class index"):
            build(given)


def test_several_classes_in_one_loss_are_for_vmap() -> None:
    logits, classes = jnp.arange(5.0), jnp.arange(3)
    for loss in (losses.target_logit(classes), losses.difference(0, classes)):
        with pytest.raises(jaxattr.JaxattrError, match=r"array of shape \(3,\), .* `jax.vmap`"):
            loss(logits)
        found = jax.vmap(lambda one: one(logits))(losses.target_logit(classes))
        np.testing.assert_array_equal(found, classes)


def test_weights_of_another_length() -> None:
    for count in (4, 6, 1):
        with pytest.raises(jaxattr.JaxattrError, match="weighted"):
            losses.weighted(jnp.ones(count))(jnp.ones(5))


def test_a_loss_out_of_range_gives_nan_maps(model, image) -> None:
    """Under `jit`, whatever the method, never another class's map."""
    cheap = ("complete", "positive", "grad_cam", "lrp", "saliency", "legrad", "input_x_gradient")

    @jax.jit
    def maps(loss):
        return [METHODS[name].function(model, image, loss) for name in cheap]

    for class_ in (5, -1):
        for name, found in zip(cheap, maps(losses.target_logit(class_)), strict=True):
            assert np.isnan(found).any(), name
    assert all(np.isfinite(found).all() for found in maps(losses.target_logit(4)))


def test_whatever_takes_a_class(model, image) -> None:
    """An error before anything is computed."""
    pixels = np.zeros((8, 12, 3), np.uint8)
    places = jnp.arange(6, dtype=jnp.int32)
    logit = losses.target_logit
    asked = {
        "complete": lambda c: jax.eval_shape(METHODS["complete"].function, model, image, logit(c)),
        "details": lambda c: details(model, image, [0, c]),
        "guided": lambda c: guided(model, image, image[None], 0, jnp.array([c])),
        "guided, target": lambda c: guided(model, image, image[None], c, jnp.array([0])),
        "rewrite": lambda c: rewrite(model, pixels, c, steps=1),
        "rewrite, loss": lambda c: rewrite(model, pixels, 0, loss=losses.difference(c, 0)),
        "transfer": lambda c: transfer(model, image, logit(c), schedule(1, 1)),
        "transfer, shown": lambda c: transfer(
            model, image, logit(0), schedule(1, 1), explain=logit(np.array([0, c]))
        ),
        "deletion": lambda c: metrics.deletion(model, image, places, c),
        "insertion": lambda c: metrics.insertion(model, image, places, c),
    }
    for name, ask in asked.items():
        if name == "complete":
            with pytest.raises(jaxattr.LabelError):
                METHODS[name].function(model, image, logit(5))
            continue
        for class_ in (5, -1):
            with pytest.raises(jaxattr.LabelError, match="not one of the model's 5 outputs"):
                ask(class_)


BAD_IMAGES = {
    "raw pixels": (lambda image: jnp.ones((8, 12, 3), jnp.uint8), "type uint8.*normalised"),
    "whole numbers": (lambda image: np.ones((8, 12, 3), np.int32), "type int32"),
    "a truth value each": (lambda image: np.ones((8, 12, 3), bool), "type bool"),
    "a batch": (lambda image: image[None], "a batch.*over_images"),
    "channels first": (lambda image: image.transpose(2, 0, 1), "put the channels last"),
    "no channels": (lambda image: image[..., 0], r"needs \(8, 12, 3\)"),
    "another size": (lambda image: image[:4], r"needs \(8, 12, 3\)"),
    "a list": (lambda image: image.tolist(), "image is a list"),
    "complex numbers": (lambda image: image.astype(jnp.complex64), "type complex64"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_an_image_of_another_kind(model, image, kind) -> None:
    """By shape and type, so that it is an error at trace time, too."""
    make, words = BAD_IMAGES[kind]
    bad, loss = make(image), losses.target_logit(0)
    for function in (jaxattr.predict, jaxattr.forward):
        with pytest.raises(jaxattr.ImageError, match=words):
            function(model, bad)
    if kind != "a list":
        with pytest.raises(jaxattr.ImageError, match=words):
            jax.jit(jaxattr.forward)(model, bad)
    for name in METHODS:
        with pytest.raises(jaxattr.ImageError, match=words):
            METHODS[name].function(model, bad, loss)


def test_an_image_of_other_values(model, image) -> None:
    """Seen outside `jit` only; inside, NaN stays NaN."""
    nothing = image.at[0, 0, 0].set(jnp.nan)
    for bad, words in ((nothing, "nan"), (image * 200, "a normalised image does not")):
        with pytest.raises(jaxattr.ImageError, match=words):
            jaxattr.predict(model, bad)
    assert np.isnan(jax.jit(jaxattr.predict)(model, image.at[0, 0, 0].set(jnp.nan))).all()
    raw = replace(
        model, preprocessing=jaxattr.Preprocessing(None, rescale=1, mean=(0,) * 3, std=(1,) * 3)
    )
    assert np.isfinite(jaxattr.predict(raw, jnp.full((8, 12, 3), 255.0))).all()


def test_pixels_to_rewrite(model, image) -> None:
    with pytest.raises(jaxattr.ImageError, match="uint8"):
        rewrite(model, image, 0, limits=Limits(linf=1))


TAPS = {
    "layers": (jaxattr.Taps(attention=jnp.zeros((2, 2, 7, 7))), "leading axis of 2"),
    "a wrong shape": (jaxattr.Taps(attention=jnp.zeros((1, 2, 7, 6))), "attention has shape"),
    "one that would broadcast": (jaxattr.Taps(hidden=jnp.zeros((1, 1, 12))), "hidden has shape"),
    "no taps": ({"attention": 0}, "taps are a dict"),
}


@pytest.mark.parametrize("kind", TAPS)
def test_taps(model, image, kind) -> None:
    taps, words = TAPS[kind]
    for name in ("add", "replace"):
        with pytest.raises(jaxattr.JaxattrError, match=words):
            jaxattr.forward(model, image, **{name: taps})


BAD_CONFIGS = [
    ({"image_size": 64}, "image_size is 64"),
    ({"image_size": (64, 64, 3)}, "image_size is"),
    ({"image_size": (9, 12)}, "image size 9 x 12 is not a multiple of the patch size 4 x 4"),
    ({"patch_size": (4, 0)}, "patch_size"),
    ({"patch_size": "4"}, "patch_size"),
    ({"hidden_size": 12.0}, r"hidden_size is 12\.0"),
    ({"hidden_size": -12}, "hidden_size"),
    ({"heads": 5}, "hidden_size 12 is not a multiple"),
    ({"heads": True}, "heads is True"),
    ({"layers": 0}, "layers is 0"),
    ({"mlp_size": None}, "mlp_size"),
    ({"classes": 0}, "classes is 0"),
    ({"channels": 0}, "channels"),
    ({"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon"),
    ({"layer_norm_epsilon": -1e-6}, "layer_norm_epsilon"),
    ({"layer_norm_epsilon": "1e-6"}, "layer_norm_epsilon"),
    ({"activation": "swish"}, "activation is 'swish'; wanted one of gelu"),
    ({"pooling": "max"}, "pooling is 'max'"),
    ({"class_token": False}, "class_token is False"),
    ({"problem": "ranking"}, "problem is 'ranking'; wanted one of single_label"),
    ({"dtype": "int8"}, "dtype is 'int8'"),
    ({"dtype": "float"}, None),
    ({"qkv_bias": "no"}, "qkv_bias"),
]


@pytest.mark.parametrize(("changes", "words"), BAD_CONFIGS, ids=str)
def test_configurations(changes, words) -> None:
    given = {"image_size": (8, 12), "patch_size": (4, 4), **SIZES, **changes}
    if words is None:
        assert ViTConfig(**given).dtype == "float64"
        return
    with pytest.raises(jaxattr.CheckpointError, match=words) as error:
        ViTConfig(**given)
    assert "\n" not in str(error.value)


def test_configurations_of_numpy(model) -> None:
    """NumPy's numbers and lists are Python's numbers and tuples: hashable, and fit for JSON."""
    sizes = {name: np.int64(value) for name, value in SIZES.items()}
    made = ViTConfig([8, np.int32(12)], (4, 4), **sizes, layer_norm_epsilon=np.float32(0.5))  # pyright: ignore[reportArgumentType]
    assert made == replace(CONFIG, layer_norm_epsilon=0.5)
    assert hash(made) == hash(replace(CONFIG, layer_norm_epsilon=0.5))
    assert type(made.heads) is int


BAD_PREPROCESSINGS = [
    ({"resize": 0}, "resize is 0"),
    ({"resize": (8,)}, "resize"),
    ({"resize": 8.5}, "resize"),
    ({"crop": 8}, "crop is 8"),
    ({"resample": "cubic"}, "resample is 'cubic'; wanted one of nearest"),
    ({"rescale": 0}, "rescale"),
    ({"rescale": float("inf")}, "rescale"),
    ({"mean": 0.5}, "mean"),
    ({"mean": (0.5, 0.5)}, "std"),
    ({"mean": (0.5, float("nan"), 0.5)}, "mean"),
    ({"std": (0.5, 0, 0.5)}, "std"),
    ({"std": ("a", "b", "c")}, "std"),
]


@pytest.mark.parametrize(("changes", "words"), BAD_PREPROCESSINGS, ids=str)
def test_preprocessings(changes, words) -> None:
    with pytest.raises(jaxattr.CheckpointError, match=f"Preprocessing: {words}") as error:
        jaxattr.Preprocessing(**{"resize": (8, 12), **changes})
    assert "\n" not in str(error.value)


LOADING = [
    ({"dtype": "int8"}, "dtype int8"),
    ({"dtype": 32}, "dtype 32"),
    ({"image_size": 0}, "image"),
    ({"image_size": -32}, "image"),
    ({"image_size": 33}, "multiple of the patch size"),
    ({"image_size": 64.5}, "image"),
    ({"image_size": "64"}, "image"),
    ({"image_size": (64,)}, "image"),
    ({"image_size": (64, 64, 3)}, "image"),
    ({"layer_norm_epsilon": float("nan")}, "epsilon"),
    ({"layer_norm_epsilon": "x"}, "epsilon"),
    ({"heads": 0}, "heads"),
    ({"heads": 2.5}, "heads"),
]


@pytest.mark.parametrize(("options", "words"), LOADING, ids=str)
def test_loading(options, words) -> None:
    with pytest.raises(jaxattr.CheckpointError, match=words) as error:
        jaxattr.load("scenes", **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("source", [None, 3, b"\0", "", "no/such\0name"], ids=repr)
def test_loading_from_nothing(source) -> None:
    with pytest.raises((jaxattr.CheckpointError, TypeError)) as error:
        jaxattr.load(source)
    assert "\n" not in str(error.value)


def test_models_that_differ_in_words_share_what_is_compiled(model, image) -> None:
    """Names, labels and notes are carried, and compile nothing; what is computed with does."""
    run: Any = jax.jit(partial(jaxattr.predict))
    other = replace(model, name="other", labels=tuple("vwxyz"), notes=("assumed",))
    first, second = run(model, image), run(other, image)
    np.testing.assert_array_equal(first, second)
    assert run._cache_size() == 1
    mapped = jax.tree.map(lambda leaf: leaf, other)
    assert (mapped.name, mapped.labels, mapped.notes) == (other.name, other.labels, other.notes)
    assert mapped.preprocessing == other.preprocessing
    mixed = jax.tree.map(lambda a, b: a + b, model, other)
    assert mixed.config == model.config
    assert jax.tree.structure(model) == jax.tree.structure(other)
    run(replace(other, preprocessing=jaxattr.Preprocessing(None, mean=(0.4,) * 3)), image)
    assert run._cache_size() == 2
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(model)]
    assert paths[0].startswith(".parameters['blocks_0']")
