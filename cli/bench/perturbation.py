"""`jaxattr bench perturbation`: mask what a map ranks first or last, and ask the model again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jaxattr.cli import scenes
from jaxattr.cli.bench import perturbation_table as perturbation_text
from jaxattr.cli.common import answers, names, options, output
from jaxattr.cli.common.records import model_name

if TYPE_CHECKING:
    from jaxattr.bench.perturbation.protocols import Protocol
    from jaxattr.bench.perturbation.run import Guide, Result
    from jaxattr.data.dataset import Dataset
    from jaxattr.vit import Model

# Names of the library's protocols, fills and orders; a test compares them.
PROTOCOLS = ("tattr-perturb-v1", "cui-guided-perturb-v1")
FILLS = ("black", "mean", "imagenet", "blur", "zero", "drop")
MEASURES = ("accuracy", "agreement", "probability")
SCENES_PER_CLASS = 10
_MOST_FRACTIONS = 200


class Fractions(click.ParamType):
    """Numbers from 0 on, separated by commas."""

    name = "0,x,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if not isinstance(value, str):
            return value
        try:
            shares = tuple(float(one) for one in value.split(","))
        except ValueError:
            shares = ()
        if not 0 < len(shares) <= _MOST_FRACTIONS or not all(0 <= one <= 1 for one in shares):
            self.fail(
                f"{value[:60]!r} is not a list of at most {_MOST_FRACTIONS} fractions up to 1; "
                "write 0,0.25,0.5."
            )
        return shares


@click.command()
@options.model_options
@click.option(
    "--images",
    default="scenes",
    show_default=True,
    help="The labelled folder, as for `jaxattr audit`; `scenes` draws one.",
)
@click.option("--labels", "labels_file", type=click.Path(), help="A CSV of file and label.")
@options.exclude_option
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), help="Number of images, spread over the classes."
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default=PROTOCOLS[0],
    show_default=True,
    help="Of T-Attr, or of the paper (Fig. 12).",
)
@click.option("--fill", type=click.Choice(FILLS), help="What masked parts become, if not its own.")
@click.option("--fractions", type=Fractions(), help="Masked shares, if not 0,0.1,...,0.9.")
@click.option(
    "--class",
    "explained",
    multiple=True,
    type=click.Choice(["label", "predicted"]),
    help="Whose maps, if not the protocol's choice. Repeatable.",
)
@click.option(
    "-m",
    "--methods",
    multiple=True,
    type=names.METHODS,
    default=("complete", "positive"),
    show_default=True,
    help="Of `jaxattr methods`, or package.module:function. Repeatable. Raw attention and a random "
    "map are always there.",
)
@click.option("--guide", help="An image file, or a class of the folder (its best recognised one).")
@click.option(
    "--side",
    type=click.Choice(["left", "right", "top", "bottom"]),
    default="left",
    show_default=True,
    help="Where the image is put; the guide gets the other half.",
)
@click.option(
    "--resize",
    type=click.Choice(["squeeze", "crop", "pad"]),
    default="squeeze",
    show_default=True,
    help="How image and guide are brought to their halves.",
)
@options.seed_option("Seed of --limit, the random map, the order of equal scores, the intervals.")
@options.folder_option(
    "jaxattr-perturbation", help="Folder of the maps and of what was computed so far."
)
@options.printed_options(
    perturbation_text.FORMATS,
    help="How results are printed; json and csv hold the curves, too.",
    figure="Draw the curves: a file that ends in .png, .svg or .pdf.",
)
@click.option(
    "--measure",
    type=click.Choice(MEASURES),
    default="accuracy",
    show_default=True,
    help="What the figure shows where both classes are explained.",
)
@options.workers_option
@options.max_pixels_option
@options.quiet_option
def perturbation(choice: options.Choice, **given: Any) -> None:
    """Mask images by their maps, from the highest and from the lowest score (paper, Fig. 12).

    Positive test: the highest scores first; the faster the class is lost, the better. Negative
    test: the lowest first; the longer it is kept, the better. Printed is the area under each curve
    times 100 over the masked fraction, x = 0 included, not divided by the range (at most 90 with
    0 to 0.9); in brackets 95 % bootstrap intervals over images; then all paired differences.
    Accuracy: the top class is the label. Agreement: it is the explained class.

    A guided protocol stitches every image with --guide and leaves the guide's class out. Changes of
    a protocol become a part of its id. Killed at any moment, the same command resumes where it
    stopped; other protocols with the same --output use the same maps.

    \b
    Examples:
      jaxattr bench perturbation -n 24
      jaxattr bench perturbation --fill drop --class label --figure drop.png
      jaxattr bench perturbation --model vit-base --images photos/ --output out/plain -f csv
      jaxattr bench perturbation --model vit-base --images photos/ --output out/guided \\
        --protocol cui-guided-perturb-v1 --guide zebra --figure fig12.png
    """
    figure, quiet = given["figure"], given["quiet"]
    output.check_figure(figure)
    options.prepare_jax(choice.dtype)

    chosen = _protocol(given)
    guided = bool(given["guide"]) or chosen.guided
    options.idle_unless(guided, "side", "resize", why="add --guide")
    drawn_both = figure is not None and len(chosen.explained) > 1
    options.idle_unless(drawn_both, "measure", why="add --figure, where both classes are explained")
    loaded = options.limited(options.load_model(choice, quiet=quiet), given["max_pixels"])
    answers.classifier(loaded, "jaxattr bench perturbation")
    result, guide = _run(loaded, chosen, given)
    for file, reason in result.skipped[:5]:
        options.warn(f"skipped {reason if file in reason else f'{file}: {reason}'}")
    if len(result.skipped) > 5:
        options.warn(f"skipped {len(result.skipped) - 5} more; --format json lists them all.")
    facts = perturbation_text.facts(loaded.name, result, guide, given["seed"])
    facts = output.cited(facts, loaded, given["kind"])
    output.show(perturbation_text.text(result, given["kind"], facts, guide))
    if figure:
        from jaxattr.bench.perturbation.figure import draw
        from jaxattr.plot import figures

        drawn = draw(result, given["measure"], f"model {model_name(loaded)}")
        output.write(figure, figures.encode(drawn, figure.suffix[1:].lower()))
        options.note(f"Figure: {figure}", quiet=quiet)


def _protocol(given: dict[str, Any]) -> Protocol:
    from jaxattr.bench.perturbation import protocols

    return protocols.protocol(
        given["protocol"],
        fill=given["fill"],
        fractions=given["fractions"],
        explained=given["explained"] or None,
    )


def _run(model: Model, chosen: Protocol, given: dict[str, Any]) -> tuple[Result, Guide | None]:
    from jaxattr.bench.perturbation import run as benchmark
    from jaxattr.cli.common.progress import progress_bar

    folder, quiet, seed = given["folder"], given["quiet"], given["seed"]
    root = Path(given["images"])
    if scenes.is_drawn(given["images"]):
        root = scenes.drawn(folder / "scenes", SCENES_PER_CLASS, seed=seed)
    classifier = answers.classifier(model, "jaxattr bench perturbation")
    model = answers.named(model, classifier, root, given["labels_file"], quiet=quiet)
    everything = _index(model, root, chosen, given, None)
    dataset = everything
    if given["limit"] and given["limit"] < len(everything.files):
        dataset = _index(model, root, chosen, given, given["limit"])
    guide = _guide(model, everything, given) if chosen.guided or given["guide"] else None
    taken = 0 if guide is None else int((dataset.targets == guide.class_).sum())
    options.note(
        f"Images: {len(dataset.files)} of {len(everything.files)} in {root}, {taken} of them of "
        f"the guide's class and left out\nProtocol: {chosen.name}",
        quiet=quiet,
    )
    with progress_bar(len(dataset.files) - taken, 0, quiet=quiet, doing="Masking") as advance:
        result = benchmark.run(
            model,
            dataset,
            folder,
            chosen,
            methods=names.methods(given["methods"]),
            guide=guide,
            seed=seed,
            workers=given["workers"],
            progress=advance,
        )
    return result, guide


def _index(
    model: Model, root: Path, chosen: Protocol, given: dict[str, Any], limit: int | None
) -> Dataset:
    """The images and their labels; without labels, where only predictions are explained."""
    import numpy as np

    from jaxattr.data.dataset import Dataset, index
    from jaxattr.data.listing import Listing, direct, unlooked
    from jaxattr.errors import DatasetError

    labels: Any = model.labels or [str(i) for i in range(model.config.classes)]
    asked = {name: given[name] for name in ("labels_file", "exclude", "seed")}
    try:
        dataset = index(root, labels, limit=limit, **asked)
    except DatasetError:
        if chosen.explained != ("predicted",) or given["labels_file"] or not root.is_dir():
            raise
        listing = Listing()
        found = direct(root, listing)
        if not found:
            raise
        files = tuple(one.name for one in found)[:limit]
        none = np.full(len(files), -1, np.int32)
        dataset = Dataset(root, files, none, "no labels", unlooked=unlooked(listing))
    options.say_folder(dataset)
    return dataset


def _guide(model: Model, dataset: Dataset, given: dict[str, Any]) -> Guide:
    from jaxattr.bench.perturbation.run import guide_from_file, guide_of_class
    from jaxattr.data.labels import LabelTable
    from jaxattr.experiments.guidance import Layout

    asked, layout = given["guide"], Layout(side=given["side"], resize=given["resize"])
    if not asked:
        raise click.UsageError(
            f"{given['protocol']} stitches every image with a guide; add --guide IMAGE, or --guide "
            "CLASS for an image of the folder."
        )
    if Path(asked).is_file():
        return guide_from_file(model, Path(asked), dataset, layout)
    class_ = LabelTable(model.labels, model.config.classes).resolve(asked)
    return guide_of_class(model, dataset, class_, layout)
