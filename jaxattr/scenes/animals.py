"""Drawings of animals: each maps a pixel grid and a look to layers, from back to front.

Local coordinates: y points down and the animal fits into a circle of radius 1. Two classes of one
family share every line but those of one part, where `look.name` decides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxattr.scenes.backgrounds import rgb
from jaxattr.scenes.shapes import Grid, Layer, capsule, coverage, ellipse, mix, polygon, union

BLACK, WHITE = rgb(0.07, 0.07, 0.09), rgb(0.97, 0.97, 0.95)


class Look(NamedTuple):
    """What one object looks like: its class, its colours, and eight shape numbers in -1..1."""

    name: str
    colour: dict[str, Float[np.ndarray, " channel"]]
    shape: Float[np.ndarray, " number"]


def raptor(x: Grid, y: Grid, look: Look) -> list[Layer]:
    """A soaring bird of prey; the bald eagle's head is white, the kite's brown."""
    brown, yellow = look.colour["plumage"], rgb(0.97, 0.74, 0.15)
    lift = 0.12 * look.shape[0]
    side = np.abs(x)
    wing = union(
        capsule(side, y, 0.08, -0.02, 0.5, -0.2 - lift, 0.24, 0.25),
        capsule(side, y, 0.5, -0.2 - lift, 0.8, -0.12 - lift, 0.25, 0.16),
    )
    ends = ((0.92, -0.36), (1.06, -0.2), (1.08, -0.02), (1.02, 0.14), (0.88, 0.24))
    tips = [capsule(side, y, 0.74, -0.14 - lift, tx, ty - lift, 0.08, 0.035) for tx, ty in ends]
    # The flight feathers: the lower half of the wing, darker and with quills.
    quills = np.minimum(np.abs(np.sin(x * 22)) * 0.12 - 0.02, y + 0.08 + (lift + 0.12) * side)
    rows = coverage(-quills, 0.04)
    tail = polygon(x, y, (-0.1, 0.3), (0.1, 0.3), (0.3, 0.82), (-0.3, 0.82), round_by=0.03)
    bands = coverage(np.abs((y - 0.62) % 0.16 - 0.08) - 0.025, 0.03)
    head = ellipse(x, y, 0.02, -0.47, 0.2, 0.23)
    crown = WHITE if look.name == "bald eagle" else look.colour["crown"]
    eye = ellipse(x, y, 0.12, -0.5, 0.045, 0.045)
    beak = polygon(x, y, (0.17, -0.54), (0.4, -0.46), (0.34, -0.34), (0.17, -0.4), round_by=0.02)
    return [
        Layer("tail", tail, mix(brown * 0.75, brown * 1.25, bands)),
        Layer("wings", union(*tips), brown * 0.6),
        Layer("wings", wing, mix(brown * 1.2, brown * 0.72, rows)),
        Layer("body", ellipse(x, y, 0, 0.02, 0.2, 0.44), brown * 1.1),
        Layer("beak", beak, yellow),
        Layer("head", head, crown),
        Layer("head", eye, BLACK),
    ]


def equine(x: Grid, y: Grid, look: Look) -> list[Layer]:
    """A horse from the side; the zebra's coat is striped."""
    coat, dark = look.colour["coat"], look.colour["mane"]
    step = 0.1 * look.shape[0]
    far = union(
        capsule(x, y, 0.28, 0.15, 0.4 + step, 0.85, 0.1, 0.055),
        capsule(x, y, -0.4, 0.15, -0.32 + step, 0.85, 0.11, 0.055),
    )
    near = union(
        capsule(x, y, 0.36, 0.12, 0.3 - step, 0.9, 0.12, 0.06),
        capsule(x, y, -0.5, 0.12, -0.5 - step, 0.9, 0.13, 0.06),
    )
    hooves = np.maximum(union(near, far), 0.84 - y)
    trunk = union(ellipse(x, y, -0.07, -0.03, 0.6, 0.31), ellipse(x, y, 0.3, -0.08, 0.26, 0.27))
    neck = capsule(x, y, 0.36, -0.18, 0.62, -0.62, 0.21, 0.13)
    hide = union(trunk, neck)
    wave = np.sin((x * 0.92 - y * 0.35 * np.sign(x - 0.1)) * 27 + look.shape[1] * 3)
    stripes = coverage(wave * 0.04 + 0.006, 0.03)
    head = capsule(x, y, 0.62, -0.68, 0.9, -0.44, 0.15, 0.1)
    ear = polygon(x, y, (0.52, -0.76), (0.58, -0.99), (0.68, -0.8), round_by=0.02)
    mane = capsule(x, y, 0.16, -0.36, 0.5, -0.84, 0.1, 0.07)
    painted = mix(coat, BLACK, stripes) if look.name == "zebra" else coat
    return [
        Layer("tail", capsule(x, y, -0.62, -0.14, -0.8, 0.36, 0.05, 0.09), dark),
        Layer("legs", far, coat * 0.62),
        Layer("legs", near, coat * 0.88),
        Layer("legs", hooves, BLACK * 2),
        Layer("mane", mane, dark),
        Layer("coat", hide, painted),
        Layer("head", ear, coat * 0.8),
        Layer("head", head, coat),
        Layer("head", ellipse(x, y, 0.9, -0.42, 0.11, 0.1), dark * 0.8 + 0.1),
        Layer("head", ellipse(x, y, 0.68, -0.7, 0.04, 0.04), BLACK),
    ]


def beetle(x: Grid, y: Grid, look: Look) -> list[Layer]:
    """A beetle from above; the ladybird's wing cases are spotted."""
    side = np.abs(x)
    red = look.colour["wing cases"]
    legs = union(
        capsule(side, y, 0.3, -0.25, 0.82, -0.5, 0.06, 0.04),
        capsule(side, y, 0.4, 0.1, 0.93, 0.12, 0.06, 0.04),
        capsule(side, y, 0.3, 0.4, 0.8, 0.74, 0.06, 0.04),
    )
    feelers = capsule(side, y, 0.08, -0.8, 0.32, -1.02, 0.035)
    case = ellipse(x, y, 0, 0.14, 0.67 + 0.04 * look.shape[0], 0.7)
    seam = coverage(side - 0.02, 0.03)
    if look.name == "ladybird":
        spots = [
            ellipse(side, y, sx, sy, r, r)
            for sx, sy, r in ((0.3, -0.2, 0.14), (0.42, 0.24, 0.14), (0.2, 0.55, 0.12))
        ]
        red = mix(red, BLACK, coverage(union(*spots, ellipse(x, y, 0, -0.4, 0.12, 0.12)), 0.03))
    shine = coverage(ellipse(x, y, -0.28, -0.02, 0.1, 0.2, 0.5), 0.12) * 0.35
    return [
        Layer("legs", legs, BLACK),
        Layer("feelers", feelers, BLACK),
        Layer("head", ellipse(x, y, 0, -0.68, 0.26, 0.2), BLACK * 1.6),
        Layer("wing cases", case, mix(mix(red, WHITE, shine), BLACK, seam)),
        Layer("neck shield", ellipse(x, y, 0, -0.5, 0.42, 0.2), BLACK),
        Layer("neck shield", ellipse(side, y, 0.27, -0.52, 0.1, 0.09), WHITE * 0.95),
    ]


def pet(x: Grid, y: Grid, look: Look) -> list[Layer]:
    """A furry animal that sits and looks at us; the cat has pointed ears, the rabbit long ones."""
    side = np.abs(x)
    fur, pale, pink = look.colour["fur"], look.colour["belly"], rgb(0.93, 0.62, 0.62)
    if look.name == "cat":
        ear = polygon(side, y, (0.06, -0.42), (0.42, -0.84), (0.46, -0.18), round_by=0.03)
        inner, lining = polygon(side, y, (0.2, -0.46), (0.39, -0.72), (0.41, -0.34)), fur * 0.45
    else:
        turn = 0.16 + 0.06 * look.shape[0]
        ear = ellipse(side, y, 0.2, -0.7, 0.15, 0.38, turn)
        inner, lining = ellipse(side, y, 0.2, -0.68, 0.085, 0.29, turn), pink
    eye = ellipse(side, y, 0.18, -0.2, 0.085, 0.095)
    glint = ellipse(x - np.sign(x) * np.float32(0.21), y, 0, -0.23, 0.03, 0.03)
    whiskers = union(
        capsule(side, y, 0.2, 0.0, 0.55, -0.06, 0.014),
        capsule(side, y, 0.2, 0.04, 0.54, 0.1, 0.014),
    )
    return [
        Layer("body", ellipse(x, y, 0, 0.55, 0.46 + 0.04 * look.shape[1], 0.42), fur * 0.88),
        Layer("belly", ellipse(x, y, 0, 0.58, 0.24, 0.3), pale),
        Layer("paws", ellipse(side, y, 0.24, 0.9, 0.19, 0.11), fur),
        Layer("ears", ear, fur * 0.92),
        Layer("ears", inner, lining),
        Layer("head", ellipse(x, y, 0, -0.12, 0.47, 0.41), fur),
        Layer("face", ellipse(side, y, 0.1, 0.05, 0.15, 0.12), pale),
        Layer("face", whiskers, WHITE * 0.9),
        Layer("face", eye, BLACK),
        Layer("face", glint, WHITE),
        Layer("face", ellipse(x, y, 0, -0.03, 0.07, 0.05), pink * 0.85),
    ]


def fish(x: Grid, y: Grid, look: Look) -> list[Layer]:
    """A tropical fish from the side."""
    scales, fins = look.colour["scales"], look.colour["fins"]
    body = ellipse(x, y, 0.12, 0, 0.7, 0.43 + 0.04 * look.shape[0])
    tail = union(
        polygon(x, y, (-0.45, 0.03), (-0.98, -0.48), (-0.8, 0.05), round_by=0.04),
        polygon(x, y, (-0.45, -0.03), (-0.98, 0.48), (-0.8, -0.05), round_by=0.04),
    )
    corners = (-0.3, -0.3), (-0.15, -0.66), (0.35, -0.56), (0.45, -0.25)
    dorsal = polygon(x, y, *corners, round_by=0.03)
    ventral = polygon(x, y, (-0.15, 0.3), (-0.2, 0.62), (0.2, 0.38), round_by=0.03)
    flow = np.sin((x * 0.9 + y) * 40) * 0.12
    bands = np.minimum(
        np.abs(x - 0.3 + 0.35 * y * y) - 0.08, np.abs(x + 0.15 + 0.35 * y * y) - 0.09
    )
    pectoral = polygon(x, y, (0.2, 0.05), (-0.1, 0.02), (-0.02, 0.26), round_by=0.03)
    return [
        Layer("tail", tail, fins[:, None, None] * (1 + flow)),
        Layer("fins", union(dorsal, ventral), fins[:, None, None] * (1 + flow)),
        Layer("body", body, scales),
        Layer("bands", np.maximum(bands, body + 0.02), look.colour["bands"]),
        Layer("fins", pectoral, fins * 0.85),
        Layer("head", ellipse(x, y, 0.56, -0.1, 0.11, 0.11), WHITE),
        Layer("head", ellipse(x, y, 0.59, -0.1, 0.06, 0.06), BLACK),
        Layer("head", capsule(x, y, 0.72, 0.13, 0.8, 0.09, 0.02), BLACK * 2),
    ]


def snail(x: Grid, y: Grid, look: Look) -> list[Layer]:
    """A snail from the side, with its spiral shell."""
    skin, shell = look.colour["skin"], look.colour["shell"]
    cx, cy = -0.18, -0.04
    foot = np.maximum(capsule(x, y, -0.82, 0.66, 0.6, 0.6, 0.06, 0.2), y - 0.75)
    neck = capsule(x, y, 0.5, 0.52, 0.72, 0.02, 0.18, 0.13)
    stalks = union(
        capsule(x, y, 0.72, 0.0, 0.64, -0.4, 0.04, 0.03),
        capsule(x, y, 0.78, 0.0, 0.9, -0.36, 0.04, 0.03),
    )
    eyes = union(ellipse(x, y, 0.64, -0.42, 0.07, 0.07), ellipse(x, y, 0.9, -0.38, 0.07, 0.07))
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    turns = np.sqrt(dx * dx + dy * dy) * 4.6 - np.arctan2(dy, dx) / np.float32(2 * np.pi)
    line = coverage(np.abs((turns % 1) - 0.5) - 0.36, 0.12)
    return [
        Layer("foot", foot, skin),
        Layer("stalks", stalks, skin * 0.9),
        Layer("stalks", eyes, BLACK),
        Layer("neck", neck, skin),
        Layer("shell", ellipse(x, y, cx, cy, 0.6, 0.58), mix(shell * 0.5, shell, line)),
    ]
