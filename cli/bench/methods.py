"""`jaxattr bench methods`: every metric of every method's maps on a labelled folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jaxattr.cli import scenes
from jaxattr.cli.bench import methods_table as methods_text
from jaxattr.cli.common import answers, names, options, output
from jaxattr.cli.common.records import model_name

if TYPE_CHECKING:
    import numpy as np

    from jaxattr.bench.methods.run import Result
    from jaxattr.data.dataset import Dataset
    from jaxattr.vit import Model

SCENES_PER_CLASS = 10


@click.command()
@options.model_options
@click.option(
    "--images",
    default="scenes",
    show_default=True,
    help="The labelled folder, as for `jaxattr audit`; `scenes` draws one, with masks.",
)
@click.option("--labels", "labels_file", type=click.Path(), help="A CSV of file and label.")
@options.exclude_option
@click.option(
    "--masks",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder with a PNG for each image, named like it; what is not 0 is the object.",
)
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), help="Number of images, spread over the classes."
)
@click.option(
    "-m",
    "--methods",
    multiple=True,
    type=names.METHODS_OR_GROUPS,
    default=("cheap",),
    show_default=True,
    help="One of `jaxattr methods`, `cheap` for all that cost at most 10 forward passes, `all`, or "
    "package.module:function. Repeatable.",
)
@click.option(
    "--metrics",
    "measured",
    multiple=True,
    type=names.METRICS_OR_GROUPS,
    default=("cheap",),
    show_default=True,
    help="One of the list above, `cheap`, `all`, or package.module:function. Repeatable.",
)
@click.option(
    "--untrained",
    multiple=True,
    type=names.METHODS_OR_NONE,
    help="Methods also run on random weights, or `none`; by default all of --methods. Repeatable.",
)
@click.option(
    "--maps",
    "given_maps",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.npz",
    help="Maps made elsewhere, scored as one more row: an array for each image file, by its name, "
    "[row, column] of patches or [height, width] of the model's input. Repeatable.",
)
@click.option(
    "--target",
    type=click.Choice(["label", "prediction"]),
    default="label",
    show_default=True,
    help="The class explained: the image's label, or what the model predicts.",
)
@options.seed_option("Seed of --limit, the random weights and maps, all noise, and the intervals.")
@options.folder_option(
    "jaxattr-methods", help="Folder of the maps and of what was computed so far."
)
@options.printed_options(
    methods_text.FORMATS,
    help="How the scores are printed; all digits in json and csv.",
    figure="Draw the scores, too: a file that ends in .png, .svg or .pdf.",
)
@options.workers_option
@options.max_pixels_option
@options.quiet_option
def methods(choice: options.Choice, **given: Any) -> None:
    """Score explanation methods side by side: metrics, intervals, ranks, time per map.

    The label of every image is explained, or the model's prediction. Metrics and what they cost
    for one map (F: forward passes, M: maps of the method, L: layers; definitions in
    docs/reference/metrics.md):

    \b
      faithfulness   positive 9F, negative 9F, deletion 13F, insertion 13F,
                     saco 11F, road 18F, srg <=202F, infidelity 65F
      robustness     sensitivity 10M
      localisation   gridpg 1M, gridpg-3x3 1M; against masks, at no cost:
                     localisation, energypg, pointing, pixel-accuracy,
                     mean-iou, map
      complexity     sparseness, complexity: at no cost
      randomisation  mprt (L+2)M
      axiomatic      completeness 2F

    `cheap` is deletion, insertion, saco, complexity, sparseness, and where there are masks those
    that need them. Rows for a random map, a centred blob and the same methods on random weights
    show what chance gives. Killed at any moment, the same command resumes where it stopped; other
    metrics with the same --output use the same maps.

    \b
    Examples:
      jaxattr bench methods -n 24
      jaxattr bench methods -m complete -m attn_lrp --metrics all --untrained none
      jaxattr bench methods --model vit-base --images photos/ --output out --figure methods.png
      jaxattr bench methods --model vit-base --images photos/ --masks masks/ \\
        --metrics mean-iou --metrics gridpg -f md --output out
    """
    figure, quiet = given["figure"], given["quiet"]
    output.check_figure(figure)
    options.prepare_jax(choice.dtype)

    loaded = options.limited(options.load_model(choice, quiet=quiet), given["max_pixels"])
    answers.classifier(loaded, "jaxattr bench methods")
    result = _run(loaded, given)
    for file, reason in result.skipped[:5]:
        options.warn(f"skipped {reason if file in reason else f'{file}: {reason}'}")
    if len(result.skipped) > 5:
        options.warn(f"skipped {len(result.skipped) - 5} more; --format json lists them all.")
    facts = {"model": loaded.name, "source": given["images"], "target": given["target"]}
    facts["seed"] = given["seed"]
    facts = output.cited(facts, loaded, given["kind"])
    output.show(methods_text.text(result, given["kind"], facts))
    for line in methods_text.notes(result.scores):
        options.note(line, quiet=quiet)
    if figure:
        from jaxattr.bench.methods.figure import draw
        from jaxattr.plot import figures

        drawn = draw(result, f"model {model_name(loaded)}, seed {given['seed']}")
        output.write(figure, figures.encode(drawn, figure.suffix[1:].lower()))
        options.note(f"Figure: {figure}", quiet=quiet)


def _run(model: Model, given: dict[str, Any]) -> Result:
    from jaxattr.bench.methods import run as benchmark
    from jaxattr.cli.common.progress import progress_bar

    folder, quiet, masks = given["folder"], given["quiet"], given["masks"]
    root = Path(given["images"])
    if scenes.is_drawn(given["images"]):
        seed = given["seed"]
        root = scenes.drawn(folder / "scenes", SCENES_PER_CLASS, seed=seed, masks=True)
        masks = masks or root.parent / "masks"
    if masks and not masks.is_dir():
        raise click.BadParameter(f"no such folder: {masks}.", param_hint="--masks")
    classifier = answers.classifier(model, "jaxattr bench methods")
    model = answers.named(model, classifier, root, given["labels_file"], quiet=quiet)
    dataset = _index(model, root, given)
    chosen = names.methods(given["methods"])
    measured = names.metrics(given["measured"], masks is not None)
    uses_masks = any(one.masks for one in measured)
    options.idle_unless(uses_masks, "masks", why="take a metric that needs masks")
    untrained = names.methods(one for one in given["untrained"] if one != "none")
    listed = ", ".join(one.name for one in chosen)
    options.note(
        f"Images: {len(dataset.files)} of {root}\nMethods: {listed}\n"
        f"Metrics: {', '.join(one.name for one in measured)}",
        quiet=quiet,
    )
    total = len(dataset.files) * (1 + len(measured))
    with progress_bar(total, 0, quiet=quiet, doing="Scoring", unit="scored images") as advance:
        return benchmark.run(
            model,
            dataset,
            folder,
            methods=chosen,
            untrained=untrained if given["untrained"] else chosen,
            maps=_maps(given["given_maps"]),
            measured=measured,
            masks=masks,
            target=given["target"],
            seed=given["seed"],
            workers=given["workers"],
            progress=advance,
        )


def _maps(paths: tuple[Path, ...]) -> dict[str, dict[str, np.ndarray]]:
    """Maps made elsewhere, each file under its own name."""
    from jaxattr.bench.methods.given import read_maps

    found = {path.stem: read_maps(path) for path in paths}
    if len(found) < len(paths):
        raise click.UsageError("two files of --maps have the same name; rename one.")
    return found


def _index(model: Model, root: Path, given: dict[str, Any]) -> Dataset:
    from jaxattr.data.dataset import index

    labels: Any = model.labels or [str(i) for i in range(model.config.classes)]
    asked = {name: given[name] for name in ("labels_file", "exclude", "limit", "seed")}
    dataset = index(root, labels, **asked)
    options.say_folder(dataset)
    return dataset
