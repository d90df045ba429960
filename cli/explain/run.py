"""What `jaxattr explain` computes: photos in chunks, their logits, and the maps asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jaxattr.cli.common import options, output, targets
from jaxattr.cli.common.records import Explained, Run
from jaxattr.cli.main import Failure

if TYPE_CHECKING:
    from jaxattr.data.photos import Photo
    from jaxattr.vit import Model


def explained(run: Run, paths: list[Path], bad: list[Exception], chunk: int) -> Iterator[Explained]:
    """Decode, run, explain chunk by chunk; images that cannot be decoded are put into `bad`."""
    import jax
    import numpy as np

    from jaxattr.explanation import classify, pair_maps, probabilities, viewed

    forward = jax.jit(classify)
    method = viewed(run.method.function, run.model.config, run.views)
    size = -(-len(paths) // -(-len(paths) // chunk))
    for photos in chunks(run.model, paths, size, bad):
        # The last chunk is filled up, so that nothing is compiled twice.
        arrays = np.stack(
            [photo.array for photo in photos] + [photos[-1].array] * (size - len(photos))
        )
        logits = np.asarray(forward(run.model, arrays)).astype(np.float64)[: len(photos)]
        asked = [targets.ask(run.question, one) for one in logits]
        classes = np.zeros((2, size, run.question.width), np.int32)
        for index, pairs in enumerate(asked):
            for place, (first, second) in enumerate(pairs):
                classes[:, index, place] = first, second or 0
        found_maps = pair_maps(run.model, arrays, *classes, loss=run.question.loss, method=method)
        results = np.asarray(found_maps)
        for photo, one, pairs, found in zip(photos, logits, asked, results, strict=False):
            chances = probabilities(run.model, one)
            yield Explained(photo, one, chances, pairs, found[: len(pairs)])


def chunks(
    model: Model, paths: list[Path], size: int, bad: list[Exception]
) -> Iterator[list[Photo]]:
    """Decoded photos, `size` at a time; what cannot be decoded is put into `bad`."""
    from jaxattr.data.images import read_ahead
    from jaxattr.data.photos import read_photo
    from jaxattr.errors import ImageError

    def read(item: tuple[str, Path]) -> Photo:
        name, path = item
        return read_photo(path, model.preprocessing, name=name)

    pairs = zip(output.unique_names(paths), paths, strict=True)
    photos: list[Photo] = []
    for photo in read_ahead(pairs, read, ahead=2 * size):
        if isinstance(photo, ImageError):
            bad.append(photo)
            continue
        photos.append(photo)
        if len(photos) == size:
            yield photos
            photos = []
    if photos:
        yield photos


def finish(bad: list[Exception], count: int) -> None:
    """End with exit code 2 where images were skipped; all others are done by now."""
    if not bad:
        return
    if len(bad) > 1:
        for error in bad:
            options.warn(str(error))
    rest = f" {count - len(bad)} of {count} images are done." if count > 1 else ""
    names = ", ".join(str(error).partition(": ")[0] for error in bad)
    reason = str(bad[0]) if len(bad) == 1 else f"{len(bad)} images could not be explained: {names}"
    raise Failure(f"{reason}.{rest}")
