"""Train the embedded model on scenes drawn as it goes: `python weights/training/train.py`.

The recipe: AdamW with warm-up and cosine decay; scenes grow harder at first; twins (the same scene
but for one part) share a batch, so that only that part can explain the loss; until the last few
hundred steps only 64 of the 144 patches are seen, those of the objects first, which more than
halves the cost of a step. Draws and steps depend on the seed and the step only, so that a killed
run resumes from its checkpoint and ends with the same weights.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from jaxattr import scenes
from jaxattr.weights.training.recipe import GRID, PATCH, Recipe, draw_chunk, mirror

EVALUATE_EVERY = 500
CHECKPOINT = "checkpoint.msgpack"
Report = Callable[[str], None]


def make_model(recipe: Recipe) -> Any:
    """The untrained model."""
    import jax

    from jaxattr.vit import Preprocessing, ViTConfig, initialize

    config = ViTConfig(
        image_size=(GRID * PATCH, GRID * PATCH),
        patch_size=(PATCH, PATCH),
        hidden_size=recipe.hidden_size,
        layers=recipe.layers,
        heads=recipe.heads,
        mlp_size=recipe.mlp_size,
        classes=len(scenes.CLASSES),
    )
    preprocessing = Preprocessing(resize=config.image_size)
    return initialize(
        config,
        jax.random.key(recipe.seed),
        labels=scenes.CLASSES,
        preprocessing=preprocessing,
        name="scenes",
    )


def make_step(recipe: Recipe, config: Any) -> tuple[Any, Any]:
    """The optimizer, and the jitted step `(parameters, state, images, targets, keep)`."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import linen as nn

    from jaxattr.vit import Taps, ViT

    def logits(module: ViT, image: jax.Array, keep: jax.Array | None) -> jax.Array:
        x = module.embed(image)
        if keep is not None:
            x = jnp.concatenate([x[:1], x[1:][keep]])
        for block in module.blocks:
            x, _ = block(x, Taps(), Taps())
        return module.classify(module.features(x))

    apply = nn.apply(logits, ViT(config))

    def loss(parameters, images, targets, keep):
        images = images.astype(jnp.float32) / 127.5 - 1
        axes = (None, 0, None if keep is None else 0)
        predicted = jax.vmap(apply, axes)({"params": parameters}, images, keep)
        return optax.softmax_cross_entropy(predicted, targets).mean()

    cosine = optax.warmup_cosine_decay_schedule(
        0.0, recipe.peak_rate, recipe.warmup, recipe.horizon, recipe.peak_rate * 0.01
    )

    def rate(count):
        return cosine(count) * jnp.clip((recipe.steps - count) / recipe.cooldown, 0.01, 1)

    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.contrib.muon(
            lambda count: rate(count) * recipe.muon_rate / recipe.peak_rate,
            weight_decay=recipe.weight_decay,
            adam_b2=0.99,
            adam_learning_rate=rate,
            muon_weight_dimension_numbers=_matrices,
        ),
    )

    @jax.jit
    def step(parameters, state, images, targets, keep):
        value, gradient = jax.value_and_grad(loss)(parameters, images, targets, keep)
        updates, state = optimizer.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, value

    return optimizer, step


def _matrices(parameters: Any) -> Any:
    """Which parameters Muon updates: the blocks' matrices; Adam has the rest."""
    import jax
    from optax.contrib import MuonDimensionNumbers

    def one(path: Any, leaf: Any) -> Any:
        return MuonDimensionNumbers() if "block" in str(path[0]) and leaf.ndim == 2 else None

    return jax.tree_util.tree_map_with_path(one, parameters)


def train(recipe: Recipe, work: Path, report: Report, stop_at: int) -> tuple[Any, int]:
    """Run, or resume, the recipe until step `stop_at`: the model and the step reached.

    Checkpoint and log lie in `work`.
    """
    model = make_model(recipe)
    optimizer, step = make_step(recipe, model.config)
    parameters, state, at = _resume(work, (model.parameters, optimizer.init(model.parameters)))
    if at:
        report(f"resumed at step {at}")
    per_chunk, paces = 2 * recipe.chunk, []
    with ThreadPoolExecutor(1) as drawer:
        coming = drawer.submit(draw_chunk, recipe, at // per_chunk) if at < stop_at else None
        while coming is not None:
            started, chunk, losses = time.perf_counter(), coming.result(), []
            more = at + per_chunk < stop_at
            coming = drawer.submit(draw_chunk, recipe, at // per_chunk + 1) if more else None
            full = at >= recipe.steps - recipe.full
            for half in (chunk, mirror(chunk)):
                for images, targets, keep in zip(*half, strict=True):
                    seen = None if full else keep
                    parameters, state, value = step(parameters, state, images, targets, seen)
                    losses.append(value)
            at += per_chunk
            _save(work, (parameters, state, at))
            row = {"step": at, "loss": float(np.mean([float(v) for v in losses]))}
            if at % EVALUATE_EVERY < per_chunk:
                row |= _accuracy(replace(model, parameters=parameters))
            _log(work / "log.csv", row)
            paces.append((time.perf_counter() - started) / per_chunk)
            pace = float(np.median(paces[1:] or paces))  # the first chunk compiles
            report(_progress(row, recipe, pace))
    return replace(model, parameters=parameters), at


def _accuracy(model: Any) -> dict[str, float]:
    from jaxattr.weights.training import check

    return check.accuracy(model, 240)


def _progress(row: dict[str, Any], recipe: Recipe, pace: float) -> str:
    left = (recipe.steps - row["step"]) * pace / 60
    figures = " ".join(f"{k} {v:.3f}" for k, v in row.items() if k != "step")
    return f"step {row['step']}/{recipe.steps} {figures} {pace:.2f} s a step, {left:.0f} min left"


def _resume(work: Path, start: tuple[Any, Any]) -> tuple[Any, Any, int]:
    from flax import serialization

    work.mkdir(parents=True, exist_ok=True)
    checkpoint = work / CHECKPOINT
    if not checkpoint.exists():
        return *start, 0
    saved: Any = serialization.from_bytes((*start, 0), checkpoint.read_bytes())
    return saved


def _save(work: Path, saved: tuple[Any, Any, int]) -> None:
    """Replace the checkpoint in one go, so that a kill leaves the old one or the new one."""
    from flax import serialization

    partial = work / "partial"
    partial.write_bytes(serialization.to_bytes(saved))
    partial.replace(work / CHECKPOINT)


def _log(path: Path, row: dict[str, Any]) -> None:
    names = ["step", "loss", "one_object", "two_objects"]
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, names)
        if new:
            writer.writeheader()
        writer.writerow({k: round(v, 5) for k, v in row.items()})


def install(model: Any, recipe: Recipe, at: int, work: Path, output: Path, report: Report) -> None:
    """Write the weights, what they reach, and how they were made."""
    from jaxattr.checkpoints import native
    from jaxattr.weights.training import causal, record

    weights = output / "scenes.safetensors"
    native.save(model, weights)
    weights.chmod(0o644)
    default = Recipe()
    options = {"--steps": "steps", "--batch-size": "batch_size", "--seed": "seed"}
    given = [
        f" {option} {getattr(recipe, name)}"
        for option, name in options.items()
        if getattr(recipe, name) != getattr(default, name)
    ]
    facts = {
        "recipe": "python weights/training/train.py" + "".join(given),
        "seed": recipe.seed,
        "steps": at,
        "batch_size": recipe.batch_size,
        "parameters": sum(leaf.size for leaf in _leaves(model)),
    }
    figures = causal.measure(model)
    for title, table in figures.items():
        report(f"{title}: {table}")
    record.write_manifest(output / "manifest.toml", weights, facts, figures)
    phases = [
        (int(recipe.hard_from * recipe.horizon), "full difficulty"),
        (recipe.steps - recipe.full, "all patches"),
    ]
    record.draw_curve(work / "log.csv", output / "learning-curve.png", phases)


def _leaves(model: Any) -> list[Any]:
    import jax

    return jax.tree.leaves(model.parameters)


@click.command(context_settings={"show_default": True})
@click.option("--steps", default=Recipe.steps)
@click.option("--batch-size", default=Recipe.batch_size)
@click.option("--seed", default=Recipe.seed)
@click.option("--threads", default=0, help="CPU cores to use; 0 for all.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/scenes-training"))
@click.option("--output", type=click.Path(path_type=Path), default=Path(__file__).parent.parent)
@click.option("--install-only", is_flag=True, help="Train no further; use the last checkpoint.")
def main(
    steps: int,
    batch_size: int,
    seed: int,
    threads: int,
    work: Path,
    output: Path,
    install_only: bool,
) -> None:
    """Train, then write scenes.safetensors, manifest.toml and the learning curve to OUTPUT."""
    if threads:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    recipe = Recipe(steps=steps, batch_size=batch_size, seed=seed)
    started = time.perf_counter()

    def report(line: str) -> None:
        click.echo(line, err=True)

    model, at = train(recipe, work, report, stop_at=0 if install_only else steps)
    report(f"trained for {(time.perf_counter() - started) / 60:.1f} min")
    install(model, recipe, at, work, output, report)


if __name__ == "__main__":
    main()
