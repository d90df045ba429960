"""Score what a training folder certifies of learned contamination: found, missed, false.

    jaxattr bench audit --model MODEL --images tiny-imagenet/train --output TRAIN  # two ledgers
    jaxattr bench audit --model MODEL --images tiny-imagenet/val --output VAL
    python benchmarks/certified_contamination.py --train TRAIN --val VAL --output OUT.json

Heads are trained on the features of one ledger with labels moved, and read on the other; then the
folder with the moved labels is given as the training folder. Needs the extra `bench`
(scikit-learn).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from sklearn.linear_model import LogisticRegression

from jaxattr.audit.findings.learned_contamination import EXCESS_FLOOR, Z_FLOOR
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import read_ledger
from jaxattr.audit.statistics.rates import LEVEL, q_values
from jaxattr.bench.audit.labelled import Labelled, hold
from jaxattr.bench.audit.moving import Condition, confusion, plant

RATES = (0.02, 0.05, 0.1, 0.25)
ASKED = ("learned", "not learned", "too sure", "too unsure", "folder without it")
"""The head saw the wrong labels; a clean head, also at temperatures .5 and 2; a clean folder."""
TEMPERATURE = {"too sure": 0.5, "too unsure": 2.0}
Head = Callable[[Labelled], Labelled]


@click.command()
@click.option("--train", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--val", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--sets", default=5, show_default=True)
@click.option("--seed", default=10, show_default=True, help="Of the first set.")
@click.option("--rate", "rates", type=float, multiple=True, default=RATES, show_default=True)
@click.option("--ask", "asked", type=click.Choice(ASKED), multiple=True, default=ASKED)
@click.option("--halved", is_flag=True, help="Audit half of the training images, too.")
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(
    train: Path,
    val: Path,
    sets: int,
    seed: int,
    rates: tuple[float, ...],
    asked: tuple[str, ...],
    halved: bool,
    output: Path,
) -> None:
    """Measure, and write OUTPUT."""
    folder, audited = hold(read_ledger(train)), hold(read_ledger(val))
    if halved:
        folder, audited = share_out(folder, audited)
    sizes = [int(np.bincount(one.label).max()) for one in (folder, audited)]
    result: dict[str, Any] = {"training_each": sizes[0], "audited_each": sizes[1], "rows": []}
    similarity, clean = confusion(folder), fit(folder)
    for kind in ("confusable", "random"):
        for rate in rates:
            found: dict[str, list[dict[str, float]]] = {name: [] for name in asked}
            for one in range(seed, seed + sets):
                planted = plant(folder, Condition(kind, 0, rate), one, similarity=similarity)
                for name in asked:
                    mixed = name in ("learned", "folder without it")
                    head = fit(planted.given) if mixed else at(TEMPERATURE.get(name, 1), clean)
                    given = folder if name == "folder without it" else planted.given
                    found[name].append(score(audited, given, head, set(planted.pairs)))
            for name, each in found.items():
                means = {key: float(np.mean([one[key] for one in each])) for key in each[0]}
                result["rows"].append(
                    {"kind": kind, "rate": rate, "model": name, "sets": sets, **means}
                )
                click.echo(result["rows"][-1], err=True)
            output.write_text(json.dumps(result, indent=1) + "\n")


def share_out(train: Labelled, val: Labelled) -> tuple[Labelled, Labelled]:
    """Every second image of a training class goes to the audited folder."""
    order = np.argsort(train.label, kind="stable")
    place = np.empty(len(order), np.int64)
    starts = np.searchsorted(train.label[order], train.label[order])
    place[order] = np.arange(len(order)) - starts
    kept, given = (train.pick(np.flatnonzero(place % 2 == half)) for half in (0, 1))
    columns = {
        name: np.concatenate([values, given.columns[name]]) for name, values in val.columns.items()
    }
    receipt = replace(val.receipt, count=len(columns["label"]))
    return kept, Labelled(val.folder, receipt, columns)


def fit(folder: Labelled) -> Head:
    """A logistic regression on the features, and what it says of any images."""
    feature = folder.columns["feature"].astype(np.float64)
    mean, spread = feature.mean(axis=0), feature.std(axis=0)
    model = LogisticRegression(C=0.05, max_iter=60, tol=1e-3)
    model.fit((feature - mean) / spread, folder.label)

    def head(given: Labelled) -> Labelled:
        logits = np.zeros(given.columns["logits"].shape)
        seen = (given.columns["feature"] - mean) / spread
        logits[:, model.classes_] = model.decision_function(seen)
        return given.answer(logits)

    return head


def at(temperature: float, head: Head) -> Head:
    """The same head with its logits divided."""

    def scaled(given: Labelled) -> Labelled:
        seen = head(given)
        return seen.answer(seen.columns["logits"] / temperature)

    return scaled


def score(
    audited: Labelled, folder: Labelled, head: Head, planted: set[tuple[int, int]]
) -> dict[str, float]:
    """One set: pairs the folder holds, pairs certified, and those that are ranked without it."""
    here = replace(head(audited), training=head(folder))
    classes = here.classes
    tests = {
        (int(classes[one.label]), int(classes[one.source])): one for one in Analysis(here).learned
    }
    certified = {pair for pair, one in tests.items() if one.certified}
    plain = dict(
        zip(
            tests,
            q_values(np.array([one.p_value for one in tests.values()]), len(tests)),
            strict=True,
        )
    )
    by_plain = {pair for pair, one in tests.items() if plain[pair] <= LEVEL}
    of = Analysis(here).excess
    passing = np.argwhere((of.z >= Z_FLOOR) & (of.rate >= EXCESS_FLOOR))
    ranked = {(int(classes[a]), int(classes[b])) for a, b in passing}
    false = len(certified - planted)
    return {
        "planted": len(planted),
        "held": len(set(tests) & planted),
        "held_wrongly": len(set(tests) - planted),
        "certified": len(certified & planted),
        "certified_wrongly": false,
        "certified_by_plain_bh": len(by_plain & planted),
        "false_discovery_rate": false / max(len(certified), 1),
        "ranked": len(ranked & planted),
        "ranked_wrongly": len(ranked - planted),
    }


if __name__ == "__main__":
    main()
