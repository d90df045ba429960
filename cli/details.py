"""`jaxattr explain --details`: typical images of the classes, and the picture of all pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from jaxattr.cli.explained import Explained, Run, Typical, panel, words
from jaxattr.cli.guides import Source, gather

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TRIED = 8  # of a class, to find a typical one


def with_typical(
    run: Run, source: Source | None, results: Iterable[Explained]
) -> Iterator[Explained]:
    """Add to each photo the image of each of its classes that the model is surest of, if any."""
    known: dict[int, Typical | None] = {}
    for one in results:
        classes = dict.fromkeys(pair.target for pair in one.asked)
        if source is not None:
            for class_ in classes:
                if class_ not in known:
                    known[class_] = _typical(source, class_)
        found = {class_: image for class_ in classes if (image := known.get(class_))}
        yield one._replace(typical=found)


def _typical(source: Source, class_: int) -> Typical | None:
    from jaxattr import guides

    if source.folder is not None and not (source.folder.targets == class_).any():
        return None
    bank = gather(source, class_, _TRIED, _TRIED)
    place = guides.typical(bank, class_)
    return None if place is None else Typical(bank.pixels[place], bank.names[place])


def drawings(run: Run, one: Explained) -> Iterator[tuple[str, Figure]]:
    """One picture: a row per pair, with a typical image of the second class where there is one."""
    from jaxattr.sheets import Cell, sheet

    if not one.asked:
        return
    said, rows = words(run, one), []
    for index, pair in enumerate(one.asked):
        shown = panel(run, one, index)
        row: list[Cell | None] = [
            Cell(one.photo.picture, said["title"], said["detail"]),
            Cell(one.photo.picture, shown.title, shown.detail, shown),
        ]
        typical = one.typical.get(pair.against or 0)
        if typical:
            name = run.table.short(pair.against or 0)
            row.append(Cell(typical.pixels, f"typical {name}", typical.name))
        rows.append(row)
    yield f"{one.photo.name}-details", sheet(rows, footer=said["footer"], **run.drawing)
