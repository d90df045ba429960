"""From a seed to a plan (all that chance decides), and from a plan to an image with its truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxattr.errors import JaxattrError, LabelError
from jaxattr.scenes.animals import Look
from jaxattr.scenes.backgrounds import BACKGROUNDS
from jaxattr.scenes.classes import CLASSES, FAMILY
from jaxattr.scenes.shapes import capsule, coverage, ellipse, polygon

SIZE = 96


class Thing(NamedTuple):
    """One object: its look and its pose. Lengths are fractions of the image's side."""

    look: Look
    centre: tuple[float, float]
    radius: float
    turn: float
    mirrored: bool
    stretch: float
    """Width over height, relative to the drawing's own."""


class Scrap(NamedTuple):
    """A small meaningless shape: clutter behind the objects, or an occluder before them."""

    kind: str
    start: tuple[float, float]
    end: tuple[float, float]
    radius: float
    colour: tuple[float, float, float]


class Plan(NamedTuple):
    """Everything that was drawn at random; `render` is a pure function of it."""

    size: int
    background: str
    texture_seed: int
    contrast: float
    """How much of the background's texture is left, 0 to 1."""
    things: tuple[Thing, ...]
    clutter: tuple[Scrap, ...]
    occluders: tuple[Scrap, ...]
    light: tuple[float, float]
    """Direction and strength of the light that shades the objects."""
    exposure: tuple[float, float, float]
    grain: float


class Scene(NamedTuple):
    """An image with its truth."""

    image: UInt8[np.ndarray, "height width 3"]
    classes: tuple[str, ...]
    """One name per object, from back to front; empty for the empty scene."""
    objects: Bool[np.ndarray, "object height width"]
    """Where each object is visible."""
    parts: tuple[dict[str, Bool[np.ndarray, "height width"]], ...]
    """Per object: where each of its parts is visible."""
    background: str
    plan: Plan


def plan(
    seed: int | Sequence[int] | np.random.Generator,
    classes: Sequence[str] | int = 1,
    *,
    size: int = SIZE,
    background: str | None = None,
    difficulty: float = 1.0,
) -> Plan:
    """Decide everything about a scene at random.

    The same seed with a class exchanged for its twin gives the same scene but for one part.

    Args:
        seed: of NumPy's default generator, or a generator.
        classes: names of the objects (none to two), or how many, of different classes.
        background: a key of `BACKGROUNDS`; at random if `None`.
        difficulty: 0 gives large objects, calm backgrounds, no clutter and no occlusion; 1 is
            the distribution that the embedded model is measured on.

    Raises:
        LabelError: a class or background that does not exist.
        JaxattrError: more than two objects.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(CLASSES))
    names = [CLASSES[i] for i in chosen[:classes]] if isinstance(classes, int) else list(classes)
    kinds = list(BACKGROUNDS)
    _check(names, CLASSES, "class of scenes")
    _check([] if background is None else [background], kinds, "background")
    if len(names) > 2:
        raise JaxattrError(f"scene: {len(names)} objects asked for; a scene holds none to two.")
    lot = kinds[rng.integers(len(kinds))]
    texture_seed = int(rng.integers(2**31))
    return Plan(
        size=size,
        background=background or lot,
        texture_seed=texture_seed,
        contrast=float(rng.uniform(1 - 0.9 * (1 - difficulty), 1)),
        things=_things(rng, names, difficulty),
        clutter=_scraps(rng, int(rng.integers(0, 6) * difficulty), 0.045),
        occluders=_scraps(rng, int(rng.random() < 0.35 * difficulty), 0.03),
        light=(float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0, 0.25))),
        exposure=tuple(float(v) for v in rng.uniform(0.82, 1.12) * rng.uniform(0.95, 1.05, 3)),  # type: ignore[arg-type]
        grain=float(rng.uniform(0, 0.05)),
    )


def _check(names: Sequence[str], known: Sequence[str], kind: str) -> None:
    for name in names:
        if name not in known:
            raise LabelError(f"{name}: no such {kind}; choose from {', '.join(known)}.")


def _things(rng: np.random.Generator, names: list[str], difficulty: float) -> tuple[Thing, ...]:
    easy = 1 - difficulty
    if len(names) == 2:
        radii = rng.uniform(0.23 + 0.01 * easy, 0.27, 2)
        angle, gap = rng.uniform(-0.9, 0.9), rng.uniform(0.46, 0.56)
        side = 1 if rng.random() < 0.5 else -1
        dx, dy = side * math.cos(angle) * gap / 2, side * math.sin(angle) * gap / 2
        middle = 0.5 + rng.uniform(-0.03, 0.03, 2)
        centres = [(middle[0] + s * dx, middle[1] + s * dy) for s in (1, -1)]
    else:
        radii = rng.uniform(0.27 + 0.09 * easy, 0.46, 2)
        room = 0.5 - 0.92 * radii[0]
        centres = [tuple(0.5 + rng.uniform(-1, 1, 2) * max(room, 0.04))]
    things = []
    for name, radius, (cx, cy) in zip(names, radii, centres, strict=False):
        family = FAMILY[name]
        look = Look(name, family.palette(rng), rng.uniform(-1, 1, 8).astype(np.float32))
        turn = float(rng.uniform(-1, 1) * family.turn * (1 - 0.5 * easy))
        mirrored, stretch = bool(rng.random() < 0.5), float(rng.uniform(0.88, 1.12))
        things.append(Thing(look, (float(cx), float(cy)), float(radius), turn, mirrored, stretch))
    return tuple(things)


def _scraps(rng: np.random.Generator, count: int, radius: float) -> tuple[Scrap, ...]:
    scraps = []
    for _ in range(count):
        kind = ("pebble", "stick", "chip")[rng.integers(3)] if radius > 0.04 else "stick"
        start, heading = rng.uniform(0.05, 0.95, 2), rng.uniform(0, 2 * math.pi)
        reach = rng.uniform(0.08, 0.2) if radius > 0.04 else 0.9
        end = start + reach * np.array([math.cos(heading), math.sin(heading)])
        colour = tuple(float(v) for v in rng.uniform(0.15, 0.9) * rng.uniform(0.6, 1.0, 3))
        size = float(rng.uniform(0.4, 1) * radius)
        ends = (float(start[0]), float(start[1])), (float(end[0]), float(end[1]))
        scraps.append(Scrap(kind, *ends, size, colour))  # type: ignore[arg-type]
    return tuple(scraps)


class _Painted(NamedTuple):
    """A layer on the canvas: whose, where (a window), how opaque, and what colour."""

    thing: int | None
    part: str
    window: tuple[slice, slice]
    alpha: Float[np.ndarray, "row column"]
    colour: Float[np.ndarray, "3 ..."]


def render(plan: Plan, *, without: Sequence[tuple[int, str]] = (), masks: bool = True) -> Scene:
    """Draw a plan.

    A pixel belongs to a part's mask if the part has any share in its colour, so that a scene
    drawn `without` a part (given as `(object, part)`) differs inside that part's mask only.
    `masks=False` leaves the masks empty and is faster.
    """
    size = plan.size
    rng = np.random.default_rng(plan.texture_seed)
    canvas = BACKGROUNDS[plan.background](rng, size).astype(np.float32)
    mean = canvas.mean(axis=(1, 2), keepdims=True)
    canvas = mean + (canvas - mean) * np.float32(plan.contrast)
    flat = _flat_layers(plan)
    layers = [layer for layer in flat if (layer.thing, layer.part) not in without]
    for layer in layers:
        view = canvas[(slice(None), *layer.window)]
        view += (layer.colour - view) * layer.alpha
    canvas *= np.array(plan.exposure, np.float32)[:, None, None]
    canvas += (rng.random((size, size), np.float32) - np.float32(0.5)) * np.float32(2 * plan.grain)
    pixels = (np.clip(canvas, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)
    objects, parts = _masks(plan, layers) if masks else (np.zeros((0, size, size), bool), ())
    names = tuple(thing.look.name for thing in plan.things)
    image = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    return Scene(image, names, objects, parts, plan.background, plan)


def draw(
    seed: int | Sequence[int] | np.random.Generator,
    classes: Sequence[str] | int = 1,
    *,
    size: int = SIZE,
    background: str | None = None,
    difficulty: float = 1.0,
    without: Sequence[tuple[int, str]] = (),
) -> Scene:
    """Draw one scene from a seed: `render(plan(...))`, see both."""
    decided = plan(seed, classes, size=size, background=background, difficulty=difficulty)
    return render(decided, without=without)


def _flat_layers(plan: Plan) -> list[_Painted]:
    """All layers from back to front: clutter, objects, occluders."""
    layers = [_scrap(scrap, plan.size) for scrap in plan.clutter]
    for index, thing in enumerate(plan.things):
        layers += _thing(index, thing, plan)
    return layers + [_scrap(scrap, plan.size) for scrap in plan.occluders]


def _window(cx: float, cy: float, reach: float, size: int) -> tuple[slice, slice]:
    low = [max(0, math.floor((c - reach) * size)) for c in (cy, cx)]
    high = [min(size, math.ceil((c + reach) * size)) for c in (cy, cx)]
    rows, columns = (slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
    return rows, columns


def _centres(window: tuple[slice, slice], size: int) -> list[np.ndarray]:
    """Pixel centres of a window, `x` and `y` as fractions of the side."""
    rows, columns = (np.arange(w.start, w.stop, dtype=np.float32) + 0.5 for w in window)
    return [columns[None, :] / np.float32(size), rows[:, None] / np.float32(size)]


def _thing(index: int, thing: Thing, plan: Plan) -> list[_Painted]:
    window = _window(*thing.centre, 1.25 * thing.radius, plan.size)
    x, y = _centres(window, plan.size)
    right = (x - np.float32(thing.centre[0])) / np.float32(thing.radius)
    down = (y - np.float32(thing.centre[1])) / np.float32(thing.radius)
    angle, strength = plan.light
    shade = 1 - np.float32(strength) * (
        np.float32(math.cos(angle)) * right + np.float32(math.sin(angle)) * down
    )
    cos, sin = np.float32(math.cos(thing.turn)), np.float32(math.sin(thing.turn))
    u = (cos * right + sin * down) / np.float32(thing.stretch**0.5)
    v = (cos * down - sin * right) * np.float32(thing.stretch**0.5)
    u = -u if thing.mirrored else u
    pixel = 1 / (thing.radius * plan.size)
    layers = []
    for part, distance, colour in FAMILY[thing.look.name].draw(u, v, thing.look):
        rim = np.clip(distance * np.float32(-7), 0, 1) * np.float32(0.3) + np.float32(0.72)
        planes = colour[:, None, None] if colour.ndim == 1 else colour
        alpha = coverage(distance, pixel)
        layers.append(_Painted(index, part, window, alpha, planes * (rim * shade)))
    return layers


def _scrap(scrap: Scrap, size: int) -> _Painted:
    (ax, ay), (bx, by) = scrap.start, scrap.end
    reach = math.hypot(bx - ax, by - ay) / 2 + 2 * scrap.radius + 2 / size
    window = _window((ax + bx) / 2, (ay + by) / 2, reach, size)
    x, y = _centres(window, size)
    cx, cy, r = (ax + bx) / 2, (ay + by) / 2, scrap.radius
    if scrap.kind == "stick":
        layer = capsule(x + 0 * y, y + 0 * x, ax, ay, bx, by, r * 0.6)
    elif scrap.kind == "pebble":
        layer = ellipse(x, y, cx, cy, 1.4 * r, r, math.atan2(by - ay, bx - ax))
    else:
        layer = polygon(x, y, (cx - r, cy + r), (cx + r, cy + r / 2), (cx, cy - r))
    rim = np.clip(layer * np.float32(-60), 0, 1) * np.float32(0.3) + np.float32(0.72)
    colour = np.array(scrap.colour, np.float32)[:, None, None] * rim
    return _Painted(None, "", window, coverage(layer, 1 / size), colour)


def _masks(
    plan: Plan, layers: list[_Painted]
) -> tuple[np.ndarray, tuple[dict[str, np.ndarray], ...]]:
    """Visible masks: where a layer still has a share after all that was painted over it."""
    shape = (plan.size, plan.size)
    through = np.ones(shape, np.float32)
    parts: tuple[dict[str, np.ndarray], ...] = tuple({} for _ in plan.things)
    for layer in reversed(layers):
        view = through[layer.window]
        if layer.thing is not None:
            mask = parts[layer.thing].setdefault(layer.part, np.zeros(shape, bool))
            mask[layer.window] |= view * layer.alpha > 0
        view *= 1 - layer.alpha
    objects = [np.any(list(p.values()), axis=0) if p else np.zeros(shape, bool) for p in parts]
    ordered = tuple(dict(reversed(p.items())) for p in parts)
    return np.array(objects).reshape(-1, *shape), ordered
