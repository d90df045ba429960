"""Whole models that learned from wrong labels: what a training folder certifies, right and wrong.

    python benchmarks/certified_scenes.py --output benchmarks/results/certified-scenes.json

Drawn scenes. The model `scenes-contaminated` was trained on kites of which 26 % were bald eagles,
`scenes-clean-twin` on the same stream without them. Both read a held-out folder without defects,
beside a training folder with that defect and beside one without, each as either model sees it; a
stream has no folder, so one is drawn again in its place. One pair of 132 is planted.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import jaxattr
from jaxattr.audit.evidence.gather import gather, make_receipt
from jaxattr.audit.findings.contaminated_pair import contaminated_pair
from jaxattr.audit.findings.learned_contamination import learned_contamination
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import Ledger, open_ledger
from jaxattr.data.dataset import index
from jaxattr.scenes import CLASSES, write_folder
from jaxattr.scenes.defects import parse
from jaxattr.vit import Model

MODELS = ("scenes-contaminated", "scenes-clean-twin")
DEFECTS = {"with it": "contamination:kite=bald eagle:26%", "without": "none"}
PAIR = CLASSES.index("kite"), CLASSES.index("bald eagle")


@click.command()
@click.option("--sets", default=5, show_default=True)
@click.option("--seed", default=40, show_default=True, help="Of the first set.")
@click.option("--training", default=150, show_default=True, help="Images of a class, training.")
@click.option("--audited", default=100, show_default=True, help="Images of a class, audited.")
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(sets: int, seed: int, training: int, audited: int, output: Path) -> None:
    """Measure, and write OUTPUT."""
    rows: list[dict[str, Any]] = []
    for number in range(seed, seed + sets):
        with tempfile.TemporaryDirectory() as temporary:
            for row in one_set(Path(temporary), number, training, audited):
                rows.append({"seed": number, **row})
                click.echo(rows[-1], err=True)
        result = {"training_each": training, "audited_each": audited, "rows": rows}
        output.write_text(json.dumps(result, indent=1) + "\n")


def one_set(folder: Path, seed: int, training: int, audited: int) -> list[dict[str, Any]]:
    """Three folders, two models."""
    names = {"held out": ("none", audited, 0)}
    names |= {name: (text, training, 1 + i) for i, (name, text) in enumerate(DEFECTS.items())}
    for name, (text, each, part) in names.items():
        write_folder(folder / name, each, seed=10 * seed + part, defects=parse([text]), masks=False)
    # One name for all: functions are compiled once for models that differ in weights only.
    models = {name: replace(jaxattr.load(name), name="scenes") for name in MODELS}
    ledgers = {
        (name, one): seen(model, folder / one, folder / name / one)
        for name, model in models.items()
        for one in names
    }
    return [
        {"model": name, "training_seen_by": by, "beside": beside, **score(given)}
        for name in MODELS
        for by in MODELS
        for beside in DEFECTS
        for given in [replace(ledgers[name, "held out"], training=ledgers[by, beside])]
    ]


def seen(model: Model, images: Path, folder: Path) -> Ledger:
    """What the model sees of a folder, without maps."""
    data = index(images / "images", model.labels)
    receipt = make_receipt(model, data, total=len(data.files), method="complete")
    ledger = open_ledger(folder, receipt)
    gather(model, data, ledger, maps=False)
    return ledger


def score(given: Ledger) -> dict[str, Any]:
    """Pairs that the training folder holds by its own test, and those certified in the model."""
    assert given.training is not None
    held = [one.classes for one in contaminated_pair(Analysis(given.training))]
    certified = [
        one.classes for one in learned_contamination(Analysis(given)) if one.q_value is not None
    ]
    of = Analysis(given).excess
    return {
        "held": PAIR in held,
        "held_wrongly": len(set(held) - {PAIR}),
        "certified": PAIR in certified,
        "certified_wrongly": len(set(certified) - {PAIR}),
        "excess": float(of.rate[PAIR]),
        "z": float(of.z[PAIR]),
    }


if __name__ == "__main__":
    main()
