"""`jaxattr bench boxes`: is the evidence of a map inside the boxes around the object?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jaxattr.cli.bench import explanations_table as scores
from jaxattr.cli.common import answers, names, options, output

if TYPE_CHECKING:
    from jaxattr.bench.explanations.boxes import Result


@click.command()
@options.model_options
@click.option("--images", required=True, help="The labelled folder, as for `jaxattr audit`.")
@click.option("--labels", "labels_file", type=click.Path(), help="A CSV of file and label.")
@options.exclude_option
@click.option(
    "--boxes",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A CSV of file,xmin,ymin,xmax,ymax: pixels of the photo, the last ones included; files "
    "relative to the folder or to the table.",
)
@click.option(
    "-n",
    "--limit",
    "count",
    type=click.IntRange(1, 100_000),
    default=120,
    show_default=True,
    help="Photos to score; they are looked for in random order.",
)
@click.option(
    "--confidence",
    type=options.Finite(0, 1),
    default=0.9,
    show_default=True,
    help="Probability of the label, as the top class, that makes a photo recognised.",
)
@click.option(
    "--area",
    type=options.Finite(0, 1),
    nargs=2,
    default=(0.08, 0.5),
    show_default=True,
    help="Least and largest share of the image that the boxes of a photo cover.",
)
@names.scored_methods_option
@options.seed_option("Decides the order of photos, the random map and the intervals.")
@click.option(
    "-f",
    "--format",
    "kind",
    type=click.Choice(scores.FORMATS),
    default="table",
    show_default=True,
    help="How the scores are printed; all digits in json and csv.",
)
@options.workers_option
@options.max_pixels_option
@options.quiet_option
def boxes(choice: options.Choice, **given: Any) -> None:
    """Score explanation methods by boxes around the object of photos that are recognised.

    The label of each photo is explained, by its logit, or by other losses that are named in the
    table. Four questions to a map: is its sum inside the boxes above zero; is its mean inside above
    that outside; does its largest value lie on a patch of which they cover half; how much of its
    positive evidence is inside?

    Percent, higher is better; in brackets 95 % bootstrap intervals over photos. A map without a
    sign passes the first without saying anything; a random map and a centred blob show what chance
    and a photographer's habits give. A box is not an outline: part of it is background.

    \b
    Examples:
      jaxattr bench boxes --model vit-base --images photos/ --boxes photos/boxes.csv
      jaxattr bench boxes --model vit-base --images photos/ --boxes boxes.csv \\
        -m complete -m positive -n 500 --confidence 0.5 --area 0.05 0.3
    """
    options.prepare_jax(choice.dtype)
    from jaxattr.bench.explanations import boxes as benchmark
    from jaxattr.data.dataset import index
    from jaxattr.methods import CHEAP

    quiet, root = given["quiet"], Path(given["images"])
    loaded = options.limited(options.load_model(choice, quiet=quiet), given["max_pixels"])
    classifier = answers.classifier(loaded, "jaxattr bench boxes")
    model = answers.named(loaded, classifier, root, given["labels_file"], quiet=quiet)
    labels: Any = model.labels or [str(i) for i in range(model.config.classes)]
    asked = {name: given[name] for name in ("labels_file", "exclude")}
    dataset = index(root, labels, **asked)
    options.say_folder(dataset)
    result = benchmark.run(
        classifier,
        dataset,
        given["boxes"],
        count=given["count"],
        methods=names.methods(given["methods"] or CHEAP),
        confidence=given["confidence"],
        area=given["area"],
        seed=given["seed"],
        workers=given["workers"],
        report=lambda line: options.note(line, quiet=quiet),
    )
    _say(result, given)
    facts = {"model": loaded.name, "images": given["images"], "seed": given["seed"]}
    facts |= {"confidence": given["confidence"], "area": given["area"]}
    facts |= {"photos": result.photos, "mean_area": result.area, "looked_at": result.looked_at}
    facts = output.cited(facts, loaded, given["kind"])
    output.show(scores.text(result.scores, given["kind"], facts))


def _say(result: Result, given: dict[str, Any]) -> None:
    """On stderr, how many photos there were: fewer than asked for is said even if quiet."""
    for reason in result.skipped[:5]:
        options.warn(f"skipped {reason}")
    if len(result.skipped) > 5:
        options.warn(f"skipped {len(result.skipped) - 5} more")
    found = len(result.photos)
    line = (
        f"{found} photos recognised, of {result.looked_at} looked at; boxes cover "
        f"{result.area:.0%} of the image on average."
    )
    if found < given["count"]:
        options.warn(f"only {line}")
    else:
        options.note(line, quiet=given["quiet"])
