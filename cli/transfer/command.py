"""`jaxattr transfer`: change the attention until it gives another answer, and watch the map."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jaxattr.cli.common import options, output
from jaxattr.cli.common.interrupt import interruptible
from jaxattr.cli.main import Failure
from jaxattr.cli.transfer.show import Asked, Seen, files, table_of

if TYPE_CHECKING:
    import numpy as np

    from jaxattr.data.labels import LabelTable
    from jaxattr.experiments.transfer import Parameters
    from jaxattr.vit import Model

# The keys of `jaxattr.transfer.MAPS`, which a test holds equal: `--help` must not import jax.
METHODS = ("absolute", "complete", "positive", "raw_attention", "rollout")
FORMATS = ("png", "svg", "pdf", "gif", "webp", "csv")
_MOST_FRAMES = 500


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@options.model_options
@click.option(
    "-t",
    "--target",
    default="top1",
    show_default=True,
    help="Class whose logit is the loss: label, wnid, index, or top1 for the most probable.",
)
@click.option(
    "--show",
    multiple=True,
    help="Class to draw the map of; repeatable.  [default: the target and the strongest other]",
)
@click.option("--steps", type=click.IntRange(1, 100_000), default=80, show_default=True)
@click.option(
    "--every",
    type=click.IntRange(1, 100_000),
    help="Look at the map every so many steps.  [default: a twentieth of the steps]",
)
@click.option(
    "--direction",
    type=click.Choice(["raise", "lower"]),
    default="raise",
    show_default=True,
    help="Raise the target's logit, which moves evidence as in the paper's Fig. 6, or lower it.",
)
@click.option(
    "--parameters",
    type=click.Choice(["raw", "scores"]),
    default="raw",
    show_default=True,
    help="Optimise the attention maps themselves (the paper), or the scores before the softmax, "
    "so that rows stay distributions.",
)
@click.option(
    "--optimizer",
    type=click.Choice(["sgd", "adam"]),
    default="sgd",
    show_default=True,
    help="Plain gradient steps, or Adam.",
)
@click.option(
    "--learning-rate",
    type=options.Finite(min=0, min_open=True),
    default=0.0004,
    show_default=True,
    help="The default is the paper's.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    metavar="METHOD",
    default="complete",
    show_default=True,
    help="Whose maps are drawn; one of `jaxattr methods`.",
)
@options.folder_option(
    "jaxattr-transfer", "-o", help="Folder for the files, named <image>-<class>-transfer.<format>."
)
@click.option(
    "-f",
    "--format",
    "formats",
    multiple=True,
    default=("png", "gif", "csv"),
    show_default=True,
    type=click.Choice(FORMATS),
    help="A filmstrip, an animation, or the numbers of every frame. Repeatable.",
)
@options.max_pixels_option
@options.quiet_option
def transfer(
    image: Path,
    choice: options.Choice,
    target: str,
    show: tuple[str, ...],
    steps: int,
    every: int | None,
    direction: str,
    parameters: Parameters,
    optimizer: str,
    learning_rate: float,
    method: str,
    folder: Path,
    formats: tuple[str, ...],
    max_pixels: int | None,
    quiet: bool,
) -> None:
    """Optimise a photo's attention maps for a class, and watch its evidence move.

    The attention maps of all layers become the only parameters; the loss is one logit (the paper's
    Fig. 6). Nothing but them changes: not the pixels, not the weights. At every frame the map of
    each shown class is drawn from the changed attention and its gradient.

    \b
    Examples:
      jaxattr transfer el1.png --model vit-base --target zebra
      jaxattr transfer el1.png --model vit-base --target zebra --steps 200 --every 10
      jaxattr transfer el1.png --model vit-base -t zebra --show zebra --show tusker -f webp
    """
    every = every or max(1, steps // 20)
    if steps // every > _MOST_FRAMES:
        raise click.UsageError(
            f"--steps {steps} with --every {every} is {steps // every} looks at the map, more than "
            f"{_MOST_FRAMES}; look less often: --every {-(-steps // _MOST_FRAMES)}."
        )
    output.make_folder(folder)
    options.prepare_jax(choice.dtype)
    from jaxattr.data import images
    from jaxattr.data.labels import LabelTable

    loaded = options.limited(options.load_model(choice, quiet=quiet), max_pixels)
    picture = images.decode(image, max_pixels=loaded.preprocessing.max_pixels)
    table = LabelTable(loaded.labels, loaded.config.classes)
    named = [target, *show]
    known = {name: table.resolve(name) for name in named if name.lower() != "top1"}
    array = images.normalize(images.fit(picture, loaded.preprocessing), loaded.preprocessing)
    asked = Asked(steps, every, direction, optimizer, learning_rate, parameters, method)
    run = partial(_run, loaded, array, [known.get(name, -1) for name in named], asked)
    seen = interruptible(lambda: run(picture=picture, table=table))
    output.show(f"{output.path(image)}\n{table_of(seen.film)}")
    name = f"{output.slug(image.stem)}-{output.class_names(table)[seen.target]}-transfer"
    for path, data in files(folder / name, formats, seen, asked, loaded):
        output.write(path, data)
        output.show(f"  {output.path(path)}")


def _run(
    model: Model,
    array: np.ndarray,
    named: list[int],
    asked: Asked,
    *,
    picture: Any,
    table: LabelTable,
) -> Seen:
    """Optimise, and put together what is shown of it."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from jaxattr import losses
    from jaxattr.data.photos import visible
    from jaxattr.experiments.transfer import schedule
    from jaxattr.experiments.transfer import transfer as compute
    from jaxattr.plot.strips import Film
    from jaxattr.vit import predict

    logits = np.asarray(jax.jit(predict)(model, array))
    order = [int(index) for index in (-logits).argsort(kind="stable")]
    target, *shown = [order[0] if index < 0 else index for index in named]
    if not shown:
        shown = [target, *[index for index in order if index != target][:1]]
    shown = list(dict.fromkeys(shown))
    optimizer = {"sgd": optax.sgd, "adam": optax.adam}[asked.optimizer](asked.rate)
    chosen: dict[str, Any] = {
        "explain": losses.target_logit(jnp.array(shown)),
        "ascend": asked.direction == "raise",
    }
    static = partial(compute, optimizer=optimizer, parameters=asked.parameters, method=asked.method)
    steps = schedule(asked.steps, asked.every)
    found = jax.tree.map(
        np.asarray, jax.jit(static)(model, array, losses.target_logit(target), steps, **chosen)
    )
    bad = ~np.isfinite(found.logits).all(axis=1)
    if bad.any():
        raise Failure(
            f"at step {found.steps[bad][0]} the logits are not numbers any more; lower "
            f"--learning-rate (it was {asked.rate:g}) or take --parameters scores."
        )
    film = Film(
        visible(picture, model.preprocessing),
        found.steps,
        found.maps,
        found.logits[:, shown],
        found.moved.mean(axis=1),
        [table.short(index) for index in shown],
        [table.short(int(one.argmax())) for one in found.logits],
    )
    return Seen(film, found.logits, found.moved, target, shown)
