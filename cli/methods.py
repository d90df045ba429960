"""`jaxattr methods`: the table of all attribution methods."""

from __future__ import annotations

import csv
import io
import json

import click

from jaxattr.cli.common import output


@click.command()
@click.option(
    "-f",
    "--format",
    "kind",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How the table is printed.",
)
def methods(kind: str) -> None:
    """List the attribution methods, with what they cost and where they come from.

    Cost per map: F is a forward pass, B a backward pass, b one of a single block, S one problem of
    network flow for each token. `equals` names the code that a method's maps were compared with;
    what equals nothing is our own reading of a text, and none of its numbers are the authors'.

    \b
    Examples:
      jaxattr methods
      jaxattr methods --format csv > methods.csv
    """
    from jaxattr.methods import METHODS

    header = ("name", "signed", "target", "derivative", "cost", "source", "equals")
    rows = [
        (
            one.name,
            one.signed,
            one.target_dependent,
            one.differentiates,
            str(one.cost),
            one.source,
            one.equals,
        )
        for one in METHODS.values()
    ]
    if kind == "json":
        output.show(json.dumps([dict(zip(header, row, strict=True)) for row in rows], indent=1))
        return
    words = [
        tuple(("yes" if cell else "no") if isinstance(cell, bool) else cell for cell in row)
        for row in rows
    ]
    if kind == "csv":
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([header, *words])
        output.show(file.getvalue().rstrip("\n"))
        return
    output.show(output.table(header, words, left=len(header)))
