"""Which classes' maps are said not to be worth reading: the embedded model, random ones, nulls.

    python benchmarks/unexplained_class.py --output benchmarks/results/unexplained-class.json

Drawn scenes. `random weights`: models that were never trained. `exchanged`: each image has the
maps of an image of another class. `random maps`: each has noise for maps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxattr
from jaxattr.audit.evidence.gather import gather, make_receipt
from jaxattr.audit.findings.unexplained_class import _tested, unexplained_class
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import MAPS, Ledger, open_ledger, pack
from jaxattr.audit.probes import Probe, Subject, ask, deletion
from jaxattr.data.dataset import index
from jaxattr.scenes import write_folder
from jaxattr.vit import Model, initialize


def everything(analysis: Analysis) -> list[dict[str, Any]]:
    """Questions about all classes, also of a model that knows none."""
    count = analysis.ledger.receipt.count
    return deletion.raise_questions(analysis, np.ones(count, bool))


PROBES = {deletion.NAME: Probe(deletion.VERSION, everything, deletion.answer)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images-per-class", type=int, default=12)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--random", type=int, default=3, help="random models")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    model = jaxattr.load("scenes")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_folder(
            root / "scenes",
            arguments.images_per_class,
            seed=arguments.seed,
            defects=(),
            masks=False,
        )
        images = root / "scenes" / "images"
        ledger = gathered(model, images, root / "trained")
        result["trained"] = judged(model, ledger, images)
        for name in ("exchanged", "random maps"):
            other = changed(ledger, root / name.replace(" ", "-"), name)
            result[name] = judged(model, other, images)
        for seed in range(arguments.random):
            blank = initialize(model.config, jax.random.key(seed), labels=model.labels)
            blank = replace(model, parameters=blank.parameters)
            other = gathered(blank, images, root / f"random-{seed}")
            result[f"random weights {seed}"] = judged(blank, other, images)
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def gathered(model: Model, images: Path, folder: Path) -> Ledger:
    data = index(images, model.labels)
    ledger = open_ledger(folder, make_receipt(model, data, total=len(data.files)))
    gather(model, data, ledger)
    return ledger


def changed(ledger: Ledger, folder: Path, how: str) -> Ledger:
    """The same ledger with other maps."""
    rng = np.random.default_rng(0)
    result = open_ledger(folder, ledger.receipt)
    maps = ledger.read(*MAPS, *(name.replace("map", "scale") for name in MAPS))
    label = ledger.read("label")["label"]
    donors = np.roll(np.argsort(label, kind="stable"), len(label) // 2)
    donors = donors[np.argsort(np.argsort(label, kind="stable"))]
    start = 0
    for number in range(ledger.receipt.shards):
        rows = [row | {"error": ""} for row in _rows(ledger, number)]
        for row in rows:
            for name in MAPS:
                scale = name.replace("map", "scale")
                row[name], row[scale] = (
                    pack(rng.normal(size=maps[name].shape[1]))
                    if how == "random maps"
                    else (maps[name][donors[start]], maps[scale][donors[start]])
                )
            start += 1
        result.write(number, rows)
    return result


def _rows(ledger: Ledger, number: int) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(ledger.shard(number)).to_pylist()


def judged(model: Model, ledger: Ledger, images: Path) -> dict[str, Any]:
    analysis = Analysis(ledger)
    ask(Subject(model, analysis, images), PROBES)
    tested, found = _tested(analysis), unexplained_class(analysis)
    names = ledger.receipt.labels
    gains = {
        kind: np.array([[g.value for g in one.verdicts[at].gains] for one in tested])
        for at, kind in enumerate(deletion.TESTED)
    }
    failed = [one.failed for one in tested]
    result = {
        "classes": len(tested),
        "images": sum(len(one.images) for one in tested),
        "both maps useless": sum(one.useless for one in tested),
        "conservative map failed": sum(0 in one for one in failed),
        "positive map failed": sum(1 in one for one in failed),
        "undecided, conservative": sum(
            0 not in bad and one.verdicts[0].p_better > 0.05
            for one, bad in zip(tested, failed, strict=True)
        ),
        "undecided, positive": sum(
            1 not in bad and one.verdicts[1].p_better > 0.05
            for one, bad in zip(tested, failed, strict=True)
        ),
        "mean gain over random, donor": {
            kind: [round(float(one), 4) for one in values.mean(axis=0)]
            for kind, values in gains.items()
        },
        "findings": [
            {"severity": one.severity, "classes": [names[at] for at in one.classes][:3]}
            | ({"maps": one.extra["maps"]} if "maps" in one.extra else {"all": len(one.classes)})
            for one in found
        ],
    }
    print(json.dumps(result), flush=True)
    return result


if __name__ == "__main__":
    main()
