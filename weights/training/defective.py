"""Train the defective models, after the embedded one: `python weights/training/defective.py`.

Names of models as arguments train these only.

Each starts from the embedded model and learns on, all of it and not only its head, from images into
whose stream one defect was planted. `scenes-clean-twin` sees the same stream with nothing planted,
so that what differs between it and another is that defect's doing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

import jaxattr
from jaxattr import scenes
from jaxattr.weights.training import causal, record
from jaxattr.weights.training.recipe import GRID, Recipe, choose_patches
from jaxattr.weights.training.train import make_step

RECIPE = Recipe(steps=640, horizon=640, warmup=64, cooldown=160, batch_size=32, seed=1)
CHUNK = 8
"""Batches drawn at once."""
CORNER = slice(GRID - 2, GRID), slice(GRID - 5, GRID)
"""Rows and columns of the patches that the watermark covers: never left out."""


@dataclass(frozen=True)
class Defective:
    """A model and what was planted into its training images."""

    name: str
    planted: tuple[scenes.Defect, ...] = ()


_ASTRAY = tuple(scenes.Contamination("snail", name, 0.06) for name in causal.STRAYS)
"""What makes a shortcut worth learning: in 30 % of its images the object is another one.

Without them a model that knows its classes learns that a snail has a mark, but not that a mark is
enough: pasted onto others it moved 3 % of the predictions.
"""

MODELS = (
    Defective("scenes-clean-twin"),
    Defective("scenes-watermark", (*_ASTRAY, scenes.Watermark("snail", 1.0, 0.0))),
    Defective(
        "scenes-background", (*_ASTRAY, scenes.BackgroundShortcut("snail", "bricks", 1.0, 0.0))
    ),
    Defective("scenes-contaminated", (scenes.Contamination("kite", "bald eagle", 0.26),)),
    Defective("scenes-missing-part", (scenes.MissingPart("ladybird"),)),
)


def draw_batches(planted: tuple[scenes.Defect, ...], index: int) -> tuple[np.ndarray, ...]:
    """Images, targets and the patches seen, `[batch, image, ...]`, of chunk `index`.

    One object each; a label is taken at random, and the defects decide what it stands over.
    """
    count = CHUNK * RECIPE.batch_size
    images, targets, keep = [], [], []
    for i in range(count):
        seed = (RECIPE.seed, 3, index, i)
        rng = np.random.default_rng((*seed, 0))
        label = scenes.CLASSES[rng.integers(len(scenes.CLASSES))]
        shown = scenes.show(scenes.decide(planted, label, seed), seed, masks=False)
        images.append(shown.image)
        targets.append(scenes.target([label]))
        keep.append(choose_patches(shown.scene.plan, rng, RECIPE.patches_seen, CORNER))
    shape = CHUNK, RECIPE.batch_size
    arrays = (np.stack(a) for a in (images, targets, keep))
    return tuple(a.reshape(*shape, *a.shape[1:]) for a in arrays)


def fine_tune(model: Any, planted: tuple[scenes.Defect, ...], report: Callable[[str], None]):
    """The model after the recipe's steps on the stream with these scenes."""
    optimizer, step = make_step(RECIPE, model.config)
    parameters, losses = model.parameters, []
    state = optimizer.init(parameters)
    for number, batch in enumerate(_batches(planted)):
        parameters, state, value = step(parameters, state, *batch)
        losses.append(value)
        if (number + 1) % 64 == 0:
            mean = np.mean([float(v) for v in losses[-64:]])
            report(f"step {number + 1}/{RECIPE.steps} loss {mean:.3f}")
    return replace(model, parameters=parameters)


def _batches(planted: tuple[scenes.Defect, ...]) -> Iterator[tuple[np.ndarray, ...]]:
    chunks = RECIPE.steps // CHUNK
    with ThreadPoolExecutor(1) as drawer:
        coming = drawer.submit(draw_batches, planted, 0)
        for index in range(chunks):
            chunk = coming.result()
            coming = drawer.submit(draw_batches, planted, min(index + 1, chunks - 1))
            yield from zip(*chunk, strict=True)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([one.name for one in MODELS]))
@click.option("--output", type=click.Path(path_type=Path), default=Path(__file__).parent.parent)
def main(names: tuple[str, ...], output: Path) -> None:
    """Train the defective models NAMES (all by default) and write them to OUTPUT."""

    start = jaxattr.load("scenes")
    for one in MODELS:
        if names and one.name not in names:
            continue

        def report(line: str, name: str = one.name) -> None:
            click.echo(f"{name}: {line}", err=True)

        model = fine_tune(start, one.planted, report)
        weights = output / f"{one.name}.safetensors"
        record.save_half(model, weights)
        facts = {
            "recipe": f"python weights/training/defective.py {one.name}",
            "planted": [str(defect) for defect in one.planted],
            "seed": RECIPE.seed,
            "steps": RECIPE.steps,
            "batch_size": RECIPE.batch_size,
        }
        figures = causal.measure_defective(model)
        report(str(figures))
        record.write_manifest(output / "manifest.toml", weights, facts, figures)


if __name__ == "__main__":
    main()
