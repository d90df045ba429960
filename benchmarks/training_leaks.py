"""Plant copies of the images of one split in another, and score the audit that looks for them.

    python benchmarks/training_leaks.py plant --train T --val V --output F   # folders of classes
    jaxattr audit --no-probes --model MODEL --images F/train --output F/audit-train
    jaxattr audit --no-probes --model MODEL --images F/val --training F/audit-train --output F/audit
    python benchmarks/training_leaks.py score --folder F --output OUT.json

A third of the copies is equal byte by byte, the others are encoded again, shifted by 4 % of the
side or brightened; a third lies in the folder of another class.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

CHANGES = ("exact", "re-encoded", "exact", "shifted", "exact", "brightened")
SHIFT, QUALITY, GAIN = 0.04, 60, 1.2


@click.group()
def main() -> None:
    """Plant, then score."""


@main.command()
@click.option("--train", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--val", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--each", default=20, show_default=True, help="Images of a class and split.")
@click.option("--copies", default=60, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def plant(train: Path, val: Path, each: int, copies: int, seed: int, output: Path) -> None:
    """Write OUTPUT/train, OUTPUT/val and OUTPUT/truth.json."""
    rng = np.random.default_rng(seed)
    classes = sorted(one.name for one in val.iterdir() if one.is_dir())
    drawn: dict[str, list[Path]] = {}
    for name, source in (("train", train), ("val", val)):
        drawn[name] = []
        for class_ in classes:
            files = sorted((source / class_).iterdir())
            for i in sorted(rng.permutation(len(files))[:each].tolist()):
                target = output / name / class_ / files[i].name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(files[i], target)
                drawn[name].append(target)
    for folder in (val.parent, val):
        if (folder / "words.txt").is_file():
            shutil.copyfile(folder / "words.txt", output / "words.txt")
    truth = []
    for i, at in enumerate(sorted(rng.permutation(len(drawn["val"]))[:copies].tolist())):
        file, change = drawn["val"][at], CHANGES[i % len(CHANGES)]
        class_ = file.parent.name
        if i % 9 in (2, 5, 6):
            class_ = str(rng.choice([one for one in classes if one != class_]))
        exact = change == "exact"
        target = output / "train" / class_ / f"copy-{i:03d}{file.suffix if exact else '.jpg'}"
        if exact:
            shutil.copyfile(file, target)
        else:
            changed(Image.open(file).convert("RGB"), change).save(target, quality=QUALITY)
        names = (
            str(one.relative_to(output / split))
            for one, split in ((file, "val"), (target, "train"))
        )
        truth.append([*names, change])
    (output / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


def changed(image: Image.Image, change: str) -> Image.Image:
    """The picture, shifted (its edge repeated), brightened, or as it is."""
    pixels = np.asarray(image, np.float64)
    if change == "shifted":
        step = max(1, round(SHIFT * pixels.shape[1]))
        pixels = np.pad(pixels, ((step, 0), (step, 0), (0, 0)), mode="edge")[:-step, :-step]
    elif change == "brightened":
        pixels = GAIN * pixels + 10
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@main.command()
@click.option("--folder", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def score(folder: Path, output: Path) -> None:
    """Compare FOLDER/audit with what was planted."""
    planted = {
        (val, train): change
        for val, train, change in json.loads((folder / "truth.json").read_text())
    }
    audit = json.loads((folder / "audit" / "findings.json").read_text())
    copies = [one for one in audit["findings"] if one["kind"] == "duplicate_image"]
    leaks = [one for one in copies if "training" in one["extra"]]
    found: dict[tuple[str, str], dict[str, Any]] = {
        (image["file"], other["file"]): one
        for one in leaks
        for image in one["images"]
        for other in one["extra"]["training"]
    }
    right = [pair for pair in found if pair in planted]
    disagree = [Path(a).parent != Path(b).parent for a, b in right]
    said = [found[pair]["extra"]["across_classes"] for pair in right]
    result = {
        "audited": audit["count"],
        "training": audit["training"]["count"],
        "planted": Counter(planted.values()),
        "found": Counter(planted[pair] for pair in right),
        "false": sorted(pair for pair in found if pair not in planted),
        "other_copies": len(copies) - len(leaks),
        "labels_disagree": sum(disagree),
        "labels_disagree_said_rightly": disagree == said,
        "severity": Counter(f"{planted[pair]}: {found[pair]['severity']}" for pair in right),
        "least_correlation": {
            change: min(found[pair]["effect"] for pair in right if planted[pair] == change)
            for change in sorted({planted[pair] for pair in right})
        },
    }
    output.write_text(json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
