"""`jaxattr bench`: measure the library where the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jaxattr.cli.bench import explanations_table as scores
from jaxattr.cli.bench.audit import audit
from jaxattr.cli.bench.boxes import boxes
from jaxattr.cli.bench.funnybirds import funnybirds
from jaxattr.cli.bench.methods import methods as bench_methods
from jaxattr.cli.bench.perturbation import perturbation
from jaxattr.cli.common import names, options, output
from jaxattr.cli.main import Near


@click.group(cls=Near)
def bench() -> None:
    """Measure the library's claims where the truth is known."""


@bench.command()
@options.model_options
@names.scored_methods_option
@click.option(
    "-n",
    "--scenes",
    "count",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Scenes of each of the three kinds.",
)
@click.option(
    "--output",
    "output_folder",
    type=click.Path(path_type=Path),
    help="Folder that keeps the maps: a killed run resumes there.",
)
@options.seed_option("Decides the scenes, the random weights, the random map and the intervals.")
@options.printed_options(
    scores.FORMATS,
    help="How the scores are printed; all digits in json and csv.",
    figure="Draw the scores, too: a file that ends in .png, .svg or .pdf.",
)
@options.quiet_option
def explanations(
    choice: options.Choice,
    methods: tuple[str, ...],
    count: int,
    output_folder: Path | None,
    seed: int,
    kind: str,
    figure: Path | None,
    quiet: bool,
) -> None:
    """Score explanation methods on drawn scenes whose every object and part is known.

    The scenes are held out from training: two objects whose classes are not twins, each explained
    against the other; one object against its strongest rival; one object against its twin, from
    which it differs in one part. Loss: the target's logit, its difference to the rival's, or its
    log-odds against all others. Rows for the same methods on random weights, a random map and a
    centred blob show what chance gives.

    Percent, but for the likeness of the maps for two classes in one image, a correlation; in
    brackets 95 % intervals, Wilson's of shares and the bootstrap's of all else; a dash where a
    measure needs a sign that the method lacks. A region counts with the share of each patch that it
    covers. Pointing asks for a patch that is covered by half; the last table whether the largest
    |S| lies on a patch that shows any of the part that differs.

    \b
    Examples:
      jaxattr bench explanations
      jaxattr bench explanations -m complete -m positive -n 400 --format csv
      jaxattr bench explanations --figure scores.png --format json --quiet > scores.json
    """
    output.check_figure(figure)
    options.prepare_jax(choice.dtype)
    from jaxattr.bench.explanations import run as benchmark
    from jaxattr.methods import CHEAP

    loaded = options.load_model(choice, quiet=quiet)
    results = benchmark.run(
        loaded,
        count=count,
        seed=seed,
        methods=names.methods(methods or CHEAP),
        output=output_folder,
        report=lambda line: options.note(line, quiet=quiet),
    )
    facts: dict[str, Any] = {"model": loaded.name, "scenes": count, "seed": seed}
    output.show(scores.text(results, kind, output.cited(facts, loaded, kind)))
    if figure:
        from jaxattr.bench.explanations.figure import draw
        from jaxattr.plot import figures

        note = f"model {loaded.name}, {count} scenes of each kind, seed {seed}"
        data = figures.encode(draw(results, note), figure.suffix[1:].lower())
        output.write(figure, data)
        options.note(f"Figure: {figure}", quiet=quiet)


bench.add_command(audit)
bench.add_command(boxes)
bench.add_command(funnybirds)
bench.add_command(bench_methods)
bench.add_command(perturbation)
