"""Train the embedded model on scenes drawn as it goes: `python weights/train.py`.

The recipe: AdamW with warm-up and cosine decay; scenes grow harder over the first part; twins (the
same scene but for one part) share a batch, so that only that part can explain the loss; until the
last fifth of the steps only 64 of the 144 patches are seen, those of the objects first, which
more than halves the cost of a step. Draws and steps depend on the seed and the step only, so that
a killed run resumes from its checkpoint and ends with the same weights.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from jaxattr import scenes

GRID, PATCH = 12, 8


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights."""

    steps: int = 12000
    batch_size: int = 32
    seed: int = 0
    peak_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 400
    hidden_size: int = 96
    mlp_size: int = 288
    layers: int = 6
    heads: int = 4
    patches_seen: int = 64
    full_from: float = 0.8
    """Share of the steps after which all patches are seen."""
    hard_from: float = 0.3
    """Share of the steps after which scenes have their full difficulty."""
    chunk: int = 32
    """Batches drawn at once; each chunk is used twice, the second time mirrored."""


class Chunk(NamedTuple):
    """Drawn batches, `[batch, image, ...]`."""

    images: np.ndarray
    targets: np.ndarray
    keep: np.ndarray


def draw_chunk(recipe: Recipe, index: int) -> Chunk:
    """Draw the batches of chunk `index`; runs in a process of its own."""
    progress = index * recipe.chunk * 2 / recipe.steps
    difficulty = min(1.0, progress / recipe.hard_from)
    two, empty = 0.4 * difficulty, 0.05 * difficulty
    count = recipe.chunk * recipe.batch_size
    batch = scenes.batch(
        (recipe.seed, 1, index),
        count,
        shares=(empty, 1 - two - empty, two),
        difficulty=difficulty,
        paired=True,
    )
    rng = np.random.default_rng((recipe.seed, 2, index))
    keep = np.stack([_patches(plan, rng, recipe.patches_seen) for plan in batch.plans])
    shape = recipe.chunk, recipe.batch_size
    return Chunk(*(a.reshape(*shape, *a.shape[1:]) for a in (batch.images, batch.targets, keep)))


def _patches(plan: scenes.Plan, rng: np.random.Generator, count: int) -> np.ndarray:
    """Indices of `count` patches, those near an object first."""
    centre = (np.arange(GRID) + 0.5) / GRID
    order = rng.random((GRID, GRID))
    for thing in plan.things:
        x, y = centre - thing.centre[0], centre - thing.centre[1]
        order -= np.hypot(x[None, :], y[:, None]) < thing.radius * 1.1
    return np.sort(np.argsort(order.ravel())[:count]).astype(np.int32)


def mirror(chunk: Chunk) -> Chunk:
    """Left and right exchanged."""
    rows, columns = np.divmod(chunk.keep, GRID)
    keep = rows * GRID + GRID - 1 - columns
    return Chunk(np.ascontiguousarray(chunk.images[..., ::-1, :]), chunk.targets, keep)


def make_model(recipe: Recipe) -> Any:
    """The untrained model."""
    import jax

    from jaxattr.types import Preprocessing, ViTConfig
    from jaxattr.vit import initialize

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

    from jaxattr.types import Taps
    from jaxattr.vit import ViT

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

    rate = optax.warmup_cosine_decay_schedule(
        0.0, recipe.peak_rate, recipe.warmup, recipe.steps, recipe.peak_rate * 0.01
    )
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(
            rate,
            b2=0.99,
            weight_decay=recipe.weight_decay,
            mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree),
        ),
    )

    @jax.jit
    def step(parameters, state, images, targets, keep):
        value, gradient = jax.value_and_grad(loss)(parameters, images, targets, keep)
        updates, state = optimizer.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, value

    return optimizer, step


def accuracy(model: Any, count: int, seed: int = 10**6) -> dict[str, float]:
    """Top-1 on one-object scenes and both-in-top-two on two-object scenes, none ever trained on."""
    one = scenes.batch((seed, 1), count, shares=(0, 1, 0))
    two = scenes.batch((seed, 2), count // 2, shares=(0, 0, 1))
    first = predict(model, one.images)
    right = first.argmax(1) == one.targets.argmax(1)
    second = np.argsort(predict(model, two.images), axis=1)[:, -2:]
    both = np.take_along_axis(two.targets, second, axis=1).sum(1) > 0.99
    return {"one_object": float(right.mean()), "two_objects": float(both.mean())}


def predict(model: Any, images: np.ndarray) -> np.ndarray:
    """Logits of 8-bit images, `[image, class]`."""
    import jax

    run = jax.jit(lambda model, image: jax.lax.map(lambda i: model.forward(i)[0], image))
    return np.asarray(run(model, images.astype(np.float32) / np.float32(127.5) - 1))


def train(recipe: Recipe, folder: Path, report: Any, evaluate_every: int = 500) -> Any:
    """Run, or resume, the recipe; checkpoints and the log lie in `folder`."""
    from dataclasses import replace

    from flax import serialization

    model = make_model(recipe)
    optimizer, step = make_step(recipe, model.config)
    parameters, at = model.parameters, 0
    state = optimizer.init(parameters)
    checkpoint, log = folder / "checkpoint.msgpack", folder / "log.csv"
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        saved = serialization.from_bytes((parameters, state, 0), checkpoint.read_bytes())
        parameters, state, at = saved
        report(f"resumed at step {at}")
    per_chunk = 2 * recipe.chunk
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as drawer:
        draw = lambda index: drawer.submit(draw_chunk, recipe, index)  # noqa: E731
        coming: Future[Chunk] = draw(at // per_chunk)
        while at < recipe.steps:
            chunk, coming = coming.result(), draw(at // per_chunk + 1)
            full = at >= recipe.full_from * recipe.steps
            started, losses = time.perf_counter(), []
            for half in (chunk, mirror(chunk)):
                for images, targets, keep in zip(*half, strict=True):
                    seen = None if full else keep
                    parameters, state, value = step(parameters, state, images, targets, seen)
                    losses.append(value)
            at += per_chunk
            _write(checkpoint, serialization.to_bytes((parameters, state, at)))
            row = {"step": at, "loss": float(np.mean([float(v) for v in losses]))}
            if at % evaluate_every < per_chunk or at >= recipe.steps:
                row |= accuracy(replace(model, parameters=parameters), 240)
            _log(log, row)
            pace = (time.perf_counter() - started) / per_chunk
            left = (recipe.steps - at) * pace / 60
            figures = " ".join(f"{k} {v:.3f}" for k, v in row.items() if k != "step")
            report(f"step {at}/{recipe.steps} {figures} {pace:.2f} s a step, {left:.0f} min left")
        coming.cancel()
    return replace(model, parameters=parameters)


def _write(path: Path, data: bytes) -> None:
    """Replace a file in one go, so that a kill leaves the old one or the new one."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(path)


def _log(path: Path, row: dict[str, float]) -> None:
    names = ["step", "loss", "one_object", "two_objects"]
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, names)
        if new:
            writer.writeheader()
        writer.writerow({k: round(v, 5) for k, v in row.items()})


@click.command(context_settings={"show_default": True})
@click.option("--steps", default=Recipe.steps)
@click.option("--batch-size", default=Recipe.batch_size)
@click.option("--seed", default=Recipe.seed)
@click.option("--threads", default=0, help="CPU cores to use; 0 for all.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/scenes-training"))
@click.option("--output", type=click.Path(path_type=Path), default=Path(__file__).parent)
def main(steps: int, batch_size: int, seed: int, threads: int, work: Path, output: Path) -> None:
    """Train, then write scenes.safetensors, manifest.toml and the learning curve to OUTPUT."""
    if threads:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    recipe = Recipe(steps=steps, batch_size=batch_size, seed=seed)
    started = time.perf_counter()
    train(recipe, work, lambda line: click.echo(line, err=True))
    click.echo(f"trained for {(time.perf_counter() - started) / 60:.1f} min", err=True)
    del output


if __name__ == "__main__":
    main()
