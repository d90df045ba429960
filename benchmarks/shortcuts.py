"""How well the audit finds planted shortcuts, and how often it reports what was not planted.

    python benchmarks/shortcuts.py scenes --seeds 0 1 2 --work WORK --output scenes.json
    python benchmarks/shortcuts.py stamps --seeds 0 1 --work WORK --output stamps.json \
        --model MODEL --train TRAIN --audited VAL

    python benchmarks/shortcuts.py given --ledger AUDIT --output given.json \
        --model MODEL --audited FOLDER

`scenes`: the embedded models that were trained on a mark or on a brick wall, their clean twin and
the plain model, on folders with and without the defect. `stamps`: see `stamped.py`. `given`: the
probes alone, on the ledger that `jaxattr audit` wrote of a folder as it is. Ledgers stay in WORK; a
run resumes where it stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import stamped

from jaxattr.audit.evidence.gather import gather, make_receipt
from jaxattr.audit.findings._shortcuts import verdicts
from jaxattr.audit.findings.shortcut_background import shortcut_background
from jaxattr.audit.findings.shortcut_place import shortcut_place
from jaxattr.audit.inference import places
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import Ledger, LedgerView, open_ledger, read_ledger
from jaxattr.audit.ledger.columns import unit_maps
from jaxattr.audit.probes import Probe, Subject, ask, background, pasting
from jaxattr.audit.probes.store import answers, load, save
from jaxattr.data.dataset import index

PROBES = {one.NAME: Probe(one.VERSION, one.questions, one.answer) for one in (pasting, background)}
SCENES = (
    ("mark", "scenes-watermark"),
    ("mark", "scenes-clean-twin"),
    ("bricks", "scenes-background"),
    ("bricks", "scenes-clean-twin"),
    ("plain", "scenes-clean-twin"),
    ("plain", "scenes"),
)
DEFECTS = {"mark": ["watermark:snail"], "bricks": ["background:snail=bricks"], "plain": ["none"]}
EACH = {"scenes": 24, "stamps": 16}
PLANTED, UNPLANTED = 6, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=["scenes", "stamps", "given"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--work", type=Path, default=Path("shortcuts"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--model", help="stamps: its head is trained again")
    parser.add_argument("--ledger", type=Path, help="given: what `jaxattr audit` wrote")
    parser.add_argument("--train", type=Path, help="stamps: one folder per class, for the head")
    parser.add_argument("--audited", type=Path, help="the folder that is audited")
    parser.add_argument("--compare", action="store_true", help="stamps: paste at other places, too")
    arguments = parser.parse_args()
    found = []
    kinds = {"scenes": scenes, "stamps": stamps, "given": given}
    for one in kinds[arguments.kind](arguments):
        found.append(one)
        print(json.dumps(one), flush=True)
        if arguments.output:
            arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def audited(model: Any, root: Path, folder: Path) -> Ledger:
    """The ledger of a folder, with the answers of both probes."""
    dataset = index(root, model.labels)
    receipt = make_receipt(model, dataset, total=len(dataset.files), method="complete")
    ledger = open_ledger(folder, receipt)
    gather(model, dataset, ledger)
    ask(Subject(model, Analysis(ledger), root), PROBES)
    return ledger


def reported(ledger: Ledger) -> dict[str, Any]:
    """Findings of both kinds, and every verdict behind them."""
    labels = ledger.receipt.labels
    findings = shortcut_place(Analysis(ledger)) + shortcut_background(Analysis(ledger))
    rows = [
        {
            "kind": one.kind,
            "class": labels[one.classes[0]],
            "box": one.extra.get("box"),
            "turned": one.effect,
            "over_controls": round(one.score, 3),
            "q": one.q_value,
        }
        for one in findings
        if one.p_value is not None
    ]
    controls = {"pasting": ("elsewhere", "third"), "background": ("third", "object")}
    tried = [
        {
            "probe": probe,
            "class": labels[one.label],
            "statistic": one.asked.question["statistic"],
            "shared": one.shared,
            "turned": round(one.share, 3),
            "over": [round(part.mean, 3) for part in one.over],
            "p": one.p_value,
        }
        for probe, names in controls.items()
        for one in verdicts(Analysis(ledger), probe, names)
    ]
    return {"findings": rows, "tried": tried}


def scenes(arguments: Any) -> Iterator[dict[str, Any]]:
    """One row for each seed, folder and model."""
    import jaxattr
    from jaxattr.scenes import write_folder
    from jaxattr.scenes.defects import parse

    for seed in arguments.seeds:
        for kind, name in SCENES:
            folder = arguments.work / f"{kind}-{seed}"
            if not (folder / "truth.parquet").exists():  # written last
                rmtree(folder, ignore_errors=True)
                write_folder(folder, EACH["scenes"], seed=seed, defects=parse(DEFECTS[kind]))
            # One name for all: functions are compiled once for models that differ in weights only.
            model = replace(jaxattr.load(name), name="scenes")
            ledger = audited(model, folder / "images", arguments.work / f"{name}-{kind}-{seed}")
            yield {"seed": seed, "folder": kind, "model": name, **reported(ledger)}


def given(arguments: Any) -> Iterator[dict[str, Any]]:
    """One row."""
    import jaxattr

    ledger = read_ledger(arguments.ledger)
    ask(Subject(jaxattr.load(arguments.model), Analysis(ledger), arguments.audited), PROBES)
    yield {"images": ledger.receipt.count, **reported(ledger)}


def stamps(arguments: Any) -> Iterator[dict[str, Any]]:
    """One row for each seed."""
    import jaxattr

    model, work = jaxattr.load(arguments.model), arguments.work
    work.mkdir(parents=True, exist_ok=True)
    plain = stamped.plain_features(model, arguments.train, 40, work / "plain40.npy")
    for seed in arguments.seeds:
        sets = stamped.draw_sets(seed, len(plain), PLANTED)
        kept = work / f"head-{seed}.npz"
        changed, right = stamped.shortcut_model(model, arguments.train, plain, sets, seed, kept)
        root = work / f"stamp-{seed}"
        if not root.exists():
            part = root.with_suffix(".part")
            rmtree(part, ignore_errors=True)
            stamped.write_audited(part, arguments.audited, sets, EACH["stamps"], seed)
            part.rename(root)
        ledger = audited(changed, root, work / f"ledger-{seed}")
        row = {"seed": seed, "accuracy_on_training": right, **ranking(ledger, root, sets)}
        row |= reported(ledger)
        row["pasted"] = pasted(
            Subject(changed, Analysis(ledger), root), sets, arguments.compare, seed
        )
        row["true_stamps"] = stamped.strength(model, changed, arguments.audited, sets)
        names = {changed.labels[one.label] for one in sets}
        row["planted"] = sorted(names)
        row["missed"] = sorted(names - {one["class"] for one in row["findings"]})
        row["false"] = sorted({one["class"] for one in row["findings"]} - names)
        yield row


def scans(ledger: LedgerView, root: Path) -> dict[str, places.Scan]:
    """The statistic of every class and place: of maps, of mean colours, of random maps."""
    columns = ledger.read("label", "map_positive", "map_label", "file")
    rng = np.random.default_rng(0)
    cells = columns["map_positive"].shape[1]
    values = {
        "positive map": unit_maps(columns["map_positive"])[..., None],
        "complete map": unit_maps(columns["map_label"])[..., None],
        "mean colour": np.stack([_colours(root / one, ledger) for one in columns["file"]]),
        "random map": unit_maps(np.abs(rng.normal(size=(len(columns["label"]), cells))))[..., None],
    }
    base, label = Analysis(ledger).places, columns["label"]
    found = {name: _scan(base, value, label) for name, value in values.items()}
    return found | {"positive map": base}


def _colours(path: Path, ledger: LedgerView) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        rows, columns = ledger.receipt.grid
        small = image.convert("RGB").resize((columns, rows), Image.Resampling.BOX)
    return np.asarray(small, np.float64).reshape(-1, 3) / 255


def _scan(base: places.Scan, value: np.ndarray, label: np.ndarray) -> places.Scan:
    """Maps count from above; colours, which have no sign, from both sides and by channel."""
    own = [value[label == one] for one in base.classes]
    mean = np.stack([one.mean(axis=0) for one in own])
    variance = np.stack([one.var(axis=0, ddof=1) for one in own])
    counts = np.array([len(one) for one in own])
    sides = (1, -1) if value.shape[2] > 1 else (1,)
    parts = [
        sign * places.compare(mean[..., channel], variance[..., channel], counts)
        for channel in range(value.shape[2])
        for sign in sides
    ]
    return base._replace(statistic=np.max(parts, axis=0), mean=np.ones_like(base.mean))


def ranking(ledger: LedgerView, root: Path, sets: list[stamped.Planted]) -> dict[str, Any]:
    """Average precision over classes, and how often the best cell lies in the stamp."""
    from sklearn.metrics import average_precision_score

    found: dict[str, Any] = {}
    for name, of in scans(ledger, root).items():
        truth = np.isin(of.classes, [one.label for one in sets])
        best = of.statistic.max(axis=1)
        hits = [_inside(one, int(of.statistic[_at(of, one.label)].argmax()), of) for one in sets]
        found[name] = {
            "AP": round(float(average_precision_score(truth, best)), 4),
            "place_right": sum(hits),
            "of": len(hits),
        }
    return {"ranking": found}


def _at(of: places.Scan, label: int) -> int:
    return int(np.flatnonzero(of.classes == label)[0])


def _inside(one: stamped.Planted, cell: int, of: places.Scan) -> bool:
    """Whether a cell shares an area with the stamp."""
    ends = [
        (first * side / stamped.SIDE, (first + stamped.STAMP) * side / stamped.SIDE)
        for first, side in zip(one.place, of.grid, strict=True)
    ]
    return all(
        low < at + 1 and at < high
        for (low, high), at in zip(ends, divmod(cell, of.grid[1]), strict=True)
    )


def pasted(
    subject: Subject, sets: list[stamped.Planted], compare: bool, seed: int
) -> dict[str, Any]:
    """AUC of the pasting test, planted classes against others, each at its own best place.

    `over_controls` is the rise of log p above that of the better control, `rise` alone the rise,
    `shared` the rise above the control of the shared pixels, 0 where there are none. With `compare`
    also at the best places of mean colours and of random maps, with half as many other classes.
    """
    from sklearn.metrics import roc_auc_score

    every = scans(subject.ledger, subject.root)
    truth = {one.label for one in sets}
    rng = np.random.default_rng((seed, 17))
    rest = rng.permutation([c for c in range(len(every["positive map"].classes)) if c not in truth])
    found = {}
    for name in ("positive map", "mean colour", "random map") if compare else ("positive map",):
        others = rest[: UNPLANTED if name == "positive map" else UNPLANTED // 2]
        labels = [*truth, *others.tolist()]
        wanted = [places.place(every[name], _at(every[name], label)) for label in labels]
        probe = Probe(
            pasting.VERSION,
            lambda analysis, wanted=wanted: pasting.raise_questions(analysis, wanted),
            pasting.answer,
        )
        key = f"pasting {name}".replace(" ", "-")
        if load(subject.ledger, key) is None:  # what the audit has asked is not asked again
            known = answers(subject.ledger, "pasting")
            save(subject.ledger, key, pasting.VERSION, known, complete=False)
        ask(subject, {key: probe})
        is_planted, rise, over, shared = [], [], [], []
        for one in answers(subject.ledger, key):
            after = np.array(one.answer["after"])
            gains = [
                (after - np.array(one.answer[c])).mean() for c in ("before", "elsewhere", "third")
            ]
            is_planted.append(one.question["class"] in truth)
            rise.append(gains[0])
            over.append(min(gains[1:]))
            same = {k: np.array(v) for k, v in one.answer["shared"].items()}
            shared.append((same["after"] - same["third"]).mean() if len(same["after"]) else 0.0)
        found[name] = {
            "AUC over_controls": round(float(roc_auc_score(is_planted, over)), 4),
            "AUC rise": round(float(roc_auc_score(is_planted, rise)), 4),
            "AUC shared": round(float(roc_auc_score(is_planted, shared)), 4),
            "planted, shared": [round(v, 2) for v, t in zip(shared, is_planted, strict=True) if t],
            "others, shared": [
                round(v, 2) for v, t in zip(shared, is_planted, strict=True) if not t
            ],
            "planted": [round(v, 2) for v, t in zip(over, is_planted, strict=True) if t],
            "others": [round(v, 2) for v, t in zip(over, is_planted, strict=True) if not t],
        }
    return found


if __name__ == "__main__":
    main()
