"""Many scenes at once, and the targets that a classifier learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from jaxattr.scenes.classes import CLASSES, twin
from jaxattr.scenes.scene import SIZE, Plan, plan, render

SHARES = (0.05, 0.6, 0.35)
"""How many scenes of a batch hold no, one and two objects."""


class Batch(NamedTuple):
    """Images with their targets and plans."""

    images: UInt8[np.ndarray, "image height width 3"]
    targets: Float32[np.ndarray, "image class"]
    plans: tuple[Plan, ...]


def target(classes: Sequence[str]) -> Float32[np.ndarray, " class"]:
    """The distribution that the model should predict: equal weight for each object's class.

    The empty scene's target is uniform.
    """
    result = np.zeros(len(CLASSES), np.float32)
    for name in classes:
        result[CLASSES.index(name)] += 1 / len(classes)
    return result if len(classes) else result + np.float32(1 / len(CLASSES))


def exchange(scene: Plan, index: int = 0) -> Plan:
    """The same scene with one object's class exchanged for its twin: only one part differs.

    A plan whose object has no twin, or whose other object is the twin already, comes back as it is.
    """
    if not scene.things:
        return scene
    thing = scene.things[index]
    other = twin(thing.look.name)
    if other is None or any(t.look.name == other for t in scene.things):
        return scene
    things = list(scene.things)
    things[index] = thing._replace(look=thing.look._replace(name=other))
    return scene._replace(things=tuple(things))


def batch(
    seed: int | Sequence[int],
    count: int,
    *,
    shares: Sequence[int | float] = SHARES,
    difficulty: float = 1.0,
    size: int = SIZE,
    paired: bool = False,
) -> Batch:
    """Draw `count` scenes of classes taken at random, without masks.

    Args:
        seed: the batch's seed; scene i does not depend on `count`.
        shares: of scenes with no, one and two objects.
        difficulty, size: see `plan`.
        paired: every second scene is its predecessor with one object exchanged for its twin.
    """
    seeds = (seed,) if isinstance(seed, int) else tuple(seed)
    plans: list[Plan] = []
    for i in range(count):
        if paired and i % 2:
            plans.append(exchange(plans[-1]))
            continue
        rng = np.random.default_rng((*seeds, i))
        objects = int(np.searchsorted(np.cumsum(shares), rng.random(), side="right"))
        plans.append(plan(rng, min(objects, 2), size=size, difficulty=difficulty))
    images = np.stack([render(p, masks=False).image for p in plans])
    targets = np.stack([target([t.look.name for t in p.things]) for p in plans])
    return Batch(images, targets, tuple(plans))
