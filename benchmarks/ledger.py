"""What findings and report cost on a ledger of 100,000 images and 1,000 classes, simulated.

    python benchmarks/ledger.py --folder LEDGERS --output benchmarks/results/ledger.json

Writes ledgers of 25,000 and 100,000 images with the library's own `Ledger` (once; a folder that
holds one is used again) and measures each in processes of their own: all findings, every finder's
share, summary and report, peak memory; and how many of the planted wrong labels and copies were
found. With `--training` the largest is audited once more beside a training folder of the same
size, which holds copies of it. No model runs: see `simulated.py`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from simulated import World, tables, write

from jaxattr.audit.inference.analysis import Analysis

OTHERS = 10_000_000
"""Number of the training folder's first image."""
TRAINING = "{}-training"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the ledgers are kept")
    parser.add_argument("--images", type=int, nargs="+", default=[25_000, 100_000])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2, help="that write the ledger")
    parser.add_argument("--training", action="store_true", help="audit beside a training folder")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        training = arguments.folder.with_name(TRAINING.format(arguments.folder.name))
        given = (arguments.folder, training) if arguments.training else (arguments.folder,)
        print(json.dumps(PARTS[arguments.part](*given)))
        return
    results = []
    for count in arguments.images:
        world = World(count, arguments.classes)
        folder = arguments.folder / f"{count}x{arguments.classes}"
        write(world, folder, arguments.processes)
        result: dict[str, Any] = {"images": count, "classes": arguments.classes}
        for part in ("find", "report"):
            result[part] = measure(part, folder)
        result["files_mib"] = sizes(folder)
        result["planted"] = compare(world, folder)
        results.append(result)
        print(json.dumps(result, indent=1))
        if arguments.training and count == max(arguments.images):
            world = World(count, arguments.classes, first=OTHERS)
            write(world, folder.with_name(TRAINING.format(folder.name)), arguments.processes)
            result["with_training"] = measure("leaks", folder, "--training")
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def measure(part: str, folder: Path, *more: str) -> dict[str, Any]:
    """What a part says, in a process of its own."""
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder), *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def find_part(folder: Path) -> dict[str, Any]:
    """All findings from the ledger alone, and every finder's share of the time."""
    from audit import clocks, finder_shares, timed

    from jaxattr.audit.findings import find
    from jaxattr.audit.ledger import read_ledger
    from jaxattr.audit.report.export import findings_json

    start = clocks()
    ledger = read_ledger(folder)
    shares = finder_shares(ledger)
    result = timed(start, ledger.receipt.count) | {"finders": shares}
    findings = find(Analysis(ledger))
    (folder / "findings.json").write_text(
        findings_json(findings, Analysis(ledger)), encoding="utf-8"
    )
    return result | {"findings": len(findings)}


def leaks_part(folder: Path, training: Path) -> dict[str, Any]:
    """Findings beside a training folder, and how many of its copies of this one were found."""
    from audit import clocks, finder_shares, timed

    from jaxattr.audit.findings.duplicate_image import duplicate_image
    from jaxattr.audit.ledger import read_ledger
    from jaxattr.audit.ledger.training import read_training

    start = clocks()
    ledger = read_ledger(folder)
    ledger = replace(ledger, training=read_training(training, ledger.receipt))
    shares = finder_shares(ledger)
    result = timed(start, ledger.receipt.count) | {"finders": shares}
    found = {
        (image, copy["index"])
        for one in duplicate_image(Analysis(ledger))
        for image in one.images
        for copy in one.extra.get("training", ())
    }
    own = World(ledger.receipt.count, len(ledger.receipt.labels))
    # What an image shows: a copy's original, also where that is audited only as a copy.
    here, there = tables(own)[2], tables(replace(own, first=OTHERS))[2]
    shown = {here.get(image, image) for image in range(own.images)}
    leaks = {copy for copy, original in there.items() if original in shown}
    right = {copy for image, copy in found if there.get(copy) == here.get(image, image)}
    wrong = [pair for pair in found if there.get(pair[1]) != here.get(pair[0], pair[0])]
    counts = {"copies": len(leaks), "found": len(right), "others": len(wrong)}
    return result | counts


def report_part(folder: Path) -> dict[str, Any]:
    """Summary and page, after the findings, whose time is not counted again."""
    from audit import clocks, timed

    from jaxattr.audit.findings import find
    from jaxattr.audit.ledger import read_ledger
    from jaxattr.audit.report import render
    from jaxattr.audit.report.summary import summarize

    ledger = read_ledger(folder)
    findings = find(Analysis(ledger))
    start = clocks()
    summary = summarize(ledger)
    summarized = clocks()[0] - start[0]
    page = render(Analysis(ledger), summary, findings)
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
    copies = tables(world)[2]
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


PARTS = {"find": find_part, "report": report_part, "leaks": leaks_part}


if __name__ == "__main__":
    main()
