"""`jaxattr bench audit`: plant wrong labels where the right ones are known, and score the audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jaxattr.cli import scenes
from jaxattr.cli.bench import audit_table as audit_text
from jaxattr.cli.common import answers, options, output

if TYPE_CHECKING:
    from jaxattr.audit.ledger import Ledger
    from jaxattr.bench.audit.run import Score
    from jaxattr.vit import Model

# Names of `jaxattr.bench.audit.moving` and `jaxattr.bench.audit.rankings`; a test compares.
_PAIRS, _NOISE = ("confusable", "random"), ("similar", "uniform")
KINDS = (*_PAIRS, *_NOISE, *("as given", "twin", "permuted", "random head"))
METHODS = (
    *("audit", "one view", "no discriminant", "no reweighting"),
    *("no logits", "no label noise", "no calibration"),
    *("confusion counts", "summed margin", "self-confidence"),
    *("cleanlab", "cleanlab, our posterior"),
)
SCENES_PER_CLASS = 50


class Shares(click.ParamType):
    """Shares separated by commas, as fractions or percentages."""

    name = "x,x,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if not isinstance(value, str):
            return value
        try:
            shares = tuple(
                float(one.strip("% ")) / (100 if "%" in one else 1) for one in value.split(",")
            )
        except ValueError:
            shares = ()
        if not shares or not all(0 < share <= 0.5 for share in shares):
            self.fail(f"{value!r} is not a list of shares up to a half; write 2%,5% or 0.02,0.05.")
        return shares


@click.command()
@options.model_options
@click.option(
    "--images",
    default="scenes",
    show_default=True,
    help="The labelled folder, as for `jaxattr audit`; `scenes` draws one without defects.",
)
@click.option("--labels", "labels_file", type=click.Path(), help="A CSV of file and label.")
@click.option("--classes", multiple=True, help="Take this class only (repeatable).")
@options.exclude_option
@click.option(
    "--plant",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    help="What is planted; by default everything. Repeatable.",
)
@click.option(
    "-n",
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(2, 10**6),
    help="Images per class, at random; by default what the smallest class has. Repeatable.",
)
@click.option(
    "--rates",
    type=Shares(),
    default="2%,5%,10%",
    show_default=True,
    help="Rates of wrong labels within pairs.",
)
@click.option(
    "--noise", type=Shares(), default="5%,10%,20%", show_default=True, help="Rates of noise."
)
@click.option(
    "--pairs",
    type=click.IntRange(1, 10**6),
    help="Pairs planted in a set; by default 8, or one per three classes.",
)
@click.option(
    "-m",
    "--methods",
    multiple=True,
    type=click.Choice(METHODS),
    help="Which methods are scored; by default all that can run here. Repeatable.",
)
@click.option(
    "--seeds",
    type=click.IntRange(2, 10_000),
    default=10,
    show_default=True,
    help="Sets drawn per row.",
)
@options.seed_option("The first of them.")
@options.folder_option("jaxattr-bench-audit", help="Folder of the ledger.")
@options.printed_options(
    audit_text.FORMATS,
    help="How the scores are printed; all digits in json and csv.",
    figure="Draw power and average precision against the rate: .png, .svg or .pdf.",
)
@options.workers_option
@options.quiet_option
def audit(choice: options.Choice, **given: Any) -> None:
    """Plant wrong labels in a labelled folder, audit it, and score what is found.

    Logits and features are computed once, into a ledger; every planted set moves labels only.
    Pairs (confusable, random): a share of one class's images gets another's label. Noise: a share
    of all images gets a similar class's label, or any. Nothing: labels as given, drawn from the
    calibrated posterior (twin), permuted, or a random head; what is reported there is an alarm.

    Beside the audit are the audit with parts left out, counting, margins, and cleanlab where it
    is installed (extra `bench`). In brackets 95 % bootstrap intervals over sets, which are the
    same for all methods. FDR is the mean share of reported pairs that was not planted: what is
    wrong in the folder by itself counts against the audit. A method without a threshold reports as
    many images as the audit. Killed while it looks at images, the same command resumes.

    \b
    Examples:
      jaxattr bench audit
      jaxattr bench audit --plant confusable -n 20 -n 50 --rates 5%,10%,20% --figure power.png
      jaxattr bench audit --model vit-base --images photos/ --format md
    """
    figure, quiet, kinds = given["figure"], given["quiet"], given["kinds"] or KINDS
    output.check_figure(figure)
    pairs, noise = not {*_PAIRS}.isdisjoint(kinds), not {*_NOISE}.isdisjoint(kinds)
    options.idle_unless(pairs, "rates", "pairs", why=f"plant pairs: {' or '.join(_PAIRS)}")
    options.idle_unless(noise, "noise", why=f"plant noise: {' or '.join(_NOISE)}")
    options.prepare_jax(choice.dtype)
    from jaxattr.bench.audit import rankings

    if not given["methods"] and len(rankings.available()) < len(rankings.METHODS):
        options.warn("cleanlab is not installed, so it is left out; install the extra `bench`.")
    loaded = options.load_model(choice, quiet=quiet)
    answers.classifier(loaded, "jaxattr bench audit")
    ledger = _ledger(loaded, choice.dtype, given)
    scores = _scored(ledger, given)
    facts = {
        "model": loaded.name,
        "images": ledger.receipt.images,
        "sets": given["seeds"],
        "first_seed": given["seed"],
    }
    facts = output.cited(facts, loaded, given["kind"])
    output.show(audit_text.text(scores, given["kind"], facts))
    if figure:
        from jaxattr.bench.audit.figure import draw
        from jaxattr.plot import figures

        drawn = draw(scores, f"model {loaded.name}, {given['seeds']} sets a point")
        output.write(figure, figures.encode(drawn, figure.suffix[1:].lower()))
        options.note(f"Figure: {figure}", quiet=quiet)


def _ledger(model: Model, dtype: str, given: dict[str, Any]) -> Ledger:
    """Logits and features of all images: three forward passes each, from an earlier call or now."""
    from jaxattr.audit.evidence.gather import gather, make_receipt
    from jaxattr.audit.run import begin
    from jaxattr.cli.common.progress import progress_bar
    from jaxattr.data.dataset import index

    folder, quiet = given["folder"], given["quiet"]
    root = Path(given["images"])
    if scenes.is_drawn(given["images"]):
        # The embedded model has not seen this seed.
        root = scenes.drawn(folder / "scenes", SCENES_PER_CLASS, seed=scenes.HELD_OUT)
    classifier = answers.classifier(model, "jaxattr bench audit")
    model = answers.named(model, classifier, root, given["labels_file"], quiet=quiet)
    labels: Any = model.labels or [str(i) for i in range(model.config.classes)]
    asked = {name: given[name] for name in ("labels_file", "classes", "exclude")}
    dataset = index(root, labels, **asked)
    options.say_folder(dataset)
    receipt = make_receipt(model, dataset, total=len(dataset.files), method="none", dtype=dtype)
    ledger, kept, done = begin(
        folder, receipt, dataset, workers=given["workers"], warn=options.warn
    )
    options.note(f"Images: {receipt.count} in {root}, {done} in the ledger", quiet=quiet)
    with progress_bar(receipt.count, done, quiet=quiet, doing="Looking") as advance:
        asked = {"workers": given["workers"], "kept": kept, "progress": advance}
        gather(model, dataset, ledger, maps=False, **asked)
    if skipped := ledger.skipped():
        options.warn(f"skipped {len(skipped)} images, the first because: {skipped[0][1]}")
    return ledger


def _scored(ledger: Ledger, given: dict[str, Any]) -> list[Score]:
    from jaxattr.bench.audit import run as benchmark
    from jaxattr.bench.audit.labelled import hold
    from jaxattr.cli.common.progress import progress_bar

    held = hold(ledger)
    rows = benchmark.conditions(
        held,
        kinds=given["kinds"] or KINDS,
        sizes=given["sizes"],
        rates=given["rates"],
        noise_rates=given["noise"],
    )
    total, quiet = len(rows) * given["seeds"], given["quiet"]
    with progress_bar(total, 0, quiet=quiet, doing="Auditing planted sets", unit="sets") as advance:
        return benchmark.run(
            held,
            rows=rows,
            seeds=range(given["seed"], given["seed"] + given["seeds"]),
            methods=given["methods"],
            pairs=given["pairs"],
            progress=lambda condition, seed: advance(1),
        )
