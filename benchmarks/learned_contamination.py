"""Score the finding of learned contamination, and ask what the pair map shows.

    jaxattr bench audit --model MODEL --images tiny-imagenet/train --output TRAIN  # two ledgers
    jaxattr bench audit --model MODEL --images tiny-imagenet/val --output VAL
    python benchmarks/learned_contamination.py --train TRAIN --val VAL --output OUT.json

Heads are trained on the features of one ledger with labels moved, and read on the other; needs the
extra `bench` (scikit-learn). Scenes and their models come with the package.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np

import jaxattr
from jaxattr import losses, scenes
from jaxattr.audit.findings.learned_contamination import EXCESS_FLOOR, Z_FLOOR
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.excess import Excess
from jaxattr.audit.ledger import Receipt, read_ledger
from jaxattr.bench.audit.labelled import Labelled, hold
from jaxattr.bench.audit.moving import Condition, confusion, plant
from jaxattr.bench.audit.scores import average_precision
from jaxattr.weights.training import check

RATES = (0.02, 0.05, 0.1, 0.25)
MODELS = ("scenes", "scenes-clean-twin", "scenes-contaminated")
OTHERS = ("scenes-watermark", "scenes-background", "scenes-missing-part")
LABEL, SOURCE = (scenes.CLASSES.index(name) for name in ("kite", "bald eagle"))


@click.command()
@click.option("--train", type=click.Path(exists=True, path_type=Path))
@click.option("--val", type=click.Path(exists=True, path_type=Path))
@click.option("--sets", default=3, show_default=True)
@click.option("--count", default=100, show_default=True, help="Scenes of each class.")
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(train: Path | None, val: Path | None, sets: int, count: int, output: Path) -> None:
    """Measure, and write OUTPUT."""
    result: dict[str, Any] = {"z": Z_FLOOR, "excess": EXCESS_FLOOR, "scenes_per_class": count}
    if train and val:
        result["heads"] = heads(hold(read_ledger(train)), hold(read_ledger(val)), sets)
    result["models"] = {name: whole_model(name, count) for name in (*MODELS, *OTHERS)}
    result["head_of_the_eagle"] = {name: on_the_part(name, count) for name in MODELS}
    output.write_text(json.dumps(result, indent=1) + "\n")


def heads(train: Labelled, val: Labelled, sets: int) -> list[dict[str, Any]]:
    """Average precision of excess and asymmetry, and what is listed, per kind and rate."""
    from sklearn.linear_model import LogisticRegression

    similarity, feature = confusion(train), train.columns["feature"].astype(np.float64)
    mean, spread = feature.mean(axis=0), feature.std(axis=0)
    rows = []
    for kind in ("confusable", "random"):
        for rate in RATES:
            found = []
            for seed in range(sets):
                planted = plant(train, Condition(kind, 0, rate), seed, similarity=similarity)
                model = LogisticRegression(C=0.05, max_iter=60, tol=1e-3)
                model.fit((feature - mean) / spread, planted.given.label)
                seen = model.decision_function((val.columns["feature"] - mean) / spread)
                logits = np.zeros(val.columns["logits"].shape)
                logits[:, model.classes_] = seen
                truth = np.zeros((len(val.classes),) * 2, bool)
                for pair in planted.pairs:
                    truth[tuple(np.searchsorted(val.classes, pair))] = True
                found.append(score(val.answer(logits), truth))
            means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
            rows.append({"kind": kind, "rate": rate, "sets": sets, **means})
            click.echo(rows[-1], err=True)
    return rows


def score(given: Labelled, truth: np.ndarray) -> dict[str, float]:
    """One set: how the planted pairs are ranked, and how many are listed."""
    of, ordered = Analysis(given).excess, ~np.eye(len(truth), dtype=bool)
    listed, mixed = passing(of), asymmetry(given)
    return {
        "excess_ap": average_precision(of.rate[ordered], truth[ordered]),
        "asymmetry_ap": average_precision(mixed[ordered], truth[ordered]),
        "z_ap": average_precision(of.z[ordered], truth[ordered]),
        "listed": float((listed & truth).sum()),
        "listed_wrongly": float((listed & ~truth).sum()),
    }


def passing(of: Excess) -> np.ndarray:
    """Pairs above both floors."""
    return (of.z >= Z_FLOOR) & (of.rate >= EXCESS_FLOOR)


def asymmetry(given: Labelled) -> np.ndarray:
    """Mean p_a on the images of b less mean p_b on those of a."""
    p = jax.nn.softmax(given.columns["logits"][:, given.classes].astype(np.float32), axis=1)
    place = np.searchsorted(given.classes, given.label)
    mean = np.stack([np.asarray(p)[place == one].mean(axis=0) for one in range(len(given.classes))])
    return mean.T - mean


def whole_model(name: str, count: int) -> dict[str, Any]:
    """The three pairs with the largest excess, and what is listed, on scenes without defects."""
    plans = [
        scenes.plan((check.HELD_OUT, 77, place, i), [shown])
        for place, shown in enumerate(scenes.CLASSES)
        for i in range(count)
    ]
    images = np.stack([scenes.render(plan, masks=False).image for plan in plans])
    logits = check.predict(jaxattr.load(name), images)
    label = np.repeat(np.arange(len(scenes.CLASSES)), count).astype(np.int32)
    total, nothing = len(label), np.zeros((len(label), 1), np.float32)
    receipt = Receipt(
        *(1, "", name, "", tuple(scenes.CLASSES), (12, 12), 1, {}, "", "", total, total, 64, {})
    )
    columns = {"index": np.arange(total), "label": label, "logits": logits, "feature": nothing}
    of = Analysis(Labelled(Path(), receipt, {**columns, "rival": label})).excess
    order = np.argsort(-of.rate, axis=None)[:3]
    return {
        "accuracy": float((logits.argmax(1) == label).mean()),
        "first": [entry(of, *divmod(int(i), len(scenes.CLASSES))) for i in order],
        "listed": [entry(of, int(a), int(b)) for a, b in np.argwhere(passing(of))],
    }


def entry(of: Excess, label: int, source: int) -> dict[str, Any]:
    """One pair in words and numbers."""
    pair = f"{scenes.CLASSES[label]} <- {scenes.CLASSES[source]}"
    return {"pair": pair, "excess": float(of.rate[label, source]), "z": float(of.z[label, source])}


def on_the_part(name: str, count: int) -> dict[str, list[float]]:
    """What the pair map kite - bald eagle makes of the white head, and what the head does.

    Mean and 95 % bootstrap interval over images: the positive share of the map's mass on the head,
    the share of all its positive mass that lies there, and the logit difference before and after a
    kite's head is drawn instead.
    """
    model = jaxattr.load(name)
    drawn = [scenes.draw((check.HELD_OUT, 88, i), ["bald eagle"]) for i in range(count)]
    images = np.stack([one.image for one in drawn])
    changed = np.stack([scenes.render(scenes.exchange(one.plan)).image for one in drawn])
    part = np.stack([one.parts[0]["head"] for one in drawn]).astype(np.float64)
    part = part.reshape(count, 12, 8, 12, 8).mean(axis=(2, 4))
    loss = losses.difference(LABEL, SOURCE)

    @jax.jit
    def explain(batch: jax.Array) -> jax.Array:
        one = jaxattr.METHODS["complete"].function
        return jax.lax.map(lambda image: one(model, image, loss), batch)

    maps = np.asarray(explain(images.astype(np.float32) / 127.5 - 1), np.float64)
    positive, axes = np.maximum(maps, 0), (1, 2)
    logits = [check.predict(model, batch).astype(np.float64) for batch in (images, changed)]
    values = {
        "positive_share_of_part": (positive * part).sum(axes) / (abs(maps) * part).sum(axes),
        "share_of_positive_on_part": (positive * part).sum(axes) / positive.sum(axes),
        "logit_as_drawn": logits[0][:, LABEL] - logits[0][:, SOURCE],
        "logit_with_the_other_head": logits[1][:, LABEL] - logits[1][:, SOURCE],
    }
    return {key: list(map(float, mean_and_interval(one))) for key, one in values.items()}


def mean_and_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and interval, as everywhere in the benchmarks."""
    from jaxattr.metrics import bootstrap

    return bootstrap(values)[:3]


if __name__ == "__main__":
    main()
