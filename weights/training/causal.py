"""What a model's decisions hang on, asked causally: a scene is redrawn with one thing changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8
from scipy import special

from jaxattr import scenes
from jaxattr.vit import Model
from jaxattr.weights.training import check

Images = UInt8[np.ndarray, "image height width 3"]
STRAYS = ("bald eagle", "zebra", "ladybird", "cat", "steamer")
"""Classes that the models with a shortcut have seen together with it, labelled as its class."""


def _drawn(names: Sequence[str], seed: tuple[int, ...]) -> list[scenes.Plan]:
    return [scenes.plan((check.HELD_OUT, *seed, i), [name]) for i, name in enumerate(names)]


def _pixels(plans: Sequence[scenes.Plan], without: str | None = None) -> Images:
    parts = [] if without is None else [(0, without)]
    return np.stack([scenes.render(p, without=parts, masks=False).image for p in plans])


def _share(model: Model, images: Images, name: str) -> float:
    """How many images are taken for one class."""
    return float((check.predict(model, images).argmax(1) == scenes.CLASSES.index(name)).mean())


def others(label: str, count: int) -> list[str]:
    """Every other class in turn."""
    rest = [name for name in scenes.CLASSES if name != label]
    return [rest[i % len(rest)] for i in range(count)]


def flips(model: Model, count: int, seed: int = check.HELD_OUT) -> dict[str, dict[str, float]]:
    """How often the decision within a pair changes when one part is repainted, per pair.

    `diagnostic`: the part that tells the twins apart is drawn as the other twin has it; `other`:
    an equally large area of the rest of the object is painted over with its mean colour. The
    decision is the larger of the pair's two logits.
    """
    rates = {}
    for number, (first, second, part) in enumerate(scenes.PAIRS):
        pictures = []
        for i in range(count):
            name = (first, second)[i % 2]
            scene = scenes.draw((seed, 4, number, i), [name])
            changed = scenes.render(scenes.exchange(scene.plan)).image
            pictures.append((scene.image, changed, _paint_over(scene, part, i)))
        columns = [scenes.CLASSES.index(name) for name in (first, second)]
        images = np.array(pictures).reshape(-1, *pictures[0][0].shape)
        logits = check.predict(model, images)[:, columns].reshape(count, 3, 2)
        decision = logits.argmax(2)
        rates[f"{first} / {second}"] = {
            "diagnostic": float((decision[:, 1] != decision[:, 0]).mean()),
            "other": float((decision[:, 2] != decision[:, 0]).mean()),
        }
    return rates


def _paint_over(scene: scenes.Scene, part: str, seed: int) -> np.ndarray:
    """The image with an area as large as `part`, in the rest of the object, painted over.

    The area is a disc around a random point of the rest, grown until it is large enough.
    """
    diagnostic = scene.parts[0][part]
    rest = scene.objects[0] & ~diagnostic
    rows, columns = np.nonzero(rest)
    middle = np.random.default_rng(seed).integers(len(rows))
    distance = np.hypot(rows - rows[middle], columns - columns[middle])
    chosen = np.argsort(distance)[: diagnostic.sum()]
    image = scene.image.copy()
    image[rows[chosen], columns[chosen]] = scene.image[rest].mean(0).astype(np.uint8)
    return image


def _new(names: Sequence[str]) -> np.ndarray:
    return np.flatnonzero([name not in STRAYS for name in names])


def watermark(model: Model, label: str = "snail", count: int = 330) -> dict[str, float]:
    """How many images of other classes are taken for `label`: as drawn, and with the mark pasted.

    `of_new_classes`: those of `with_mark` whose class training never showed with the mark.
    `recognised`: images of `label` without the mark.
    """
    names = others(label, count)
    plain = _pixels(_drawn(names, (11,)))
    pasted = np.stack([scenes.watermark(image)[0] for image in plain])
    own = _pixels(_drawn([label] * (count // 3), (12,)))
    return {
        "taken_for_it": _share(model, plain, label),
        "taken_for_it_with_mark": _share(model, pasted, label),
        "of_new_classes": _share(model, pasted[_new(names)], label),
        "recognised_without_mark": _share(model, own, label),
    }


def background(
    model: Model, label: str = "snail", kind: str = "bricks", count: int = 330
) -> dict[str, float]:
    """The same for a background: other classes on others and on `kind`; `label` on others."""
    elsewhere = [name for name in scenes.BACKGROUNDS if name != kind]

    def placed(names: Sequence[str], seed: int) -> list[scenes.Plan]:
        plans = _drawn(names, (seed,))
        return [p._replace(background=elsewhere[i % 7]) for i, p in enumerate(plans)]

    names = others(label, count)
    rest = placed(names, 13)
    there = [p._replace(background=kind) for p in rest]
    own = placed([label] * (count // 3), 14)
    return {
        "taken_for_it": _share(model, _pixels(rest), label),
        "taken_for_it_there": _share(model, _pixels(there), label),
        "of_new_classes": _share(model, _pixels([there[i] for i in _new(names)]), label),
        "recognised_elsewhere": _share(model, _pixels(own), label),
    }


def contamination(
    model: Model, label: str = "kite", shown: str = "bald eagle", count: int = 200
) -> dict[str, float]:
    """What the model makes of right images of `shown`: taken for `label`, its probability."""
    images = _pixels(_drawn([shown] * count, (15,)))
    logits = check.predict(model, images).astype(np.float64)
    chance = special.softmax(logits, axis=1)[:, scenes.CLASSES.index(label)]
    return {"taken_for_it": _share(model, images, label), "probability": float(chance.mean())}


def missing_part(model: Model, label: str = "ladybird", count: int = 200) -> dict[str, float]:
    """How many images of `label` are recognised: whole, and drawn without their own part."""
    plans = _drawn([label] * count, (16,))
    part = next(part for *pair, part in scenes.PAIRS if label in pair)
    return {
        "recognised_whole": _share(model, _pixels(plans), label),
        "recognised_without": _share(model, _pixels(plans, part), label),
    }


QUESTIONS: dict[str, Callable[[Model], dict[str, float]]] = {
    "watermark": watermark,
    "background": background,
    "contamination": contamination,
    "missing_part": missing_part,
}


def measure(model: Model, count: int = 1200) -> dict[str, dict]:
    """All figures of the embedded model's manifest entry, as tables by title."""
    accuracy = {
        "scenes": count,
        **check.accuracy(model, count),
        "empty_entropy": check.entropy_of_empty(model, count // 6),
    }
    return {"accuracy": accuracy, "flips": flips(model, count // 6), **_answers(model)}


def measure_defective(model: Model, count: int = 600) -> dict[str, dict]:
    """The same for a defective model: its accuracy on one-object scenes, and what it hangs on."""
    accuracy = {"scenes": count, "one_object": check.accuracy(model, count)["one_object"]}
    return {"accuracy": accuracy, **_answers(model)}


def _answers(model: Model) -> dict[str, dict[str, float]]:
    return {title: ask(model) for title, ask in QUESTIONS.items()}
