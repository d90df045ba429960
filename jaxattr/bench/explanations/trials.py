"""What the explanation benchmark asks: held-out scenes, each with a target and the truth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, UInt8

from jaxattr import scenes
from jaxattr.metrics import pool

HELD_OUT = 3_000_000
"""Seeds of the benchmark's scenes start here; those of training and of its checks are smaller."""

STRONGEST = -1
"""As a rival: whichever other class has the highest logit."""

Regions = Float64[np.ndarray, "trial row column"]


class Trials(NamedTuple):
    """One row per map that is asked for. Regions are shares of patches, see `metrics.pool`."""

    name: str
    images: UInt8[np.ndarray, "trial height width 3"]
    label: Int32[np.ndarray, " trial"]
    """Class to explain, an index into `scenes.CLASSES`."""
    rival: Int32[np.ndarray, " trial"]
    """Class to set it against, or `STRONGEST`."""
    scene: Int32[np.ndarray, " trial"]
    """Trials of the same scene are one unit of chance."""
    target: Regions
    """Where the explained object is visible."""
    opponent: Regions
    """Where the rival's own object is visible; zero where there is none."""
    objects: Regions
    part: Regions
    """Where the part is visible that differs from the rival; zero where there is none."""
    group: tuple[str, ...]


class _Trial(NamedTuple):
    image: np.ndarray
    label: int
    rival: int
    scene: int
    target: np.ndarray
    opponent: np.ndarray
    objects: np.ndarray
    part: np.ndarray
    group: str


def scene_of_one(number: int, seed: int, size: int) -> scenes.Scene:
    """One held-out scene of one object, its class at random."""
    return scenes.draw((HELD_OUT + seed, 1, number), 1, size=size)


def scene_of_two(number: int, seed: int, size: int) -> scenes.Scene:
    """One held-out scene of two objects whose classes are not twins."""
    key = HELD_OUT + seed, 2, number
    names = _two_names(key)
    while scenes.twin(names[0]) == names[1]:
        key = (*key, 1)
        names = _two_names(key)
    return scenes.draw(key, names, size=size)


def _two_names(key: tuple[int, ...]) -> list[str]:
    # A generator of its own: `draw` takes everything else from the same key.
    order = np.random.default_rng((*key, 0)).permutation(len(scenes.CLASSES))
    return [scenes.CLASSES[i] for i in order[:2]]


def two_objects(count: int, seed: int, size: int, grid: tuple[int, int]) -> Trials:
    """Scenes of two objects that are no twins, each object as the target against the other."""
    trials = []
    for i in range(count):
        scene = scene_of_two(i, seed, size)
        whole = np.logical_or(*scene.objects)
        nothing = np.zeros_like(whole)
        classes = [scenes.CLASSES.index(name) for name in scene.classes]
        for one, other in ((0, 1), (1, 0)):
            masks = scene.objects[one], scene.objects[other], whole, nothing
            trials.append(_Trial(scene.image, classes[one], classes[other], i, *masks, ""))
    return _stack("two objects", trials, grid)


def one_object(count: int, seed: int, size: int, grid: tuple[int, int]) -> Trials:
    """Scenes of one object, against the strongest rival."""
    trials = []
    for i in range(count):
        scene = scene_of_one(i, seed, size)
        (mask,) = scene.objects
        nothing = np.zeros_like(mask)
        label = scenes.CLASSES.index(scene.classes[0])
        masks = mask, nothing, mask, nothing
        trials.append(_Trial(scene.image, label, STRONGEST, i, *masks, ""))
    return _stack("one object", trials, grid)


def twins(count: int, seed: int, size: int, grid: tuple[int, int]) -> Trials:
    """Scenes of one object that has a twin, against that twin; all pairs in turn, both sides."""
    trials = []
    for i in range(count):
        first, second, part = scenes.PAIRS[i % len(scenes.PAIRS)]
        name, other = (first, second) if i // len(scenes.PAIRS) % 2 else (second, first)
        scene = scenes.draw((HELD_OUT + seed, 3, i), [name], size=size)
        (mask,) = scene.objects
        masks = mask, np.zeros_like(mask), mask, scene.parts[0][part]
        classes = scenes.CLASSES.index(name), scenes.CLASSES.index(other)
        trials.append(_Trial(scene.image, *classes, i, *masks, f"{first} / {second}"))
    return _stack("twins", trials, grid)


def _stack(name: str, trials: list[_Trial], grid: tuple[int, int]) -> Trials:
    def integers(field: str) -> np.ndarray:
        return np.array([getattr(one, field) for one in trials], np.int32)

    def regions(field: str) -> np.ndarray:
        return pool(np.stack([getattr(one, field) for one in trials]), grid)

    return Trials(
        name,
        images=np.stack([one.image for one in trials]),
        label=integers("label"),
        rival=integers("rival"),
        scene=integers("scene"),
        target=regions("target"),
        opponent=regions("opponent"),
        objects=regions("objects"),
        part=regions("part"),
        group=tuple(one.group for one in trials),
    )
