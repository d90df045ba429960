"""What findings and report cost on a ledger of 100,000 images and 1,000 classes, simulated.

    python benchmarks/ledger.py --folder LEDGERS --output benchmarks/results/ledger.json

Writes ledgers of 25,000 and 100,000 images with the library's own `Ledger` (once; a folder that
holds one is used again) and measures each in processes of their own: all findings, every finder's
share, summary and report, peak memory. No model runs: features are drawn around class means in
groups of five that are alike, logits are a linear head's, maps and thumbnails are noise with a
place and a class. Wrong labels in pairs, uniform wrong labels and copies are planted; the result
counts how many of them were found.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

GROUP, GRID, FEATURES, SHARD = 5, (14, 14), 192, 64
CONFUSABLE, RANDOM, RATE, NOISE = 20, 20, 0.10, 0.01
COPIES = 400
SURE = 1.5
"""How many times too sure the head is."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the ledgers are kept")
    parser.add_argument("--images", type=int, nargs="+", default=[25_000, 100_000])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2, help="that write the ledger")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(PARTS[arguments.part](arguments.folder)))
        return
    results = []
    for count in arguments.images:
        world = World(count, arguments.classes)
        folder = arguments.folder / f"{count}x{arguments.classes}"
        write(world, folder, arguments.processes)
        result: dict[str, Any] = {"images": count, "classes": arguments.classes}
        for part in PARTS:
            command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            result[part] = json.loads(done.stdout)
        result["files_mib"] = sizes(folder)
        result["planted"] = compare(world, folder)
        results.append(result)
        print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class World:
    """A simulated folder: every image is a function of its index."""

    images: int
    classes: int

    def __hash__(self) -> int:
        return hash((self.images, self.classes))

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The planted pairs (label, source), disjoint in their classes."""
        order = np.random.default_rng(1).permutation(self.classes // GROUP) * GROUP
        alike = [(int(one), int(one) + 1) for one in order[:CONFUSABLE]]
        rest = order[CONFUSABLE : CONFUSABLE + 2 * RANDOM]
        return alike + [(int(a), int(b)) for a, b in zip(rest[::2], rest[1::2], strict=False)]

    def labels(self) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
        """Truth and given label of every image, and which are copies of which; sorted by label."""
        generator = np.random.default_rng(2)
        truth = np.arange(self.images) % self.classes
        given = np.where(generator.random(self.images) < NOISE, generator.permutation(truth), truth)
        for label, source in self.pairs:
            members = np.flatnonzero(truth == source)
            given[members[: max(1, round(RATE * len(members)))]] = label
        order = np.argsort(given, kind="stable")
        copies = generator.choice(self.images - 1, 2 * COPIES * self.images // 100_000 + 2, False)
        pairs = zip(copies[::2].tolist(), copies[1::2].tolist(), strict=False)
        return truth[order], given[order], dict(pairs)

    def means(self) -> np.ndarray:
        """Class means: groups far apart, their classes near one another."""
        generator = np.random.default_rng(3)
        groups = generator.normal(size=(-(-self.classes // GROUP), FEATURES)).astype(np.float32)
        own = generator.normal(size=(self.classes, FEATURES)).astype(np.float32)
        return 0.42 * np.repeat(groups, GROUP, axis=0)[: self.classes] + 0.17 * own


@cache
def _tables(world: World) -> tuple[np.ndarray, np.ndarray, dict[int, int], np.ndarray]:
    return (*world.labels(), world.means())


def rows(world: World, number: int) -> list[dict[str, Any]]:
    """The rows of one shard."""
    from jaxattr.audit.hashing import packed_hash
    from jaxattr.audit.ledger import MAPS, pack

    truth, given, copies, centres = _tables(world)
    indices = range(number * SHARD, min((number + 1) * SHARD, world.images))
    white = np.stack([_white(index, truth, copies, centres) for index in indices])
    bias = -0.5 * (centres**2).sum(axis=1)
    noise = np.random.default_rng((4, number)).normal(size=(len(indices), world.classes))
    head = SURE * (white @ centres.T + bias)
    logits = (head + 0.5 * noise).astype(np.float32)
    features = (white * _spread()).astype(np.float32)
    # Over three views the feature is the same, and the head's own noise is drawn anew for two.
    views = np.random.default_rng((11, number)).normal(size=noise.shape)
    means = (head + (0.5 * noise + 0.5 * np.sqrt(2) * views) / 3).astype(np.float32)
    found = []
    for at, index in enumerate(indices):
        generator = np.random.default_rng((5, index))
        photo, label = _photo(index, truth, copies), int(given[index])
        others = logits[at].copy()
        others[label] = -np.inf
        row = {"index": index, "file": f"{label:04d}/{index:07d}.jpg", "label": label, "error": ""}
        row |= {"sha256": hashlib.sha256(photo).hexdigest(), "thumbnail": photo}
        row |= {"hash": packed_hash(photo)}
        row |= {"prediction": int(logits[at].argmax()), "rival": int(others.argmax())}
        row |= {"logits": logits[at], "feature": features[at]}
        row |= {"mean_logits": means[at], "mean_feature": features[at]}
        place = np.exp(-((np.arange(GRID[0] * GRID[1]) - truth[index] % 196) ** 2) / 200)
        for name in MAPS:
            values = generator.normal(size=len(place)) + 3 * place
            row[name], row[name.replace("map", "scale")] = pack(values)
        found.append(row)
    return found


def _spread() -> np.ndarray:
    """Standard deviations of the feature's components: few hold most, as in a network."""
    return 8 / np.sqrt(np.arange(1, FEATURES + 1))


def _white(index: int, truth: np.ndarray, copies: dict[int, int], means: np.ndarray) -> np.ndarray:
    original = copies.get(index, index)
    generator = np.random.default_rng((6, original))
    value = means[truth[original]] + generator.normal(size=FEATURES)
    if original != index and index % 2:
        value = value + 0.2 * np.random.default_rng((7, index)).normal(size=FEATURES)
    return value


def _photo(index: int, truth: np.ndarray, copies: dict[int, int]) -> bytes:
    """A WebP of 128 pixels: colours of the class and its own, and grain; copies encoded anew."""
    from PIL import Image

    original = copies.get(index, index)
    own = np.random.default_rng((8, original)).normal(size=(8, 8, 3))
    of_class = np.random.default_rng((9, int(truth[original]))).normal(size=(8, 8, 3))
    coarse = np.clip(128 + 30 * (0.6 * of_class + 0.8 * own), 0, 255).astype(np.uint8)
    photo = Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC)
    pixels = np.asarray(photo, np.int16) + _grain()
    near = original != index and index % 2
    pixels = np.clip(0.9 * pixels + 10 if near else pixels, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=60 if near else 75, method=0)
    return file.getvalue()


@cache
def _grain() -> np.ndarray:
    return np.random.default_rng(10).normal(scale=6, size=(128, 128, 1)).astype(np.int16)


def write(world: World, folder: Path, processes: int) -> None:
    """Write what is missing of the ledger."""
    ledger = _open(world, folder)
    tasks = [(world, folder, number) for number in ledger.missing()]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, _ in enumerate(pool.imap_unordered(_write_one, tasks, chunksize=8), 1):
            if done % 100 == 0:
                print(f"{done} of {len(tasks)} shards", file=sys.stderr)


def _write_one(task: tuple[World, Path, int]) -> None:
    world, folder, number = task
    _open(world, folder).write(number, rows(world, number))


def _open(world: World, folder: Path) -> Any:
    from jaxattr.audit.ledger import FORMAT, Receipt, open_ledger
    from jaxattr.audit.views import NAMES

    return open_ledger(
        folder,
        Receipt(
            format=FORMAT,
            version="simulated",
            model="a linear head on simulated features",
            parameters="0" * 64,
            labels=tuple(f"class {index:04d}" for index in range(world.classes)),
            grid=GRID,
            feature_size=FEATURES,
            preprocessing={},
            images="simulated",
            index="0" * 64,
            count=world.images,
            total=world.images,
            shard_size=SHARD,
            settings={"method": "none", "views": list(NAMES)},
        ),
    )


def find_part(folder: Path) -> dict[str, Any]:
    """All findings from the ledger alone, and every finder's share of the time."""
    from audit import clocks, finder_shares, timed

    from jaxattr.audit.export import findings_json
    from jaxattr.audit.findings import find
    from jaxattr.audit.ledger import read_ledger

    start = clocks()
    ledger = read_ledger(folder)
    shares = finder_shares(ledger)
    result = timed(start, ledger.receipt.count) | {"finders": shares}
    findings = find(ledger)
    (folder / "findings.json").write_text(findings_json(findings, ledger), encoding="utf-8")
    return result | {"findings": len(findings)}


def report_part(folder: Path) -> dict[str, Any]:
    """Summary and page, after the findings, whose time is not counted again."""
    from audit import clocks, timed

    from jaxattr.audit.findings import find
    from jaxattr.audit.ledger import read_ledger
    from jaxattr.audit.report import render
    from jaxattr.audit.summary import summarize

    ledger = read_ledger(folder)
    findings = find(ledger)
    start = clocks()
    summary = summarize(ledger)
    summarized = clocks()[0] - start[0]
    page = render(ledger, summary, findings)
    (folder / "report.html").write_text(page, encoding="utf-8")
    return timed(start, ledger.receipt.count) | {"summary_seconds": round(summarized, 2)}


def sizes(folder: Path) -> dict[str, float]:
    """MiB of the shards together, the findings and the page."""
    shards = sum(path.stat().st_size for path in (folder / "ledger").iterdir())
    names = ("findings.json", "report.html")
    files = {"shards": shards, **{name: (folder / name).stat().st_size for name in names}}
    return {name: round(size / 2**20, 2) for name, size in files.items()}


def compare(world: World, folder: Path) -> dict[str, int]:
    """Planted pairs and copies that were found, and what was found beside them."""
    found = json.loads((folder / "findings.json").read_text(encoding="utf-8"))["findings"]
    pairs = {
        tuple(one["index"] for one in finding["classes"])
        for finding in found
        if finding["kind"] == "contaminated_pair"
    }
    groups = [
        {image["index"] for image in finding["images"]}
        for finding in found
        if finding["kind"] == "duplicate_image"
    ]
    copies = _tables(world)[2]
    linked = {frozenset(pair) for pair in copies.items()}
    members = {index for pair in linked for index in pair}
    return {
        "pairs": len(world.pairs),
        "pairs_found": len(pairs & set(world.pairs)),
        "other_pairs": len(pairs - set(world.pairs)),
        "copies": len(linked),
        "copies_found": sum(any(pair <= group for group in groups) for pair in linked),
        "other_groups": sum(not group <= members for group in groups),
    }


PARTS = {"find": find_part, "report": report_part}


if __name__ == "__main__":
    main()
