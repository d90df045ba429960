"""`jaxattr explain --details`: typical images of the classes, and the picture of all pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from jaxattr.cli.common.records import Explained, Run, Typical
from jaxattr.cli.explain.guides import gather
from jaxattr.cli.explain.show import explanation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxattr.data.photos import Photo
    from jaxattr.experiments.guides import Bank, Source
    from jaxattr.vit import Preprocessing

_TRIED = 8  # of a class, to find a typical one


def with_typical(
    run: Run, source: Source | None, results: Iterable[Explained]
) -> Iterator[Explained]:
    """Add to each photo the image of each of its classes that the model is surest of, if any."""
    known: dict[int, Bank | None] = {}
    for one in results:
        classes = dict.fromkeys(pair.target for pair in one.asked)
        for class_ in classes:
            if class_ not in known:
                known[class_] = _known(source, class_)
        found = {
            c: image
            for c in classes
            if (image := _typical(known.get(c), c, one.photo, run.model.preprocessing))
        }
        yield one._replace(typical=found)


def _known(source: Source | None, class_: int) -> Bank | None:
    """Some images of a class; `None` where there are none."""
    if source is None:
        return None
    if source.folder is not None and not (source.folder.targets == class_).any():
        return None
    return gather(source, class_, _TRIED, _TRIED)


def _typical(
    bank: Bank | None, class_: int, photo: Photo, preprocessing: Preprocessing
) -> Typical | None:
    """The one that the model is surest of, but not the photo itself."""
    import numpy as np

    from jaxattr.data import images
    from jaxattr.experiments import guides

    if bank is None:
        return None
    seen = images.denormalize(photo.array, preprocessing)
    own = np.abs(bank.pixels - seen.astype(np.int16)).max(axis=(1, 2, 3)) <= 1
    place = guides.typical(bank._replace(targets=np.where(own, -1, bank.targets)), class_)
    return None if place is None else Typical(images.as_rgb(bank.pixels[place]), bank.names[place])


def drawings(run: Run, one: Explained) -> Iterator[tuple[str, Figure]]:
    """One picture: a row per pair, with a typical image of the second class where there is one."""
    from jaxattr.plot.sheets import Cell, sheet

    if not one.asked:
        return
    said, rows = explanation(run, one, 0).caption(), []
    for index, pair in enumerate(one.asked):
        shown = explanation(run, one, index).panel()
        logits = f"logits {one.logits[pair.target]:.2f}, {one.logits[pair.against or 0]:.2f}"
        row: list[Cell | None] = [
            Cell(one.photo.picture, said.title, said.detail),
            Cell(one.photo.picture, shown.title, logits, shown),
        ]
        typical = one.typical.get(pair.against or 0)
        if typical:
            name = run.table.short(pair.against or 0)
            row.append(Cell(typical.pixels, f"typical {name}", typical.name))
        rows.append(row)
    yield f"{one.photo.name}-details", sheet(rows, footer=said.footer, **run.drawing)
