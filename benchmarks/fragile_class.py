"""Is a class found that was made fragile on purpose, and how often is one reported by chance?

    python benchmarks/fragile_class.py --output benchmarks/results/fragile-class.json

Drawn scenes and the embedded model. Planted, in one class at a time: its images at low contrast
(`contrast`; the answers for other classes stay as they are), or its logit lowered by a constant
(`head`; everything is asked again). Null: the labels of the images that were asked about permuted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxattr
from jaxattr.audit.evidence.gather import gather, make_receipt
from jaxattr.audit.findings.fragile_class import fragile_class
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import Ledger, open_ledger
from jaxattr.audit.probes import Probe, Subject, ask, pictures, rewriting
from jaxattr.audit.probes.lots import LEAST
from jaxattr.audit.probes.store import answers
from jaxattr.audit.statistics.fragility import compare_budgets
from jaxattr.data.dataset import index
from jaxattr.scenes import write_folder
from jaxattr.vit import Model

PROBES = {
    module.NAME: Probe(module.VERSION, module.questions, module.answer)
    for module in (rewriting, pictures)
}
LOWERED = 5.0
CONTRASTS = (0.7, 0.5)
NULLS = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images-per-class", type=int, default=16)
    parser.add_argument("--heads", type=int, default=2, help="classes with a lowered logit")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    model = jaxattr.load("scenes")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        each = arguments.images_per_class
        write_folder(root / "scenes", each, seed=arguments.seed, defects=(), masks=False)
        images = root / "scenes" / "images"
        ledger = audit(model, images, root / "as-is")
        result: dict[str, Any] = {"as it is": outcome(ledger)} | chance(ledger)
        print(json.dumps(result), flush=True)
        for contrast in CONTRASTS:
            rows = [faded(model, ledger, images, one, contrast) for one in range(12)]
            result[f"contrast {contrast}"] = summed(rows)
        heads = np.random.default_rng(arguments.seed).permutation(12)[: arguments.heads]
        rows = []
        for class_ in heads.tolist():
            found = audit(lowered(model, class_), images, root / f"head-{class_}")
            rows.append({"planted": model.labels[class_]} | outcome(found, class_))
        result["head"] = summed(rows)
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    result = {"found": sum(row["hit"] for row in rows), "of": len(rows), "sets": rows}
    print(json.dumps(result), flush=True)
    return result


def audit(model: Model, images: Path, folder: Path) -> Ledger:
    data = index(images, model.labels)
    receipt = make_receipt(model, data, total=len(data.files), maps=False)
    ledger = open_ledger(folder, receipt)
    gather(model, data, ledger, maps=False)
    ask(Subject(model, Analysis(ledger), images), PROBES)
    return ledger


def outcome(ledger: Ledger, planted: int = -1) -> dict[str, Any]:
    found = fragile_class(Analysis(ledger))
    names = ledger.receipt.labels
    told = [one.extra["levels"] + ["others"] + one.extra["others_levels"] for one in found]
    return {
        "levels": told,
        "hit": any(one.classes[0] == planted for one in found),
        "others": [names[one.classes[0]] for one in found if one.classes[0] != planted],
        "ratios": [round(one.effect or 0, 3) for one in found],
        "questions": len(answers(ledger, rewriting.NAME)),
    }


def chance(ledger: Ledger) -> dict[str, Any]:
    asked = answers(ledger, rewriting.NAME)
    budget = np.array([one.answer["budget"] for one in asked])
    label = np.array([one.question["label"] for one in asked])
    rng = np.random.default_rng(0)
    alarms = [len(compare_budgets(budget, rng.permutation(label)).fragile) for _ in range(NULLS)]
    passes = [one.answer["steps"] + 1 for one in asked]
    return {
        "permuted": {"sets": NULLS, "sets with an alarm": sum(one > 0 for one in alarms)},
        "forward and backward passes an image": round(float(np.mean(passes)), 2),
        "crossed": round(float(np.mean([one.answer["crossed"] for one in asked])), 4),
        "smallest ratio found with 80 % power": round(
            float(np.median(compare_budgets(budget, label).detectable)), 3
        ),
    }


def lowered(model: Model, class_: int) -> Model:
    head = dict(model.parameters["head"])
    head["bias"] = head["bias"].at[class_].add(-LOWERED)
    return replace(model, parameters={**model.parameters, "head": head})


def faded(model: Model, ledger: Ledger, images: Path, class_: int, contrast: float) -> Any:
    """One class's images at that contrast around their mean colour, the others as they are."""
    subject = Subject(model, Analysis(ledger), images)
    asked = answers(ledger, rewriting.NAME)
    budget, label = [], []
    for one in asked:
        if one.question["label"] == class_:
            image = subject.image(one.question["image"])
            mean = image.mean(axis=(0, 1))
            seen = rewriting._border(model, jnp.asarray(mean + contrast * (image - mean)), class_)
            if int(seen.steps) == 0:
                continue  # not predicted right any more: an audit would not ask
            budget.append(float(seen.budget))
        else:
            budget.append(one.answer["budget"])
        label.append(one.question["label"])
    row = {"planted": model.labels[class_], "left": label.count(class_), "hit": False}
    if row["left"] < LEAST:
        return row
    found = compare_budgets(np.array(budget), np.array(label))
    at = found.classes.tolist().index(class_)
    row |= {"hit": at in found.fragile, "ratio": round(float(found.ratio[at]), 3)}
    return row | {"q": round(float(found.q_value[at]), 4)}


if __name__ == "__main__":
    main()
