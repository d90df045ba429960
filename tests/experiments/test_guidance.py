"""Guidance: canvases against Pillow and slices, maps one at a time, who may guide."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

from jaxattr import losses, scenes
from jaxattr.errors import JaxattrError
from jaxattr.experiments import guides
from jaxattr.experiments.guidance import Layout, Resize, Side, guided, own_part, own_region, stitch
from jaxattr.methods import METHODS
from jaxattr.scenes.models import knows_scenes
from jaxattr.vit import initialize

RANDOM = np.random.default_rng(0)
IMAGE, GUIDE = RANDOM.normal(size=(2, 24, 36, 3)).astype(np.float32)
SIDES, RULES = Side.__args__, Resize.__args__


def pillow(image, height, width):
    """Pillow's bilinear antialiased resizing of each channel in float32."""
    channels = [
        Image.fromarray(np.ascontiguousarray(image[..., c])).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for c in range(3)
    ]
    return np.stack([np.asarray(one) for one in channels], -1)


def halves(canvas, side, border):
    """The image's and the guide's part of a canvas, cut at a pixel counted from the image's end."""
    if side in ("right", "bottom"):
        canvas = canvas[:, ::-1] if side == "right" else canvas[::-1]
    parts = (
        (canvas[:, :border], canvas[:, border:])
        if side in ("left", "right")
        else (canvas[:border], canvas[border:])
    )
    if side == "right":
        return tuple(one[:, ::-1] for one in parts)
    return tuple(one[::-1] for one in parts) if side == "bottom" else parts


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("proportion", "wide", "tall"), [(0.5, 18, 12), (0.25, 9, 6)])
def test_squeezed_parts_are_pillows(side, proportion, wide, tall):
    canvas = np.asarray(stitch(IMAGE, GUIDE, layout=Layout(side, proportion)))
    across = side in ("left", "right")
    image, guide = halves(canvas, side, wide if across else tall)
    size = (24, wide) if across else (tall, 36)
    rest = (24, 36 - wide) if across else (24 - tall, 36)
    np.testing.assert_allclose(image, pillow(IMAGE, *size), atol=1e-5)
    np.testing.assert_allclose(guide, pillow(GUIDE, *rest), atol=1e-5)
    assert canvas.min() >= min(IMAGE.min(), GUIDE.min())
    assert canvas.max() <= max(IMAGE.max(), GUIDE.max())


def test_cropped_parts_are_slices_and_padded_ones_pillows():
    canvas = np.asarray(stitch(IMAGE, GUIDE, layout=Layout("top", 0.5, "crop")))
    np.testing.assert_array_equal(canvas, np.concatenate([IMAGE[6:18], GUIDE[6:18]]))
    canvas = np.asarray(stitch(IMAGE, GUIDE, layout=Layout("right", 0.25, "crop")))
    np.testing.assert_array_equal(canvas, np.concatenate([GUIDE[:, 4:31], IMAGE[:, 13:22]], axis=1))
    canvas = np.asarray(stitch(IMAGE, GUIDE, layout=Layout("left", 0.5, "pad")))
    np.testing.assert_allclose(canvas[6:18, :18], pillow(IMAGE, 12, 18), atol=2e-6)
    assert not canvas[:6].any()
    assert not canvas[18:].any()


def test_stitching_compiles_and_maps_over_guides():
    many = np.stack([GUIDE, IMAGE, -GUIDE])
    run = partial(stitch, layout=Layout("right", 0.3))
    together = jax.jit(jax.vmap(run, in_axes=(None, 0)))(IMAGE, many)
    for guide, one in zip(many, together, strict=True):
        np.testing.assert_allclose(one, run(IMAGE, guide), atol=2e-6)


@pytest.mark.parametrize(
    ("side", "part"),
    [
        ("left", np.s_[:, :3]),
        ("right", np.s_[:, 3:]),
        ("top", np.s_[:2]),
        ("bottom", np.s_[2:]),
    ],
)
def test_halves_between_patches_come_back_exactly(side, part):
    maps = RANDOM.normal(size=(2, 4, 6)).astype(np.float32)
    across = side in ("left", "right")
    own = np.stack([one[part] for one in maps])
    layout = Layout(side)
    found = own_part(maps, (24, 36), layout=layout, grid=own.shape[1:])
    np.testing.assert_array_equal(found, own)
    found = own_part(maps, (24, 36), layout=layout)
    np.testing.assert_array_equal(found, np.repeat(own, 2, axis=2 if across else 1))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("side", "proportion"), [("left", 0.5), ("right", 0.37), ("top", 0.62)])
def test_own_parts_are_means_over_where_the_pixels_went(rule, side, proportion):
    """By brute force: many points of each own patch are looked up on the canvas."""
    grid, size, fine = (3, 5), (24, 36), 120
    layout, canvas = Layout(side, proportion, rule), RANDOM.normal(size=(3, 5)).astype(np.float32)
    # Where the canvas shows which point of the image: stitch the coordinates themselves.
    axis, length = (1, 36) if side in ("left", "right") else (0, 24)
    share = int(np.floor((proportion if side != "right" else 1 - proportion) * length + 0.5))
    start, stop = (0, share) if side != "right" else (share, length)
    points = [(np.arange(fine * n) + 0.5) / (fine * n) for n in grid]
    places = []
    for one in (0, 1):
        at = points[one] * size[one]
        if one == axis:
            scale = 1 if rule == "crop" else (stop - start) / length
            offset = start - (length - (stop - start)) // 2 if rule == "crop" else start
            shown = at * scale + offset
            shown = np.where((shown >= start) & (shown < stop), shown, np.nan)
        elif rule == "pad":
            wide = int(np.floor((stop - start) / length * size[one] + 0.5))
            shown = at * (wide / size[one]) + (size[one] - wide) // 2
        else:
            shown = at
        places.append(shown * grid[one] / size[one])
    rows, columns = (np.nan_to_num(one).astype(int) for one in places)
    known = np.isfinite(places[0][:, None] + places[1][None])
    values = np.where(known, canvas[rows[:, None], columns[None]], np.nan)
    tiles = values.reshape(grid[0], fine, grid[1], fine).transpose(0, 2, 1, 3).reshape(*grid, -1)
    some = np.asarray(np.isfinite(tiles).any(axis=-1))
    expected = np.where(some, np.nanmean(np.where(some[..., None], tiles, 0), axis=-1), 0)
    found = own_part(canvas, size, layout=layout)
    np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("side", "proportion"), [("left", 0.5), ("bottom", 0.3), ("right", 0.7)])
def test_the_image_is_where_its_region_says(rule, side, proportion):
    layout = Layout(side, proportion, rule)
    canvas = np.asarray(stitch(np.ones_like(IMAGE), np.zeros_like(IMAGE), layout=layout))
    shares = canvas[..., 0].reshape(3, 8, 3, 12).mean((1, 3))
    np.testing.assert_allclose(own_region((3, 3), (24, 36), layout=layout), shares, atol=1e-6)


def test_wrong_layouts_are_one_line():
    for wrong in ({"side": "middle"}, {"resize": "stretch"}, {"proportion": 1}, {"proportion": 0}):
        layout = object.__new__(Layout)  # past the type checks that tests turn on
        for name, value in {"side": "left", "proportion": 0.5, "resize": "crop", **wrong}.items():
            object.__setattr__(layout, name, value)
        with pytest.raises(JaxattrError, match=r"^layout: [^\n]*$"):
            layout.__post_init__()
    with pytest.raises(JaxattrError, match="cannot be divided"):
        stitch(IMAGE, GUIDE, layout=Layout(proportion=0.001))
    with pytest.raises(JaxattrError, match="resize both"):
        stitch(IMAGE, GUIDE[:8])


@pytest.mark.parametrize("method", ["complete", "positive"])
def test_guided_maps_are_the_methods_one_at_a_time(tiny_model, tiny_images, method):
    image, beside, against = tiny_images[0], tiny_images[1:], jnp.array([1, 3, 4])
    function, layout = METHODS[method].function, Layout("top")
    run = partial(guided, loss=losses.relative_difference, method=function, layout=layout)
    found = jax.jit(run)(tiny_model, image, beside, 2, against)

    @jax.jit
    def alone(model, canvas, other):
        return function(model, canvas, losses.relative_difference(2, other)), model.forward(canvas)

    maps = []
    for guide, other in zip(beside, against, strict=True):
        canvas = stitch(image, guide, layout=layout)
        one, (logits, _) = alone(tiny_model, canvas, other)
        np.testing.assert_allclose(found.canvas[len(maps)], one, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.logits[len(maps)], logits, rtol=1e-4, atol=1e-4)
        maps.append(np.repeat(np.asarray(one)[:1], 2, axis=0))
    scale = np.abs(maps).max()
    np.testing.assert_allclose(found.maps, maps, atol=1e-4 * scale)
    np.testing.assert_allclose(found.mean, np.mean(maps, axis=0), atol=1e-4 * scale)
    np.testing.assert_allclose(found.spread, np.std(maps, axis=0), atol=1e-4 * scale)
    ratio = np.linalg.norm(np.std(maps, axis=0)) / np.linalg.norm(np.mean(maps, axis=0))
    assert float(found.dependence) == pytest.approx(ratio, rel=1e-3)


def test_one_guide_leaves_no_spread(tiny_model, tiny_images):
    found = jax.jit(guided)(tiny_model, tiny_images[0], tiny_images[1:2], 0, jnp.array([1]))
    np.testing.assert_array_equal(found.mean, found.maps[0])
    assert not np.asarray(found.spread).any()
    assert float(found.dependence) == 0


@pytest.fixture(scope="module")
def scene_model(tiny_config):
    config = replace(tiny_config, classes=12, layers=1)
    return initialize(config, jax.random.key(3), labels=scenes.CLASSES)


def test_similarity_is_the_cosine_of_centred_rows(tiny_model, scene_model):
    rows = np.asarray(tiny_model.parameters["head"]["kernel"], np.float64).T
    expected = 1 - cdist(rows - rows.mean(0), rows - rows.mean(0), "cosine")
    np.testing.assert_allclose(guides.similarity(tiny_model), expected, atol=1e-12)
    assert knows_scenes(scene_model)
    assert not knows_scenes(tiny_model)
    alike = guides.similarity(scene_model)
    for first, second, _ in scenes.PAIRS:
        assert alike[scenes.CLASSES.index(first), scenes.CLASSES.index(second)] == 1


def test_no_close_class_may_guide(scene_model):
    alike = guides.similarity(scene_model)
    for target in range(12):
        logits = np.random.default_rng(target).normal(size=12)
        allowed = guides.far(alike, logits, target)
        near = {target, *np.argsort(-logits)[:4].tolist()}
        twins = {scenes.twin(scenes.CLASSES[one]) for one in near} - {None}
        banned = near | {scenes.CLASSES.index(name) for name in twins if name}
        assert allowed.any()
        assert not allowed[list(banned)].any()
        closeness = alike[list(near)].max(axis=0)
        others = [one for one in range(12) if one not in near]
        assert closeness[allowed].max() <= np.median(closeness[others])
    two = guides.far(np.eye(2), np.array([1.0, 0.0]), 1)
    assert not two.any()


def bank(*rows):
    """A bank of images without pixels: each row is a class and the logits."""
    logits = np.array([logits for _, logits in rows], np.float64)
    pixels = np.zeros((len(rows), 1, 1, 3), np.uint8)
    targets = np.array([target for target, _ in rows], np.int32)
    return guides.Bank(pixels, targets, logits, tuple(f"{i}.png" for i in range(len(rows))))


def test_guides_are_recognised_sure_and_of_many_classes():
    rows = [
        (1, [-1, 6, 0, 0, 0, 0]),
        (1, [-1, 9, 0, 0, 0, 0]),
        (2, [-1, 0, 5, 0, 0, 0]),
        (2, [-1, 7, 5, 0, 0, 0]),  # taken for class 1
        (3, [-1, 0, 0, 1, 0, 0]),  # not sure
        (4, [-1, 0, 0, 0, 9, 0]),  # not allowed
        (2, [4, 0, 9, 0, 0, 0]),  # the target is among its top two
    ]
    allowed = np.array([False, True, True, True, False, False])
    assert guides.choose(bank(*rows), allowed, 0, 3).tolist() == [1, 2, 0]
    assert guides.choose(bank(*rows), allowed, 0, 1).tolist() == [1]
    assert 4 in guides.choose(bank(*rows), allowed, 0, 4, confidence=0)
    with pytest.raises(
        JaxattrError, match=r"4 guides asked for, but of 7 images 3 can .* fewer or"
    ):
        guides.choose(bank(*rows), allowed, 0, 4)
    with pytest.raises(JaxattrError, match=r"1 guide asked for, .* none can .*; give more images"):
        guides.choose(bank(*rows), np.zeros(6, bool), 0, 1)


def test_the_typical_image_is_recognised_with_the_highest_probability():
    rows = [(1, [3.0, 4.0, 0.0]), (1, [0.0, 3.0, 0.0]), (2, [0.0, 9.0, 8.9]), (2, [0.0, 0.0, 0.1])]
    probabilities = np.asarray(jax.nn.softmax(jnp.array([logits for _, logits in rows])))
    for class_ in (1, 2):
        # Row 2 is surer of its class than row 3, but surer still of another.
        places = [i for i, (t, z) in enumerate(rows) if t == class_ and np.argmax(z) == class_]
        best = max(places, key=lambda i: probabilities[i, class_])
        assert guides.typical(bank(*rows), class_) == best
    assert guides.typical(bank(*rows), 0) is None


def test_drawn_guides_are_scenes_of_their_classes():
    pixels, names = guides.drawn(32, 2, ("fish", "snail"))
    assert names == ("fish", "snail", "fish", "snail")
    key = guides.SEEDS, scenes.CLASSES.index("snail"), 1
    expected = scenes.draw(key, ["snail"], size=32, difficulty=0.0).image
    np.testing.assert_array_equal(pixels[3], expected)
