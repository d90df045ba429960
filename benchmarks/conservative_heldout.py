"""Methods on scenes and photos that no choice has seen: paired differences to `conservative`.

    python benchmarks/conservative_heldout.py scenes FOLDER --methods conservative,complete \\
        --output results/...json
    python benchmarks/conservative_heldout.py score PHOTOS MODEL FOLDER --phase \\
        deletion,insertion,saco,gridpg:conservative,complete:200 --part 0 --parts 2
    python benchmarks/conservative_heldout.py report FOLDER --output results/...json

The photos are those of `conservative_variants.split`, the maps and metrics those of `jaxattr bench
methods`; what is done lies in the folder by metric, method and sixteen photos, so that several
processes share the work, none is lost, and a report takes what is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from conservative_variants import Variants, fellows_of, gain, scene_maps, shard_of, split

from jaxattr import metrics
from jaxattr.bench.explanations import maps as explaining
from jaxattr.bench.explanations import trials as asking
from jaxattr.bench.explanations.maps import LOSSES
from jaxattr.bench.explanations.run import MEASURES, measure, per_scene, rows
from jaxattr.bench.explanations.trials import Trials
from jaxattr.bench.methods import scoring as scoring
from jaxattr.bench.methods.maps import BLOB, RANDOM, Explainer, Row
from jaxattr.bench.methods.scoring import Shard
from jaxattr.checkpoints import load
from jaxattr.data.dataset import index
from jaxattr.methods import METHODS
from jaxattr.metrics.context import Fellows
from jaxattr.scenes.models import check_model
from jaxattr.vit import Model, initialize

SHARD = 16
OURS = "conservative"
LOWER = "deletion", "complexity"
SHORT = {"srg-28": 28}
"""SRG in fewer, equal steps, at a third of the cost."""


def score(arguments: argparse.Namespace) -> None:
    """Every phase in turn: metrics, methods, and how many photos."""
    model = load(str(arguments.model))
    made = initialize(
        model.config, jax.random.key(0), labels=model.labels, preprocessing=model.preprocessing
    )
    explainer = _Both(model, replace(made, name=model.name), 0)
    dataset = split(arguments.photos, model, held_out=True)
    whole, chance = shard_of(arguments.photos, dataset, model)
    fellows = fellows_of(whole, chance)
    print(int(whole.recognised.sum()), "recognised of", len(whole.names), flush=True)
    for phase in arguments.phase:
        asked, methods, count = phase.split(":")
        for number in range(arguments.part, -(-int(count) // SHARD), arguments.parts):
            members = slice(number * SHARD, (number + 1) * SHARD)
            part = Shard(
                whole.images[members], whole.labels[members], whole.names[members], {},
                whole.recognised[members], None,
            )  # fmt: skip
            for metric in asked.split(","):
                _score(arguments.folder, explainer, part, fellows, metric, methods, number)
            print(phase[:40], number, flush=True)


class _Both(Explainer):
    """Of methods, and of variants by their name in `conservative_variants`, which has a `; `."""

    def explain(self, row: Row, images: Any, labels: Any, names: Any, **options: Any) -> Any:
        """The maps of one row for the labels."""
        if "; " in row.name:
            model = options.get("model") or self.model
            return Variants(model, (row.name,)).explain(row, images, labels, names)
        return super().explain(row, images, labels, names, **options)


def _score(
    folder: Path, explainer: Explainer, part: Shard, fellows: Fellows, metric: str, methods: str,
    number: int,
) -> None:  # fmt: skip
    """One metric of one shard, for the methods that lack it."""
    wanted = [one for one in methods.split(",") if not _file(folder, metric, one, number).exists()]
    asked = [_row(name) for name in wanted]
    if not asked:
        return
    maps = {row.name: _maps(folder, explainer, part, row, number) for row in asked}
    part = part._replace(maps=maps)
    if metric in SHORT:
        stacked = np.stack([maps[row.name] for row in asked], axis=1)
        found = gain(explainer.model, part, stacked, steps=SHORT[metric])
    else:
        found = scoring.score(metrics.METRICS[metric], explainer, asked, part, lambda: fellows)
    for k, row in enumerate(asked):
        _write(_file(folder, metric, row.name, number), found[:, k])


def _row(name: str) -> Row:
    return (
        Row(name, None, "none") if name in (RANDOM, BLOB) else Row(name, METHODS[name], "trained")
    )


def _maps(folder: Path, explainer: Explainer, part: Shard, row: Row, number: int) -> np.ndarray:
    file = _file(folder, "maps", row.name, number)
    if not file.exists():
        _write(file, explainer.explain(row, part.images, part.labels, part.names))
    return np.load(file)


def _file(folder: Path, metric: str, method: str, number: int) -> Path:
    return folder / metric / f"{method} {number:03d}.npy"


def _write(file: Path, values: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        np.save(stream, values)
    part.rename(file)


def report(arguments: argparse.Namespace) -> None:
    """Means with intervals, and paired differences: above 0 where `conservative` is better."""
    result = []
    for folder in sorted(one for one in arguments.folder.iterdir() if one.name != "maps"):
        methods = sorted({one.name.rsplit(" ", 1)[0] for one in folder.glob("*.npy")})
        ours, sign = _shards(folder, arguments.ours), -1 if folder.name in LOWER else 1
        for method in methods:
            theirs = _shards(folder, method)
            shared = sorted(ours.keys() & theirs.keys())
            mean = metrics.bootstrap(np.concatenate(list(theirs.values())))
            row: dict[str, Any] = {"metric": folder.name, "method": method, "mean": list(mean)}
            if shared and method != arguments.ours:
                differences = [sign * (ours[one] - theirs[one]) for one in shared]
                row["ahead"] = list(metrics.bootstrap(np.concatenate(differences)))
            result.append(row)
    _print(result)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _shards(folder: Path, method: str) -> dict[int, np.ndarray]:
    files = sorted(folder.glob("*.npy"))
    pairs = [(one.stem.rsplit(" ", 1), one) for one in files]
    return {int(number): np.load(one) for (name, number), one in pairs if name == method}


def _print(found: Sequence[dict[str, Any]]) -> None:
    """Two Markdown tables: means, and by how much `conservative` is better."""
    asked = list(dict.fromkeys(row["metric"] for row in found))
    methods = list(dict.fromkeys(row["method"] for row in found))
    cells = {(row["method"], row["metric"]): row for row in found}
    for key in ("mean", "ahead"):
        print(f"| method | {' | '.join(asked)} |\n|---|{'--:|' * len(asked)}")
        for method in methods:
            shown = [_cell(cells.get((method, metric), {}).get(key)) for metric in asked]
            print(f"| {method} | {' | '.join(shown)} |")
        print()


def _cell(interval: Sequence[float] | None) -> str:
    if interval is None:
        return "–"
    value, low, high, count = interval
    return f"{value:.3f} [{low:.3f}, {high:.3f}] ({count})"


# ---- scenes --------------------------------------------------------------------------------------


def scenes_command(arguments: argparse.Namespace) -> None:
    """The scores of `jaxattr bench explanations`, and paired differences to `conservative`."""
    model = load("scenes")
    made = initialize(
        model.config, jax.random.key(arguments.seed), labels=model.labels,
        preprocessing=model.preprocessing, name="random weights",
    )  # fmt: skip
    methods = tuple(arguments.methods.split(","))
    drawn = tuple(one for one in methods if one in arguments.untrained.split(","))
    size, _ = check_model(model)
    scores, paired = [], []
    for draw in (asking.two_objects, asking.one_object, asking.twins):
        trials = draw(arguments.count, arguments.seed, size, model.config.grid)
        for kind, one, names in (("trained", model, methods), ("random weights", made, drawn)):
            found = _scene_maps(arguments.folder, one, trials, names, kind)
            print(trials.name, kind, flush=True)
            for name in names:
                scores += rows(trials, found[name], _facts(name), kind, arguments.seed)
            if kind == "trained":
                paired += _paired(trials, found, arguments.ours, methods, arguments.seed)
        for name, maps in (
            (RANDOM, explaining.random_maps(trials, arguments.seed)),
            (BLOB, explaining.centred_blob(trials)),
        ):
            row = Row(name, None, "none")
            scores += rows(
                trials, maps, _Facts(row.name, name == RANDOM, False), "none", arguments.seed
            )
    text = {"scores": [one._asdict() for one in scores], "paired": paired}
    arguments.output.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")


class _Facts(NamedTuple):
    name: str
    signed: bool
    target_dependent: bool


def _facts(name: str) -> Any:
    return _Facts(name, True, True) if "; " in name else METHODS[name]


def _scene_maps(
    folder: Path, model: Model, trials: Trials, names: Sequence[str], kind: str
) -> dict[str, np.ndarray]:
    """Made a few methods at a time, and kept."""
    made = {}
    for name in names:
        file = folder / trials.name / f"{name}, {kind}.npy"
        if not file.exists():
            if "; " in name:
                _, outputs = check_model(model)
                maps = scene_maps(model, trials, outputs, (name,), tuple(range(len(LOSSES))))
            else:
                maps = explaining.explain(model, trials, (METHODS[name],)).maps
            _write(file, np.asarray(maps[name]))
        made[name] = np.load(file)
    return made


def _paired(
    trials: Trials, found: dict[str, np.ndarray], ours: str, methods: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """By how much `conservative` is better, over scenes, where both are defined."""
    result = []
    for k, loss in enumerate(LOSSES):
        each = {
            name: per_scene(trials, measure(trials, found[name][:, k], signed=_facts(name).signed))
            for name in methods
        }
        for name in methods:
            for one in MEASURES[trials.name]:
                if name == ours or " / " in one:
                    continue
                sign = -1 if one in ("background_share", "likeness") else 1
                values = sign * (each[ours][one] - each[name][one])
                interval = list(metrics.bootstrap(values, seed=seed))
                facts = {"scenes": trials.name, "loss": loss, "measure": one, "method": name}
                result.append({**facts, "ahead": interval})
    return result


# ---- corners -------------------------------------------------------------------------------------


def corners_command(arguments: argparse.Namespace) -> None:
    """The share of a map's magnitude on the four corner patches, on photos that are recognised."""
    model = load(str(arguments.model))
    found = index(arguments.photos, model.labels)
    by_hash = [hashlib.sha256(one.encode()).hexdigest() for one in found.files]
    chosen = np.argsort(by_hash)[: 2 * arguments.count]
    files = tuple(found.files[i] for i in chosen)
    whole, _ = shard_of(
        arguments.photos, found._replace(files=files, targets=found.targets[chosen]), model
    )
    kept = np.flatnonzero(whole.recognised)[: arguments.count]
    rivals = np.full(len(kept), -1, np.int32)
    methods = tuple(arguments.methods.split(","))
    given = whole.images[kept], whole.labels[kept], rivals
    asked = tuple(METHODS[one] for one in methods)
    made = explaining.explain_images(model, *given, asked).maps
    rows_, columns = model.config.grid
    corners = np.zeros((rows_, columns), bool)
    corners[np.ix_((0, -1), (0, -1))] = True
    result = {"photos": len(kept), "even": float(corners.mean()), "share": {}}
    for name in methods:
        for k, loss in enumerate(LOSSES):
            sizes = np.abs(made[name][:, k].astype(np.float64))
            each = sizes / sizes.sum(axis=(1, 2), keepdims=True)
            share = list(metrics.bootstrap(each[:, corners].sum(axis=1)))
            apart = {f"{i},{j}": float(each[:, i, j].mean()) for i, j in np.argwhere(corners)}
            result["share"][f"{name}; {loss}"] = {"all": share, **apart}
            print(name, loss, [round(100 * one, 1) for one in share[:3]], apart, flush=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Score a part of the work, or report what is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    scoring_ = commands.add_parser("score")
    scoring_.add_argument("photos", type=Path)
    scoring_.add_argument("model", type=Path)
    scoring_.add_argument("folder", type=Path)
    scoring_.add_argument("--phase", action="append", required=True)
    scoring_.add_argument("--part", type=int, default=0)
    scoring_.add_argument("--parts", type=int, default=1)
    scoring_.set_defaults(run=score)
    scenes = commands.add_parser("scenes")
    scenes.add_argument("folder", type=Path)
    scenes.add_argument("--methods", default=",".join(METHODS))
    scenes.add_argument("--untrained", default="conservative,token_relevance,complete,positive")
    scenes.add_argument("--count", type=int, default=200)
    scenes.add_argument("--seed", type=int, default=4242)
    scenes.add_argument("--output", type=Path, required=True)
    scenes.set_defaults(run=scenes_command)
    corners = commands.add_parser("corners")
    corners.add_argument("photos", type=Path)
    corners.add_argument("model", type=Path)
    corners.add_argument("--methods", default="conservative,token_relevance,positive,complete")
    corners.add_argument("--count", type=int, default=120)
    corners.add_argument("--output", type=Path, required=True)
    corners.set_defaults(run=corners_command)
    reporting = commands.add_parser("report")
    reporting.add_argument("folder", type=Path)
    reporting.add_argument("--output", type=Path, required=True)
    reporting.set_defaults(run=report)
    for one in (scenes, reporting):
        one.add_argument("--ours", default=OURS, help="whose differences to the others are taken")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
