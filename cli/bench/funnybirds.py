"""`jaxattr bench funnybirds`: explanations against what leaving out each part does."""

from __future__ import annotations

from typing import Any

import click

from jaxattr.cli.bench import explanations_table as scores
from jaxattr.cli.common import names, options, output


@click.command()
@options.model_options
@names.scored_methods_option
@click.option(
    "-n",
    "--scenes",
    "count",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Scenes of one object, and as many of two.",
)
@options.seed_option("Decides the scenes, the random map and the intervals.")
@click.option(
    "-f",
    "--format",
    "kind",
    type=click.Choice(scores.FORMATS),
    default="table",
    show_default=True,
    help="How the scores are printed; all digits in json and csv.",
)
@options.quiet_option
def funnybirds(
    choice: options.Choice, methods: tuple[str, ...], count: int, seed: int, kind: str, quiet: bool
) -> None:
    """Score explanation methods by drawing scenes again without some of their parts.

    The six protocols of FunnyBirds (Hesse et al. 2023) on held-out scenes. Nothing is masked: a
    scene is drawn again, so every image is one that the model could have been trained on.

    \b
      CSDC    does the explanation find a part that tells the class from all others?
      PC      does the prediction stay with only the important parts drawn?
      DC      does it change without them?
      D       how many of the things that do not matter are left out, clutter among them?
      SD      does the order of the parts agree with what leaving out each one does?
      TS      in scenes of two objects, is a class's evidence on its own?

    Percent, higher is better; in brackets 95 % bootstrap intervals over scenes. A part is
    important if it has more than a share of the map's sum; each method is given the share that
    suits it (last column), as the authors do. Definitions and what is adapted:
    docs/reference/metrics.md.

    \b
    Examples:
      jaxattr bench funnybirds
      jaxattr bench funnybirds -m complete -m positive -n 200 --format csv
    """
    options.prepare_jax(choice.dtype)
    from jaxattr.bench.explanations import funnybirds as benchmark
    from jaxattr.methods import CHEAP

    loaded = options.load_model(choice, quiet=quiet)
    results = benchmark.run(
        loaded,
        count=count,
        seed=seed,
        methods=names.methods(methods or CHEAP),
        report=lambda line: options.note(line, quiet=quiet),
    )
    facts: dict[str, Any] = {"model": loaded.name, "scenes": count, "seed": seed}
    output.show(scores.text(results, kind, output.cited(facts, loaded, kind)))
