"""Masks are exact over a thousand scenes, and nothing is lost when they are packed into a file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from jaxattr import scenes
from jaxattr.scenes.truth import WATERMARK, mask_png


def test_a_part_left_out_changes_its_mask_only_in_a_thousand_scenes():
    """One part at random in each; every second scene has two objects."""
    rng = np.random.default_rng(0)
    seen, changing = set(), 0
    for seed in range(1000):
        scene = scenes.draw((2000, seed), 1 + seed % 2)
        index = int(rng.integers(len(scene.parts)))
        part = str(rng.choice(list(scene.parts[index])))
        redrawn = scenes.render(scene.plan, without=[(index, part)], masks=False).image
        changed = (redrawn != scene.image).any(-1)
        mask = scene.parts[index][part]
        assert not (changed & ~mask).any(), (seed, scene.classes[index], part)
        assert not (mask & ~scene.objects[index]).any()
        seen.add((scene.classes[index], part))
        changing += bool(changed.any())
    assert seen == {(name, part) for name in scenes.CLASSES for part in scenes.part_names(name)}
    assert changing > 980  # some parts are hidden by others


@pytest.mark.parametrize("name", scenes.CLASSES)
def test_the_parts_of_a_class_fit_into_a_byte(name):
    names = scenes.part_names(name)
    assert set(names) == set(scenes.draw(0, [name]).parts[0])
    assert len(names) <= WATERMARK


def test_packed_masks_come_back_per_part_and_per_object():
    for seed in range(20):
        scene = scenes.draw(seed, 2)
        mark = np.random.default_rng(seed).random((96, 96)) < 0.1
        for index, name in enumerate(scene.classes):
            parts = scenes.part_names(name)
            data = mask_png(scenes.pack_masks(scene, index, mark))
            with Image.open(io.BytesIO(data)) as image:
                assert image.mode == "P"
                bits = np.asarray(image)
                colours = np.asarray(image.convert("RGB"))
            masks = scenes.unpack_masks(bits, parts)
            assert (masks.pop("watermark") == mark).all()
            assert set(masks) == set(scene.parts[index])
            for part, mask in masks.items():
                assert (mask == scene.parts[index][part]).all()
            assert ((bits & 127 > 0) == scene.objects[index]).all()
            assert ((colours == 255).all(-1) == mark).all()
            assert ((colours == 0).all(-1) == (bits == 0)).all()
