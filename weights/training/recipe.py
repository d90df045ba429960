"""What the embedded model learns from: the recipe's numbers, and the batches it draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxattr import scenes

GRID, PATCH = 12, 8


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights."""

    steps: int = 8064
    batch_size: int = 32
    seed: int = 0
    peak_rate: float = 1e-3
    muon_rate: float = 0.008
    """Of Muon, for the matrices of the blocks; `peak_rate` is Adam's, for the rest."""
    warmup: int = 400
    horizon: int = 9600
    """Where the rate's cosine ends; a shorter run leaves it early, for a linear `cooldown`."""
    cooldown: int = 1280
    weight_decay: float = 0.05
    hidden_size: int = 96
    mlp_size: int = 288
    layers: int = 6
    heads: int = 4
    patches_seen: int = 64
    full: int = 768
    """How many of the last steps see all patches."""
    hard_from: float = 0.3
    """Share of the horizon after which scenes have their full difficulty."""
    chunk: int = 32
    """Batches drawn at once; each chunk is used twice, the second time mirrored."""


class Chunk(NamedTuple):
    """Drawn batches, `[batch, image, ...]`."""

    images: np.ndarray
    targets: np.ndarray
    keep: np.ndarray


def draw_chunk(recipe: Recipe, index: int) -> Chunk:
    """Draw the batches of chunk `index`."""
    progress = index * recipe.chunk * 2 / recipe.horizon
    difficulty = min(1.0, progress / recipe.hard_from)
    two, empty = 0.5 * difficulty, 0.05 * difficulty
    count = recipe.chunk * recipe.batch_size
    batch = scenes.batch(
        (recipe.seed, 1, index),
        count,
        shares=(empty, 1 - two - empty, two),
        difficulty=difficulty,
        paired=True,
    )
    rng = np.random.default_rng((recipe.seed, 2, index))
    keep = np.stack([choose_patches(plan, rng, recipe.patches_seen) for plan in batch.plans])
    shape = recipe.chunk, recipe.batch_size
    return Chunk(*(a.reshape(*shape, *a.shape[1:]) for a in (batch.images, batch.targets, keep)))


def choose_patches(
    plan: scenes.Plan,
    rng: np.random.Generator,
    count: int,
    always: tuple[slice, slice] = (slice(0), slice(0)),
) -> np.ndarray:
    """Indices of `count` patches: `always` (rows, columns), then those near an object."""
    centre = (np.arange(GRID) + 0.5) / GRID
    order = rng.random((GRID, GRID))
    for thing in plan.things:
        x, y = centre - thing.centre[0], centre - thing.centre[1]
        order -= np.hypot(x[None, :], y[:, None]) < thing.radius * 1.1
    order[always] = -2
    return np.sort(np.argsort(order.ravel())[:count]).astype(np.int32)


def mirror(chunk: Chunk) -> Chunk:
    """Left and right exchanged."""
    rows, columns = np.divmod(chunk.keep, GRID)
    keep = rows * GRID + GRID - 1 - columns
    return Chunk(np.ascontiguousarray(chunk.images[..., ::-1, :]), chunk.targets, keep)
