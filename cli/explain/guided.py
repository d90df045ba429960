"""`jaxattr explain --guide`: the maps of a photo beside its guides, and their picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxattr.cli.common import options, process, targets
from jaxattr.cli.common.records import Beside, Explained, Run
from jaxattr.cli.explain import run as explaining
from jaxattr.cli.explain.show import explanation

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from jaxattr.cli.explain.guides import Guides
    from jaxattr.data.photos import Photo


def explained(
    run: Run, chosen: Guides, paths: list[Path], bad: list[Exception]
) -> Iterator[Explained]:
    """Explain each photo beside its guides; those that cannot be explained are put into `bad`."""
    import jax
    import numpy as np

    from jaxattr.errors import JaxattrError
    from jaxattr.experiments import guides
    from jaxattr.explanation import classify, probabilities

    alike = guides.similarity(run.model)
    forward, compute = jax.jit(classify), _maps(run)
    for (photo,) in explaining.chunks(run.model, paths, 1, bad):
        logits = np.asarray(forward(run.model, photo.array[None]))[0].astype(np.float64)
        try:
            asked = _asked(run, chosen, photo, logits)
            found = [_one(run, chosen, photo, logits, alike, pair, compute) for pair in asked]
        except JaxattrError as error:
            bad.append(error)
            continue
        pairs = [
            targets.Asked(one, _common(beside)) for one, beside in zip(asked, found, strict=True)
        ]
        means = np.stack([beside.result.mean for beside in found])
        chances = probabilities(run.model, logits)
        yield Explained(photo, logits, chances, pairs, means, tuple(found))


def _asked(run: Run, chosen: Guides, photo: Photo, logits: np.ndarray) -> list[int]:
    """The classes to explain, without the guides' own."""
    from jaxattr.errors import JaxattrError

    asked = [pair.target for pair in targets.ask(run.question, logits)]
    rest = [one for one in asked if one != chosen.class_]
    if not rest:
        name = run.table.short(asked[0])
        shows = f"the guide {chosen.word} shows" if chosen.word != name else "guides of"
        raise JaxattrError(
            f"{photo.path}: {shows} {name}, the class to explain; choose another --guide or "
            "--target."
        )
    if len(rest) < len(asked):
        options.warn(
            f"{photo.path}: {run.table.short(chosen.class_ or 0)} is the guides' own class and is "
            "left out."
        )
    return rest


def _one(
    run: Run,
    chosen: Guides,
    photo: Photo,
    logits: np.ndarray,
    alike: np.ndarray,
    target: int,
    compute: Any,
) -> Beside:
    """Choose the guides of one class of one photo, and explain it beside them."""
    import jax
    import numpy as np

    from jaxattr.data import images
    from jaxattr.errors import JaxattrError
    from jaxattr.experiments import guidance, guides

    bank = chosen.bank
    if chosen.class_ is None:
        allowed, confidence = guides.far(alike, logits, target), guides.CONFIDENCE
    else:
        allowed, confidence = np.arange(len(logits)) == chosen.class_, 0.0
        if chosen.class_ in guides.top(logits) or alike[target, chosen.class_] >= 1:
            options.warn(
                f"{photo.path}: {run.table.short(chosen.class_)} is close to what the image shows; "
                "what both classes share cancels in the map."
            )
    if Path(chosen.word).name in bank.names[:1] and len(bank.names) == 1:
        places = np.zeros(1, np.int64)  # the image that was named, sure or not
    else:
        try:
            places = guides.choose(bank, allowed, target, chosen.number, confidence=confidence)
        except JaxattrError as error:
            name = run.table.short(target)
            raise JaxattrError(f"{photo.path}: {name}: --guide {chosen.word}: {error}") from None
    arrays = np.stack([images.normalize(bank.pixels[i], run.model.preprocessing) for i in places])
    against = bank.targets[places]
    result, alone = jax.device_get(
        compute(run.model, photo.array, arrays, np.int32(target), against)
    )
    stitched = guidance.stitch(photo.array, arrays[0])
    picture = images.as_rgb(images.denormalize(stitched, run.model.preprocessing))
    names = tuple(bank.names[i] for i in places)
    return Beside(result, against, names, picture, alone)


def _maps(run: Run) -> Any:
    """The jitted function of all maps of one target: beside the guides, and alone."""
    import jax

    from jaxattr import losses
    from jaxattr.experiments.guidance import guided
    from jaxattr.explanation import viewed

    build, method = (
        losses.named(run.question.loss),
        viewed(run.method.function, run.model.config, run.views),
    )

    @jax.jit
    def compute(model: Any, image: Any, guides: Any, target: Any, against: Any) -> Any:
        beside = guided(model, image, guides, target, against, loss=build, method=method)
        return beside, method(model, image, losses.log_odds(target))

    return compute


def _common(beside: Beside) -> int | None:
    """The class of all guides, if it is one."""
    return int(beside.against[0]) if len(set(beside.against.tolist())) == 1 else None


def lines(run: Run, one: Explained) -> Iterator[str]:
    """What stands under the table: who guided, and how much that matters."""
    for pair, beside in zip(one.asked, one.guided, strict=True):
        named = [
            f"{run.table.short(int(class_))} ({name})"
            for class_, name in zip(beside.against, beside.names, strict=True)
        ]
        said = f"{run.table.short(pair.target)} beside {', '.join(dict.fromkeys(named))}"
        line = f"  {process.one_line(said)}"
        if len(named) > 1:
            line += f": spread / mean = {float(beside.result.dependence):.2f}"
        yield line


def warnings(run: Run, one: Explained) -> Iterator[str]:
    """Beside how many guides Eq. 8 or the ratio does not guide."""
    import jax.numpy as jnp

    from jaxattr import losses

    if not losses.resolve(run.question.loss).positive:
        return
    for pair, beside in zip(one.asked, one.guided, strict=True):
        guiding = [
            bool(losses.is_guiding(jnp.asarray(logits), pair.target, int(other)))
            for logits, other in zip(beside.result.logits, beside.against, strict=True)
        ]
        if not all(guiding):
            yield (
                f"{one.photo.path}: {run.table.short(pair.target)}: beside "
                f"{guiding.count(False)} of {len(guiding)} guides the two logits are not both "
                f"positive, so the loss {run.question.loss!r} does not set one against the other; "
                "use --loss difference."
            )


def drawings(run: Run, one: Explained) -> Iterator[tuple[str, Figure]]:
    """One picture per class: the photo alone, beside its first guide, mean and spread."""
    from jaxattr.plot.figures import Panel
    from jaxattr.plot.sheets import Cell, sheet

    said, photo = explanation(run, one, 0).caption(), one.photo.picture
    for index, (pair, beside) in enumerate(zip(one.asked, one.guided, strict=True)):
        mean, name = explanation(run, one, index).panel(), run.table.short(pair.target)
        first = run.table.short(int(beside.against[0]))
        negative = mean.negative
        if negative and pair.against is None:
            negative = "for the guides' classes"
        mean = mean._replace(negative=negative)
        alone = mean._replace(map=beside.alone, negative=negative and f"against {name}")
        canvas = mean._replace(map=beside.result.canvas[0], negative=negative and f"for {first}")
        count = len(beside.names)
        beside_words = beside.names[0] + (f", 1 of {count}" if count > 1 else "")
        title = "With its guide" if count == 1 else f"Mean of {count} guides"
        cells = [
            Cell(photo, said.title, said.detail),
            Cell(photo, f"{name}, no guide", "loss log-odds", alone, "alone"),
            Cell(beside.canvas, f"{name} beside {first}", beside_words, canvas, "canvas"),
            Cell(photo, title, f"loss {run.question.loss}", mean, "own"),
        ]
        if count > 1:
            spread = Panel(beside.result.spread, "", "", "standard deviation over guides", None)
            detail = f"spread / mean = {float(beside.result.dependence):.2f}"
            cells.append(Cell(photo, "Spread", detail, spread, "own"))
        figure = sheet([cells], footer=said.footer, **run.drawing)
        yield f"{one.photo.name}-{run.class_files[pair.target]}-guided", figure


def content(one: Explained) -> dict[str, Any]:
    """What a guided photo's data file holds beyond the others': `maps` are the means,
    `unguided` those of the target's log-odds without any guide."""
    import numpy as np

    results = [beside.result for beside in one.guided]
    return {
        "unguided": np.stack([beside.alone for beside in one.guided]),
        "spread": np.stack([result.spread for result in results]),
        "guide_maps": np.stack([result.maps for result in results]),
        "guide_logits": np.stack([result.logits for result in results]),
        "guide_classes": np.stack([beside.against for beside in one.guided]),
        "guide_names": [list(beside.names) for beside in one.guided],
    }
