"""The twelve classes: which drawing, which twin, which part tells twins apart, which colours."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxattr.scenes import animals
from jaxattr.scenes.animals import Look
from jaxattr.scenes.backgrounds import rgb
from jaxattr.scenes.shapes import Grid, Layer, capsule, coverage, ellipse, mix, polygon, union

Palette = Callable[[np.random.Generator], dict[str, Float[np.ndarray, " channel"]]]


class Family(NamedTuple):
    """One drawing: its one or two classes, the part in which they differ, and how far it turns."""

    classes: tuple[str, ...]
    part: str | None
    draw: Callable[[Grid, Grid, Look], list[Layer]]
    palette: Palette
    turn: float
    """Largest rotation, radians."""


def boat(x: Grid, y: Grid, look: Look) -> list[Layer]:
    """A boat; the sailing boat carries sails, the steamer a funnel with smoke."""
    hull = polygon(x, y, (-0.88, 0.32), (0.95, 0.26), (0.62, 0.74), (-0.66, 0.74), round_by=0.03)
    rail = np.maximum(hull, np.abs(y - 0.36) - 0.05)
    cabin = polygon(x, y, (-0.5, 0.02), (-0.02, 0.02), (0.0, 0.36), (-0.52, 0.36), round_by=0.02)
    panes = np.maximum(np.abs(np.abs(x + 0.25) - 0.12) - 0.07, np.abs(y - 0.15) - 0.06)
    flag = polygon(x, y, (0.68, -0.02), (0.96, 0.06), (0.68, 0.14))
    layers = [
        Layer("flag", capsule(x, y, 0.68, 0.3, 0.68, -0.04, 0.02), rgb(0.3, 0.24, 0.2)),
        Layer("flag", flag, look.colour["flag"]),
    ]
    if look.name == "sailing boat":
        sails = union(
            polygon(x, y, (0.06, -0.95), (0.06, 0.2), (-0.72, 0.04)),
            polygon(x, y, (0.16, -0.86), (0.16, 0.16), (0.6, 0.12)),
        )
        seams = coverage(np.abs((y + 0.1) % 0.28 - 0.14) - 0.012, 0.03)
        cloth = look.colour["sails"]
        layers += [
            Layer("rig", capsule(x, y, 0.11, -1.0, 0.11, 0.36, 0.035), rgb(0.36, 0.24, 0.15)),
            Layer("rig", sails, mix(cloth, cloth * 0.75, seams)),
        ]
    else:
        puffs = [(0.04, -0.62, 0.15), (-0.2, -0.74, 0.19), (-0.5, -0.78, 0.22)]
        smoke = union(*(ellipse(x, y, px, py, r, r) for px, py, r in puffs))
        funnel = polygon(x, y, (0.0, -0.46), (0.3, -0.46), (0.34, 0.34), (-0.02, 0.34))
        band = coverage(np.abs(y + 0.22) - 0.09, 0.03)
        layers += [
            Layer("rig", smoke, rgb(0.66, 0.66, 0.68)),
            Layer("rig", funnel, mix(look.colour["funnel"], rgb(0.95, 0.9, 0.85), band)),
        ]
    return [
        *layers,
        Layer("cabin", cabin, rgb(0.95, 0.93, 0.88)),
        Layer("cabin", panes, rgb(0.25, 0.42, 0.55)),
        Layer("hull", hull, look.colour["hull"]),
        Layer("hull", rail, rgb(0.95, 0.93, 0.88)),
    ]


def _shade(rng: np.random.Generator, *choices: tuple[float, float, float]):
    """One of the colours, a little lighter or darker and off in hue."""
    colour = np.array(choices[rng.integers(len(choices))])
    shaded = colour * rng.uniform(0.85, 1.12) + rng.normal(0, 0.02, 3)
    return np.clip(shaded, 0.03, 0.97).astype(np.float32)


def _plumage(rng: np.random.Generator):
    brown = _shade(rng, (0.4, 0.25, 0.14), (0.36, 0.26, 0.2), (0.47, 0.31, 0.17))
    return {"plumage": brown, "crown": brown * np.float32(rng.uniform(1.1, 1.4))}


def _coat(rng: np.random.Generator):
    coats = (0.92, 0.9, 0.85), (0.8, 0.74, 0.66), (0.86, 0.75, 0.6)
    return {"coat": _shade(rng, *coats), "mane": _shade(rng, (0.12, 0.1, 0.1), (0.25, 0.17, 0.12))}


def _wing_cases(rng: np.random.Generator):
    return {"wing cases": _shade(rng, (0.85, 0.14, 0.1), (0.9, 0.3, 0.1), (0.8, 0.1, 0.2))}


def _fur(rng: np.random.Generator):
    furs = (0.88, 0.56, 0.26), (0.55, 0.55, 0.58), (0.62, 0.45, 0.32), (0.36, 0.33, 0.34)
    return {"fur": _shade(rng, *furs), "belly": _shade(rng, (0.95, 0.92, 0.88))}


def _paint(rng: np.random.Generator):
    return {
        "hull": _shade(rng, (0.15, 0.28, 0.55), (0.7, 0.16, 0.14), (0.1, 0.4, 0.32)),
        "flag": _shade(rng, (0.85, 0.2, 0.2), (0.95, 0.8, 0.2), (0.2, 0.45, 0.8)),
        "sails": _shade(rng, (0.96, 0.95, 0.9), (0.93, 0.82, 0.62)),
        "funnel": _shade(rng, (0.8, 0.25, 0.15), (0.2, 0.2, 0.22)),
    }


def _scales(rng: np.random.Generator):
    return {
        "scales": _shade(rng, (0.97, 0.5, 0.1), (0.98, 0.8, 0.15), (0.2, 0.5, 0.85)),
        "fins": _shade(rng, (0.95, 0.35, 0.15), (0.25, 0.25, 0.6), (0.98, 0.7, 0.2)),
        "bands": _shade(rng, (0.96, 0.96, 0.94), (0.12, 0.12, 0.25)),
    }


def _shell(rng: np.random.Generator):
    return {
        "shell": _shade(rng, (0.78, 0.5, 0.24), (0.85, 0.66, 0.36), (0.68, 0.42, 0.36)),
        "skin": _shade(rng, (0.78, 0.7, 0.5), (0.66, 0.58, 0.46)),
    }


FAMILIES = (
    Family(("bald eagle", "kite"), "head", animals.raptor, _plumage, 0.6),
    Family(("zebra", "horse"), "coat", animals.equine, _coat, 0.25),
    Family(("ladybird", "beetle"), "wing cases", animals.beetle, _wing_cases, 1.0),
    Family(("cat", "rabbit"), "ears", animals.pet, _fur, 0.3),
    Family(("sailing boat", "steamer"), "rig", boat, _paint, 0.2),
    Family(("fish",), None, animals.fish, _scales, 0.4),
    Family(("snail",), None, animals.snail, _shell, 0.25),
)

CLASSES: tuple[str, ...] = tuple(name for family in FAMILIES for name in family.classes)
"""Names of the classes; the model's output i is `CLASSES[i]`."""

PAIRS: tuple[tuple[str, str, str], ...] = tuple(
    (*family.classes, family.part) for family in FAMILIES if family.part
)  # type: ignore[assignment]
"""`(class, class, part)`: classes that differ in exactly that part."""

FAMILY: dict[str, Family] = {name: family for family in FAMILIES for name in family.classes}


def twin(name: str) -> str | None:
    """The class that differs from this one in exactly one part, if there is one."""
    return next((other for other in FAMILY[name].classes if other != name), None)
