"""Copies planted among drawn scenes: how many are found, what else is, and by what correlation.

    python benchmarks/duplicates.py --output benchmarks/results/duplicates.json

Half of the copies are equal byte by byte, the others are encoded again, shifted or brightened. Also
the images of ledgers that hold none, given with `--clean`: the correlation of whatever is most
alike among those that hash and feature let pass.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import click

import jaxattr
from jaxattr.audit.copies import duplicates
from jaxattr.audit.evidence.gather import gather, make_receipt
from jaxattr.audit.ledger import Ledger, open_ledger, read_ledger
from jaxattr.data.dataset import index
from jaxattr.scenes import write_folder
from jaxattr.scenes.defects import parse

SHOWN = 5
LOW = 0.6
"""Correlation from which pairs are looked at here."""


@click.command()
@click.option("--sets", default=3, show_default=True)
@click.option("--seed", default=201, show_default=True, help="Of the first set.")
@click.option("--each", default=40, show_default=True, help="Images of a class.")
@click.option("--share", default="15%", show_default=True, help="Of the images that are copied.")
@click.option("--clean", type=click.Path(exists=True, path_type=Path), multiple=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(
    sets: int, seed: int, each: int, share: str, clean: tuple[Path, ...], output: Path
) -> None:
    """Measure, and write OUTPUT."""
    rows = [planted(number, each, share) for number in range(seed, seed + sets)]
    alike = [untouched(read_ledger(folder), folder.name) for folder in clean]
    result = {"aligned": duplicates.ALIGNED, "planted": rows, "clean": alike}
    output.write_text(json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps(result, indent=1))


def planted(seed: int, each: int, share: str) -> dict[str, Any]:
    """One folder of scenes with copies."""
    model = jaxattr.load("scenes")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        drawn = write_folder(
            folder, each, seed=seed, defects=parse([f"duplicates:{share}"]), masks=False
        )
        data = index(folder / "images", model.labels)
        receipt = make_receipt(model, data, total=len(data.files), method="complete")
        ledger = open_ledger(folder / "ledger", receipt)
        gather(model, data, ledger, maps=False)
        place = {name: at for at, name in enumerate(ledger.read("file")["file"])}
        truth = {
            frozenset(place[name.removeprefix("images/")] for name in (one.file, one.copy_of))
            for one in drawn
            if one.copy_of
        }
        found = pairs(ledger)
    right = {pair: value for pair, value in found.items() if pair in truth}
    wrong = {pair: value for pair, value in found.items() if pair not in truth}
    return {
        "seed": seed,
        "images": len(place),
        "planted": len(truth),
        "found": sum(value >= duplicates.ALIGNED for value in right.values()),
        "false": sum(value >= duplicates.ALIGNED for value in wrong.values()),
        "least_alike_copies": sorted(round(value, 3) for value in right.values())[:SHOWN],
        "most_alike_others": top(wrong),
    }


def untouched(ledger: Ledger, name: str) -> dict[str, Any]:
    """A folder in which no copies were planted."""
    found = pairs(ledger)
    reported = sum(value >= duplicates.ALIGNED for value in found.values())
    images = ledger.receipt.count
    return {"ledger": name, "images": images, "reported": reported, "most_alike": top(found)}


def pairs(ledger: Ledger) -> dict[frozenset[int], float]:
    """Matches at a lower bar than the audit's."""
    with mock.patch.object(duplicates, "ALIGNED", LOW):
        found = duplicates.matches(ledger, duplicates.signatures(ledger))
    return {frozenset(one[:2]): one.correlation for one in found}


def top(found: dict[frozenset[int], float]) -> list[float]:
    """The largest correlations."""
    return sorted((round(value, 3) for value in found.values()), reverse=True)[:SHOWN]


if __name__ == "__main__":
    main()
