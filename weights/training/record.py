"""Write down what a training made: the weights file, its manifest entry, the learning curve."""

from __future__ import annotations

import csv
import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxattr.vit import Model


def save_half(model: Model, path: Path) -> None:
    """Write a model with its parameters in half precision; it is read in its config's own."""
    from jaxattr.checkpoints import native

    half = jax.tree.map(lambda leaf: leaf.astype(np.float16), model.parameters)
    native.save(replace(model, parameters=half), path)
    path.chmod(0o644)


def write_manifest(path: Path, weights: Path, facts: dict[str, Any], figures: dict) -> None:
    """Write one weights file's entry of `manifest.toml`: what it is, how made, what it reaches.

    Entries of other models are kept, in the order in which they were first written.
    """
    data = weights.read_bytes()
    entry = {
        "name": weights.stem,
        "file": weights.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "licence": "Apache-2.0",
        **facts,
        **figures,
    }
    known = tomllib.loads(path.read_text("utf-8"))["model"] if path.exists() else []
    entries = {old["name"]: old for old in known} | {weights.stem: entry}
    path.write_text("\n\n".join(map(_entry, entries.values())) + "\n", encoding="utf-8")


def _entry(entry: dict[str, Any]) -> str:
    tables = {title: table for title, table in entry.items() if isinstance(table, dict)}
    facts = {key: value for key, value in entry.items() if key not in tables}
    lines = ["[[model]]", *(f"{key} = {_toml(value)}" for key, value in facts.items())]
    for title, table in tables.items():
        lines += ["", f"[model.{title}]", *(f'"{k}" = {_toml(v)}' for k, v in table.items())]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return str(round(value, 4))
    return str(value) if isinstance(value, int) else f'"{value}"'


def draw_curve(log: Path, picture: Path, phases: Sequence[tuple[int, str]] = ()) -> None:
    """Draw the trainer's log: loss above, accuracies below, `phases` as named vertical lines."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    rows = list(csv.DictReader(log.open()))
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7, 5), layout="constrained")
    above.plot([int(r["step"]) for r in rows], [float(r["loss"]) for r in rows], color="#444444")
    above.set_ylabel("cross-entropy, training")
    names = {"one_object": "one object: top-1", "two_objects": "two objects: both in top two"}
    for (column, label), colour in zip(names.items(), ("#0b6fb8", "#d9730d"), strict=True):
        points = [(int(r["step"]), float(r[column])) for r in rows if r[column]]
        below.plot(*zip(*points, strict=True), marker="o", ms=3, label=label, color=colour)
    for axes in (above, below):
        axes.grid(alpha=0.25)
        for at, _ in phases:
            axes.axvline(at, color="#999999", ls=":", lw=1)
    for at, text in phases:
        above.annotate(text, (at, 0.97), xycoords=("data", "axes fraction"), fontsize=8, va="top")
    below.set(xlabel="step", ylabel="held-out scenes, full difficulty", ylim=(0, 1.01))
    below.legend(loc="lower right", frameon=False)
    figure.savefig(picture, dpi=110)
    plt.close(figure)
