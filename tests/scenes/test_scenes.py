"""Scenes: exact masks, determinism, twins that differ in one part, and clear refusals."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from jaxattr import scenes
from jaxattr.errors import JaxattrError, LabelError


def _digest(image: np.ndarray) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def test_classes_and_pairs():
    assert len(scenes.CLASSES) == len(set(scenes.CLASSES)) == 12
    assert len(scenes.PAIRS) == 5
    for first, second, _ in scenes.PAIRS:
        assert scenes.twin(first) == second
        assert scenes.twin(second) == first
    assert scenes.twin("snail") is None


@pytest.mark.parametrize("seed", range(50))
def test_without_a_part_only_its_mask_changes(seed):
    """A part's mask holds every pixel that the part has a share in, and some that it changes."""
    scene = scenes.draw(seed, 1 + seed % 2)
    for index, parts in enumerate(scene.parts):
        for part, mask in parts.items():
            redrawn = scenes.render(scene.plan, without=[(index, part)], masks=False).image
            changed = (redrawn != scene.image).any(-1)
            assert not (changed & ~mask).any(), (seed, scene.classes[index], part)
            assert changed.any() == mask.any() or mask.sum() < 20, (scene.classes[index], part)


@pytest.mark.parametrize("seed", range(0, 50, 5))
def test_an_object_is_the_union_of_its_parts(seed):
    scene = scenes.draw(seed, 2)
    assert scene.objects.shape == (2, 96, 96)
    for mask, parts in zip(scene.objects, scene.parts, strict=True):
        assert (np.any(list(parts.values()), axis=0) == mask).all()
        assert 150 < mask.sum() < 96 * 96 / 2
    empty = scenes.render(scene.plan._replace(things=()), masks=False).image
    assert not ((empty != scene.image).any(-1) & ~scene.objects.any(0)).any()


@pytest.mark.parametrize(("first", "second", "part"), scenes.PAIRS)
def test_twins_differ_in_exactly_one_part(first, second, part):
    for seed in range(6):
        one, other = scenes.draw(seed, [first]), scenes.draw(seed, [second])
        exchanged = scenes.exchange(one.plan)
        assert exchanged.things[0].look.name == other.classes[0] == second
        assert (scenes.render(exchanged).image == other.image).all()
        changed = (one.image != other.image).any(-1)
        assert changed.sum() > 20
        assert not (changed & ~(one.parts[0][part] | other.parts[0][part])).any()


def test_same_seed_same_bytes():
    for seed in (0, (3, 1), 7):
        for objects in (0, 1, 2):
            assert _digest(scenes.draw(seed, objects).image) == _digest(
                scenes.draw(seed, objects).image
            )
    assert _digest(scenes.draw(0).image) != _digest(scenes.draw(1).image)
    generator = np.random.default_rng(5)
    assert (scenes.draw(generator).image == scenes.draw(5).image).all()


def test_masks_cost_no_pixels():
    """Drawing without masks gives the same image."""
    plan = scenes.plan(11, 2)
    assert (scenes.render(plan).image == scenes.render(plan, masks=False).image).all()


def test_batches():
    batch = scenes.batch(4, 40, shares=(0.2, 0.4, 0.4))
    assert batch.images.shape == (40, 96, 96, 3)
    assert batch.images.dtype == np.uint8
    assert batch.targets.dtype == np.float32
    np.testing.assert_allclose(batch.targets.sum(1), 1, rtol=1e-6)
    counts = [len(plan.things) for plan in batch.plans]
    assert set(counts) == {0, 1, 2}
    for target, plan in zip(batch.targets, batch.plans, strict=True):
        names = {thing.look.name for thing in plan.things}
        assert len(names) == len(plan.things)
        present = {scenes.CLASSES[i] for i in np.nonzero(target)[0]}
        assert present == (names or set(scenes.CLASSES))
    again = scenes.batch(4, 10, shares=(0.2, 0.4, 0.4))
    assert (again.images == batch.images[:10]).all()
    pairs = scenes.batch(5, 6, paired=True, shares=(0, 1, 0))
    for first, second in zip(pairs.plans[::2], pairs.plans[1::2], strict=True):
        assert (scenes.render(second).image == scenes.render(scenes.exchange(first)).image).all()


@pytest.mark.parametrize("background", scenes.BACKGROUNDS)
def test_sizes_and_backgrounds(background):
    """Every background, another size; the scene looks alike at both: one plan, two resolutions."""
    small = scenes.draw(3, ["zebra"], background=background)
    large = scenes.render(small.plan._replace(size=192, clutter=(), grain=0.0))
    assert small.background == background
    assert large.image.shape == (192, 192, 3)
    mask = large.objects[0].reshape(96, 2, 96, 2).mean((1, 3)) > 0.5
    overlap = (mask & small.objects[0]).sum() / (mask | small.objects[0]).sum()
    assert overlap > 0.75
    shrunk = np.asarray(Image.fromarray(large.image).resize((96, 96), Image.Resampling.BOX))
    inside = mask & small.objects[0]
    difference = np.abs(shrunk[inside].astype(int) - small.image[inside].astype(int))
    assert difference.mean() < 24


def test_what_does_not_exist_is_refused():
    with pytest.raises(LabelError, match="unicorn: no such class of scenes; choose from bald"):
        scenes.draw(0, ["unicorn"])
    with pytest.raises(LabelError, match="moon: no such background; choose from sky"):
        scenes.draw(0, 1, background="moon")
    with pytest.raises(JaxattrError, match="3 objects asked for"):
        scenes.draw(0, 3)
