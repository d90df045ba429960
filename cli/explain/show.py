"""What `jaxattr explain` says and writes about one photo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxattr.cli.common import answers, output, targets
from jaxattr.cli.common import conservation as conserved
from jaxattr.cli.common.records import Explained, Run, model_name

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from PIL import Image

    from jaxattr.plot.figures import Panel
    from jaxattr.vit import Preprocessing


def visible(image: Image.Image, preprocessing: Preprocessing, longest: int = 640) -> np.ndarray:
    """The part of a photo that the model sees, in the photo's own proportions, `[h, w, 3]`."""
    import numpy as np
    from PIL import Image

    from jaxattr.data.images import as_rgb, fit

    if len(preprocessing.mean) == 1:
        image = image.convert("L").convert("RGB")
    width, height = image.size
    box = (0.0, 0.0, float(width), float(height))
    if preprocessing.crop is not None:
        resize = preprocessing.resize or (height, width)
        if isinstance(resize, int):
            resize = (resize * height / min(width, height), resize * width / min(width, height))
        if any(one > of + 1 for one, of in zip(preprocessing.crop, resize, strict=True)):
            return as_rgb(fit(image, preprocessing))  # black edges, which the map covers, too
        tall, wide = (
            min(1, one / of) * side / 2
            for one, of, side in zip(preprocessing.crop, resize, (height, width), strict=True)
        )
        box = (width / 2 - wide, height / 2 - tall, width / 2 + wide, height / 2 + tall)
    wide, tall = box[2] - box[0], box[3] - box[1]
    factor = min(longest / max(wide, tall), max(1.0, 224 / max(wide, tall)))
    size = max(1, round(wide * factor)), max(1, round(tall * factor))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, box=box))


def answer(run: Run, one: Explained) -> str:
    """The five most probable classes, and the asked ones beyond them, as a table.

    Of a regression the outputs of the largest values, without a probability.
    """
    order = [int(index) for index in (-one.logits).argsort(kind="stable")]
    rank = {index: place for place, index in enumerate(order, 1)}
    shown = sorted({*order[:5], *(pair.target for pair in one.asked)}, key=lambda i: rank[i])
    rows = [
        (
            f"  {rank[index]}",
            run.table.short(index),
            str(index),
            run.table.wnid(index) or "-",
            *([] if one.probabilities is None else [f"{one.probabilities[index]:.4f}"]),
            f"{one.logits[index]:.3f}",
        )
        for index in shown
    ]
    header = ("  rank", "class", "index", "wnid", "probability", "logit")
    if one.probabilities is None:
        header = ("  rank", "output", "index", "wnid", "value")
    if not any(run.table.wnid(index) for index in shown):
        header, rows = header[:3] + header[4:], [row[:3] + row[4:] for row in rows]
    lines = [output.path(one.photo.path), output.table(header, rows, left=3)]
    if one.guided:
        from jaxattr.cli.explain import guided

        lines += guided.lines(run, one)
    return "\n".join(lines)


def write(run: Run, one: Explained) -> Iterator[Path]:
    """Write one photo's files and yield their paths."""
    for format in run.formats:
        if format in ("json", "npz"):
            content = _content(run, one)
            data = output.as_json(content) if format == "json" else output.as_npz(content)
            path = run.folder / f"{one.photo.name}.{format}"
            output.write(path, data)
            yield path
            continue
        from jaxattr.plot import figures

        for name, figure in _drawings(run, one):
            name = run.given.of(name, (one.photo.name, name))
            path = run.folder / f"{name}.{format}"
            output.write(path, figures.encode(figure, format))
            yield path


def _drawings(run: Run, one: Explained) -> Iterator[tuple[str, Figure]]:
    """The pictures of one photo, and their files' names."""
    if run.question.details:
        from jaxattr.cli.explain import details

        yield from details.drawings(run, one)
        return
    if one.guided:
        from jaxattr.cli.explain import guided

        yield from guided.drawings(run, one)
        return
    from jaxattr.plot import figures

    panels = [(_file_name(run, pair), panel(run, one, i)) for i, pair in enumerate(one.asked)]
    if run.together and panels:
        groups = {"-".join([one.photo.name, "together"]): [panel for _, panel in panels]}
    else:
        groups = {f"{one.photo.name}-{name}": [panel] for name, panel in panels}
    for name, group in groups.items():
        figure = figures.explanation(one.photo.picture, group, **words(run, one), **run.drawing)
        yield name, figure


def warnings(run: Run, one: Explained) -> Iterator[str]:
    """Where the loss does not guide, relevance is not kept, and nothing is left to explain."""
    import jax.numpy as jnp

    from jaxattr import losses

    name = one.photo.path
    if not one.asked:
        yield f"{name}: every class asked for is the one it is set against; nothing is drawn."
    if one.guided:
        from jaxattr.cli.explain import guided

        yield from guided.warnings(run, one)
        return
    shared = [one.logits] * len(one.asked)
    if line := conserved.warning(run.method, run.question.loss, one.asked, shared, one.maps):
        yield f"{name}: {line}"
    if run.question.loss not in ("relative", "ratio"):
        return
    told: set[frozenset[int | None]] = set()  # of --details, which asks both ways
    for target, against in one.asked:
        if {target, against} in told:
            continue
        told.add(frozenset((target, against)))
        if not losses.is_guiding(jnp.asarray(one.logits), target, against):
            yield (
                f"{name}: the logits of {run.table.short(target)} ({one.logits[target]:.2f}) and "
                f"{run.table.short(against or 0)} ({one.logits[against]:.2f}) are not both "
                f"positive, so the loss {run.question.loss!r} does not set one against the other; "
                "use --loss difference."
            )


def _file_name(run: Run, pair: targets.Asked) -> str:
    name = run.class_files[pair.target]
    if pair.against is None:
        return name
    return f"{name}-against-{run.class_files[pair.against]}"


def panel(run: Run, one: Explained, index: int) -> Panel:
    """One of the maps, with what its colours mean."""
    from jaxattr.plot.figures import Panel

    target, against = one.asked[index]
    name, title = run.table.short(target), run.table.short(target)
    detail = answers.said(one.probabilities, one.logits, target)
    negative = f"against {name}"
    if against is not None:
        other = run.table.short(against)
        title, negative = f"{name} against {other}", f"for {other}"
        detail += f"  against  {answers.said(one.probabilities, one.logits, against)}"
    positive = run.method.meaning.replace("{}", name)
    return Panel(one.maps[index], title, detail, positive, negative if run.method.signed else None)


def words(run: Run, one: Explained) -> dict[str, str]:
    """The title of the photo and the footer of the figure."""
    best = [int(index) for index in (-one.logits).argsort(kind="stable")[:2]]
    numbers = one.logits if one.probabilities is None else one.probabilities
    most = ", ".join(f"{run.table.short(i)} {numbers[i]:.2f}" for i in best)
    known = "largest values" if one.probabilities is None else "most probable"
    method = f"method {run.method.name}" + (f", mean of {run.views} views" if run.views > 1 else "")
    parts = [model_name(run.model), method, f"loss {run.question.loss}"]
    return {
        "title": one.photo.path.name,
        "detail": f"{known}: {most}",
        "footer": "  ·  ".join(filter(None, parts)),
    }


def _content(run: Run, one: Explained) -> dict[str, Any]:
    """All numbers of one photo, as they go into JSON and npz files; no other class is -1.

    `problem` says what the logits are; those of a regression have no `probabilities`.
    """
    import numpy as np

    content: dict[str, Any] = {
        "image": str(one.photo.path),
        "model": run.model.name,
        "method": run.method.name,
        "views": run.views,
        "loss": run.question.loss,
        "classes": np.array([pair.target for pair in one.asked], np.int32),
        "against": np.array(
            [-1 if pair.against is None else pair.against for pair in one.asked], np.int32
        ),
        "maps": one.maps.astype(np.float32) if one.maps.dtype.itemsize < 4 else one.maps,
        "logits": one.logits,
        "problem": run.model.config.problem,
        **({} if one.probabilities is None else {"probabilities": one.probabilities}),
        "labels": [run.table.short(index) for index in range(len(one.logits))],
    }
    if one.guided:
        from jaxattr.cli.explain import guided

        content |= guided.content(one)
    return content
