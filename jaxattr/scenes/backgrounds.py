"""Textured backgrounds: functions of a generator and a size, giving `[3, row, column]` in 0..1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxattr.scenes.shapes import mix, noise

Planes = Float[np.ndarray, "3 row column"]


def rgb(*values: float) -> Float[np.ndarray, " channel"]:
    """A colour from three numbers in 0..1."""
    return np.array(values, np.float32)


def ramp(size: int) -> Float[np.ndarray, "row 1"]:
    """0 at the top to 1 at the bottom."""
    return np.linspace(0, 1, size, dtype=np.float32)[:, None]


def sky(rng: np.random.Generator, size: int) -> Planes:
    """A blue gradient with clouds."""
    blue = mix(rgb(0.35, 0.58, 0.86), rgb(0.72, 0.84, 0.94), ramp(size))
    clouds = np.clip(noise(rng, size, (4, 3), 3) * 1.4 - 0.1, 0, 0.8)
    return mix(blue, rgb(0.97, 0.97, 0.98), clouds)


def grass(rng: np.random.Generator, size: int) -> Planes:
    """A meadow with upright blades."""
    blades = noise(rng, size, (7, 44)) * 0.5 + noise(rng, size, (3, 3), 2) * 0.35
    return mix(rgb(0.24, 0.42, 0.16), rgb(0.58, 0.72, 0.32), np.clip(blades * 0.7 + 0.5, 0, 1))


def sand(rng: np.random.Generator, size: int) -> Planes:
    """Rippled sand."""
    phase = ramp(size) * rng.uniform(40, 70) + noise(rng, size, (3, 3), 2) * 5
    value = np.sin(phase, dtype=np.float32) * 0.25 + noise(rng, size, (40, 40)) * 0.35
    return mix(rgb(0.72, 0.6, 0.42), rgb(0.93, 0.84, 0.66), np.clip(value + 0.5, 0, 1))


def water(rng: np.random.Generator, size: int) -> Planes:
    """Waves under a low sun."""
    warp = noise(rng, size, (5, 4), 2) * 4
    waves = np.sin(ramp(size) * rng.uniform(30, 50) + warp, dtype=np.float32)
    value = waves * 0.35 + noise(rng, size, (20, 6)) * 0.4 + 0.5
    return mix(rgb(0.1, 0.34, 0.5), rgb(0.45, 0.7, 0.78), np.clip(value, 0, 1))


def leaves(rng: np.random.Generator, size: int) -> Planes:
    """Dark foliage with spots of light."""
    value = noise(rng, size, (8, 8), 3)
    dark = mix(rgb(0.08, 0.18, 0.1), rgb(0.25, 0.42, 0.2), np.clip(value * 0.8 + 0.5, 0, 1))
    light = np.clip(noise(rng, size, (12, 12), 2) * 2 - 1, 0, 0.6)
    return mix(dark, rgb(0.66, 0.76, 0.45), light)


def bricks(rng: np.random.Generator, size: int) -> Planes:
    """A wall of bricks, each of its own shade."""
    rows = int(rng.integers(6, 10))
    v = ramp(size) * rows
    row = np.floor(v).astype(int)
    u = ramp(size).T * rows / 2 + (row % 2) * 0.5
    shade = rng.random((rows + 1, rows + 2), np.float32)[row, np.floor(u).astype(int)]
    edge = np.minimum(np.minimum(v % 1, 1 - v % 1), 2 * np.minimum(u % 1, 1 - u % 1))
    face = mix(rgb(0.5, 0.33, 0.27), rgb(0.68, 0.5, 0.42), shade)
    face = face + noise(rng, size, (30, 30)) * 0.04
    return mix(rgb(0.76, 0.73, 0.69), face, np.clip(edge * 14 - 0.6, 0, 1).astype(np.float32))


def planks(rng: np.random.Generator, size: int) -> Planes:
    """Wooden boards with their grain."""
    boards = int(rng.integers(4, 7))
    v = ramp(size) * boards
    row = np.floor(v).astype(int)
    shade = rng.random(boards + 1, np.float32)[row]
    grain = noise(rng, size, (48, 4)) * 0.35 + noise(rng, size, (20, 2)) * 0.25
    gap = np.clip(np.minimum(v % 1, 1 - v % 1) * 12, 0, 1)
    wood = mix(rgb(0.45, 0.33, 0.22), rgb(0.74, 0.6, 0.43), np.clip(grain + shade, 0, 1))
    return wood * (0.55 + 0.45 * gap)


def studio(rng: np.random.Generator, size: int) -> Planes:
    """A plain wall of a random pale colour, darker towards the corners."""
    colour = (0.62 + 0.28 * rng.random(3)).astype(np.float32)
    across = ramp(size) - 0.5
    corner = (across**2 + across.T**2) * np.float32(0.55)
    return colour[:, None, None] * (1 - corner) + noise(rng, size, (3, 3)) * 0.03


BACKGROUNDS: dict[str, Callable[[np.random.Generator, int], Planes]] = {
    "sky": sky,
    "grass": grass,
    "sand": sand,
    "water": water,
    "leaves": leaves,
    "bricks": bricks,
    "planks": planks,
    "studio": studio,
}
