"""What `jaxattr explain` says and writes about one photo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxattr.cli.common import conservation as conserved
from jaxattr.cli.common import output, targets
from jaxattr.cli.common.records import Explained, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxattr.explanation import Explanation


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

    if not one.asked:
        return
    shown = [explanation(run, one, index) for index in range(len(one.asked))]
    said = shown[0].caption()._asdict()
    panels = [
        (_file_name(run, pair), each.panel()) for pair, each in zip(one.asked, shown, strict=True)
    ]
    if run.together:
        groups = {"-".join([one.photo.name, "together"]): [panel for _, panel in panels]}
    else:
        groups = {f"{one.photo.name}-{name}": [panel] for name, panel in panels}
    for name, group in groups.items():
        figure = figures.explanation(one.photo.picture, group, **said, **run.drawing)
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
    if not losses.resolve(run.question.loss).positive:
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


def explanation(run: Run, one: Explained, index: int) -> Explanation:
    """One of a photo's maps, as the library says and draws it."""
    from jaxattr.explanation import Explanation

    target, against = one.asked[index]
    return Explanation(
        map=one.maps[index],
        logits=one.logits,
        probabilities=one.probabilities,
        target=target,
        against=against,
        loss=run.question.loss,
        method=run.method.name,
        photo=one.photo.picture,
        table=run.table,
        name=one.photo.path.name,
        model=run.model.name,
        views=run.views,
        signed=run.method.signed,
        meaning=run.method.meaning,
    )


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
        "origin": output.origin(run.model),
        **({} if one.probabilities is None else {"probabilities": one.probabilities}),
        "labels": [run.table.short(index) for index in range(len(one.logits))],
    }
    if one.guided:
        from jaxattr.cli.explain import guided

        content |= guided.content(one)
    return content
