"""The tables of `bench-explanations.md`, its picture, and the checks behind its reasons.

`python docs/notebook/bench_explanations.py` writes the tables and the picture, and prints the
checks: whether the model itself knows both objects, and what right signs depend on.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxattr import checkpoints as models
from jaxattr import losses, metrics, scenes
from jaxattr.bench.explanations import run as explanations
from jaxattr.bench.explanations import trials
from jaxattr.bench.explanations.figure import draw
from jaxattr.cli.bench.explanations_table import text
from jaxattr.data import images
from jaxattr.gradients import over_images, readout, to_map, walk_back
from jaxattr.gradients.corrections import rollout, with_residual
from jaxattr.methods import METHODS
from jaxattr.plot.figures import encode
from jaxattr.vit import Taps

PAGE = Path(__file__).with_name("bench-explanations.md")
MARK = "<!-- tables -->"
SCENES, CHECKED = 200, 60
UNTRAINED = (
    "conservative",
    "token_relevance",
    "raw_attention",
    "rollout",
    "positive",
    "complete",
    "absolute",
)
"""The methods of which the page shows the rows with random weights; the others' say the same."""
SCALES = (0.2, 0.4, 0.6, 0.8, 1.0)


def main() -> None:
    model = models.load("scenes")
    results = explanations.run(model, count=SCENES, report=print)
    note = f"model {model.name}, {SCENES} scenes of each kind, seed 0"
    PAGE.with_suffix(".png").write_bytes(encode(draw(results, note), "png"))
    before, _, after = PAGE.read_text(encoding="utf-8").split(MARK)
    recognised(results)
    tables = text(list(filter(shown, results)), "md", {})
    PAGE.write_text(f"{before}{MARK}\n\n{tables}\n\n{MARK}{after}", encoding="utf-8")
    check(model)


def shown(score: explanations.Score) -> bool:
    """Whether the page has it; scenes whose objects are recognised are nearly all of them."""
    if score.scenes == explanations.SEEN:
        return False
    return score.model != "random weights" or score.method in UNTRAINED


def recognised(results: list[explanations.Score]) -> None:
    """Print how far scenes that the model recognises differ from all of two objects."""
    rows = {(one.scenes, *one[1:5]): one.value for one in results if one.model == "trained"}
    far = {
        key: abs(value - rows["two objects", *key[1:]])
        for key, value in rows.items()
        if key[0] == explanations.SEEN and np.isfinite(value)
    }
    key = max(far, key=lambda one: far[one])
    print(f"recognised scenes: at most {far[key]:.3f} from all, {' '.join(key[1:])}")


def check(model) -> None:
    """Print where the signs of two-object scenes get lost."""
    asked = trials.two_objects(CHECKED, 0, model.config.image_size[0], model.config.grid)
    arrays = prepare(model, asked.images)
    logits = np.asarray(classify(model, arrays))
    causal(model, asked, logits)
    found = {k: np.asarray(v) for k, v in variants(model, arrays, asked.label, asked.rival).items()}
    for name, maps in found.items():
        right = metrics.sign_accuracy(maps, asked.target, asked.opponent)
        print(f"{name}: both signs right {right.mean():.0%}")
    right = metrics.sign_accuracy(found["complete, difference"], asked.target, asked.opponent)
    each = np.arange(len(right))
    margin = np.abs(logits[each, asked.label] - logits[each, asked.rival])
    for part in np.array_split(np.argsort(margin, kind="stable"), 4):
        print(f"|difference of logits| {margin[part].mean():.2f}: right {right[part].mean():.0%}")
    for index, name in enumerate(scenes.CLASSES):
        chosen = asked.label == index
        print(f"target {name}: right {right[chosen].mean():.0%} of {chosen.sum()}")


def causal(model, asked, logits) -> None:
    """Redraw each scene without one object: does the loss move as it should?"""
    alone = []
    for number in range(CHECKED):
        plan = trials.scene_of_two(number, 0, model.config.image_size[0]).plan
        pictures = [
            scenes.render(plan._replace(things=(thing,)), masks=False).image
            for thing in plan.things
        ]
        # For the first object as the target, then for the second: without it, without the rival.
        alone += [pictures[1], pictures[0], pictures[0], pictures[1]]
    moved = np.asarray(classify(model, prepare(model, alone))).reshape(len(logits), 2, -1)
    each = np.arange(len(logits))
    for name, against in (("logit", 0), ("difference", 1)):

        def loss(values, against=against):
            return values[each, asked.label] - against * values[each, asked.rival]

        lowers = loss(moved[:, 0]) < loss(logits)
        raises = loss(moved[:, 1]) > loss(logits)
        print(
            f"{name}: without the target lower {lowers.mean():.0%}, without the rival higher "
            f"{raises.mean():.0%}, both {(lowers & raises).mean():.0%}"
        )


def prepare(model, pictures):
    return np.stack([images.normalize(one, model.preprocessing) for one in pictures])


@jax.jit
def classify(model, arrays):
    return over_images(lambda image: model.forward(image)[0], arrays)


@jax.jit
def variants(model, arrays, label, rival):
    """Maps that differ from the complete correction in one thing each, the rules among them."""

    def one(image, a, b):
        loss, complete = losses.difference(a, b), METHODS["complete"].function
        conservative = METHODS["conservative"].function
        attention = model.forward(image)[1].attention
        return {
            "complete, logit": complete(model, image, losses.target_logit(a)),
            "complete, difference": complete(model, image, loss),
            "complete, log-odds": complete(model, image, losses.log_odds(a)),
            "conservative, logit": conservative(model, image, losses.target_logit(a)),
            "conservative, difference": conservative(model, image, loss),
            "conservative, log-odds": conservative(model, image, losses.log_odds(a)),
            "complete, last three blocks": complete(model, image, loss, start_layer=3),
            "summed over blocks, no product": summed(model, image, loss),
            "gradient along scaled attention": integrated(model, image, loss, attention),
            "gradient at the attention itself": integrated(model, image, loss, attention, (1.0,)),
            "one patch at a time painted grey": occluded(model, image, loss),
        }

    return over_images(one, arrays, label, rival)


def summed(model, image, loss):
    """`Σ_l E_h(∇A_l ⊙ A_l)`, the class token's row: no products of signs."""

    def fold(row, layer):
        return row + (layer.gradient * layer.attention)[:, 0].mean(axis=0)

    start = jnp.zeros_like(readout(model.config))
    return to_map(model.config, walk_back(model, image, loss, fold, start).state)


def integrated(model, image, loss, attention, scales=SCALES):
    """The complete correction with the gradient's mean over all attention scaled up from zero."""

    def gradient(scale):
        def run(held):
            return loss(model.forward(image, replace=Taps(attention=held))[0])

        return jax.grad(run)(scale * attention)

    mean = jax.lax.map(gradient, jnp.array(scales, jnp.float32)).mean(axis=0)
    return to_map(model.config, rollout(with_residual((mean * attention).mean(axis=1))))


def occluded(model, image, loss):
    """How much the loss falls when one patch takes the image's mean colour."""
    (height, width), (rows, columns) = model.config.patch_size, model.config.grid
    mean = image.mean((0, 1), keepdims=True)

    def without(patch):
        row = jnp.arange(rows * height) // height == patch // columns
        column = jnp.arange(columns * width) // width == patch % columns
        return loss(model.forward(jnp.where((row[:, None] & column)[..., None], mean, image))[0])

    lost = loss(model.forward(image)[0]) - jax.lax.map(without, jnp.arange(rows * columns))
    return lost.reshape(rows, columns)


if __name__ == "__main__":
    main()
