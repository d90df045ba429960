"""The tables of `guidance.md`: guided maps against unguided ones, where the truth is known.

`python docs/notebook/guidance_figures.py [MODEL]` explains held-out scenes of one object, alone
and beside guides that are drawn and chosen as `jaxattr explain --guide auto` does, and writes the
tables.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxattr import checkpoints as models
from jaxattr import metrics, scenes
from jaxattr.audit.evidence.compute import strongest_rival
from jaxattr.bench.explanations import run as explanations
from jaxattr.bench.explanations import trials
from jaxattr.bench.explanations.maps import centred_blob
from jaxattr.data import images
from jaxattr.experiments import guides
from jaxattr.experiments.guidance import Layout, own_part, stitch
from jaxattr.gradients import over_images
from jaxattr.methods import METHODS

PAGE = Path(__file__).with_name("guidance.md")
MARK = "<!-- tables -->"
SCENES, GUIDES, DRAWN = 100, 8, 12
MEASURES = {
    "iou_best": "IoU, best",
    "iou_zero": "IoU, zero",
    "background_share": "on background",
    "positive_in_target": "+ in object",
    "sign_accuracy": "sign right",
}
LAYOUTS = {"squeeze": Layout(), "crop": Layout(resize="crop")}
NAMES = "complete", "positive"
LOSSES = "logit", "difference"
ALONE = "complete, alone, logit"


def main(name: str = "scenes") -> None:
    model = models.load(name)
    asked = trials.one_object(SCENES, 0, model.config.image_size[0], model.config.grid)
    arrays = np.stack([images.normalize(one, model.preprocessing) for one in asked.images])
    outputs = np.array([model.labels.index(one) for one in scenes.CLASSES])
    label = outputs[asked.label].astype(np.int32)
    logits = np.asarray(classify(model, arrays))
    chosen, against = choose(model, logits, label)
    found = {
        f"{name}, alone, {loss}": np.asarray(maps)[:, index]
        for name, maps in alone(model, arrays, label).items()
        for index, loss in enumerate(LOSSES)
    }
    found["centred blob"] = np.asarray(centred_blob(asked)[:, 0])
    spread, seen = {}, {}
    for rule, layout in LAYOUTS.items():
        maps, beside = guided(model, arrays, label, chosen, against, layout)
        best = np.argsort(-np.asarray(beside), axis=-1)[..., :2]
        seen[rule] = float((best == label[:, None, None]).any(axis=-1).mean())
        for name in NAMES:
            for index, loss in enumerate(LOSSES):
                one = np.asarray(maps[name])[:, :, index]  # [scene, guide, row, column]
                found[f"{name}, {GUIDES} guides, {loss}, {rule}"] = one.mean(axis=1)
                if rule == "squeeze":
                    found[f"{name}, 1 guide, {loss}, {rule}"] = one[:, 0]
                norms = [np.sqrt((part**2).sum((-2, -1))) for part in (one.std(1), one.mean(1))]
                spread[f"{name}, {loss}, {rule}"] = float(np.median(norms[0] / norms[1]))
    text = tables(asked, found)
    text += "\n\nThe label is among the canvas' two most probable classes: " + ", ".join(
        f"{rule} {share:.0%}" for rule, share in seen.items()
    )
    text += (
        f".\n\nSpread / mean over {GUIDES} guides, median over scenes: "
        + "; ".join(f"{key} {value:.2f}" for key, value in spread.items())
        + "."
    )
    before, _, after = PAGE.read_text(encoding="utf-8").split(MARK)
    PAGE.write_text(f"{before}{MARK}\n\n{text}\n\n{MARK}{after}", encoding="utf-8")
    print(text)


def tables(asked, found) -> str:
    """The scores of each kind of map, and each one's paired difference to the plain one."""
    scores = {
        key: explanations.measure(asked, maps, signed="complete" in key)
        for key, maps in found.items()
    }
    head = f"| map | {' | '.join(MEASURES.values())} |\n| --- |{' --: |' * len(MEASURES)}\n"
    rows, differences = [], []
    for key, one in scores.items():
        cells = [_cell(metrics.bootstrap(one[name])) for name in MEASURES]
        rows.append(f"| {key} | {' | '.join(cells)} |")
        if key != ALONE:
            paired = [_cell(metrics.bootstrap(one[n] - scores[ALONE][n]), "+") for n in MEASURES]
            differences.append(f"| {key} | {' | '.join(paired)} |")
    return (
        head + "\n".join(rows) + f"\n\nPaired differences to `{ALONE}`, percentage points:\n\n"
        f"{head}" + "\n".join(differences)
    )


def _cell(interval, sign: str = "") -> str:
    if np.isnan(interval.value):
        return "–"
    value, low, high = (f"{100 * one:{sign}.0f}" for one in interval[:3])
    return f"{value} [{low}, {high}]"


def choose(model, logits, label):
    """The guides of each scene, `[scene, guide, ...]` normalised, and their classes."""
    pixels, names = guides.drawn(model.config.image_size[0], DRAWN)
    arrays = np.stack([images.normalize(one, model.preprocessing) for one in pixels])
    targets = np.array([model.labels.index(name) for name in names], np.int32)
    bank = guides.Bank(pixels, targets, np.asarray(classify(model, arrays)), names)
    alike = guides.similarity(model)
    places = np.array(
        [
            guides.choose(bank, guides.far(alike, one, int(target)), int(target), GUIDES)
            for one, target in zip(logits, label, strict=True)
        ]
    )
    return arrays[places], targets[places]


@jax.jit
def classify(model, arrays):
    return over_images(lambda image: model.forward(image)[0], arrays)


def explain(model, image, target, other):
    """The maps of two methods for two losses; one backward pass serves all four."""

    def maps(which):
        loss = Partial(_loss, target, other, which)
        return {name: METHODS[name].function(model, image, loss) for name in NAMES}

    return jax.vmap(maps)(jnp.arange(len(LOSSES)))


def _loss(target, other, which, logits):
    return jnp.stack([logits[target], logits[target] - logits[other]])[which]


@jax.jit
def alone(model, arrays, label):
    def one(image, target):
        return explain(model, image, target, strongest_rival(model.forward(image)[0], target))

    return over_images(one, arrays, label)


@partial(jax.jit, static_argnames="layout")
def guided(model, arrays, label, chosen, against, layout):
    """What `jaxattr.guidance.guided` computes, for two losses and methods in one pass."""

    def one(image, target, beside, others):
        def on_canvas(guide, other):
            canvas = stitch(image, guide, layout=layout)
            size, maps = model.config.image_size, explain(model, canvas, target, other)
            own = {name: own_part(one, size, layout=layout) for name, one in maps.items()}
            return own, model.forward(canvas)[0]

        return over_images(on_canvas, beside, others)

    return over_images(one, arrays, label, jnp.asarray(chosen), against)


if __name__ == "__main__":
    main(*sys.argv[1:])
