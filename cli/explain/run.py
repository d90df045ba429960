"""What `jaxattr explain` computes: photos in chunks, their logits, and the maps asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxattr.cli.common import answers, options, output, targets
from jaxattr.cli.common.records import Explained, Photo, Run
from jaxattr.cli.explain.show import visible
from jaxattr.cli.main import Failure

if TYPE_CHECKING:
    from jaxattr.methods import Method
    from jaxattr.vit import Model, Preprocessing

_TOGETHER = 16
"""Maps of one image that are computed at once: each takes the memory of a backward pass."""


def explained(run: Run, paths: list[Path], bad: list[Exception], chunk: int) -> Iterator[Explained]:
    """Decode, run, explain chunk by chunk; images that cannot be decoded are put into `bad`."""
    import jax
    import numpy as np

    from jaxattr.gradients import over_images

    build, method = targets.loss(run.question.loss), viewed(run.model, run.method, run.views)

    forward = jax.jit(classify)

    @jax.jit
    def maps(model: Model, images: Any, first: Any, second: Any) -> Any:
        def one(image: Any, first: Any, second: Any) -> Any:
            def of(classes: Any) -> Any:
                return method(model, image, build(*classes))

            if run.question.width <= _TOGETHER:
                return jax.vmap(of)((first, second))
            return jax.lax.map(of, (first, second), batch_size=_TOGETHER)

        return over_images(one, images, first, second)

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
        results = np.asarray(maps(run.model, arrays, *classes))
        for photo, one, pairs, found in zip(photos, logits, asked, results, strict=False):
            chances = answers.probabilities(run.model, one)
            yield Explained(photo, one, chances, pairs, found[: len(pairs)])


def viewed(model: Model, method: Method, views: int) -> Callable[..., Any]:
    """A method's function; the mean over views of the image where more than one is asked for."""
    from jaxattr.methods.views import averaged, chosen

    function = method.function
    return function if views == 1 else averaged(function, chosen(model.config, views))


def classify(model: Model, images: Any) -> Any:
    """The logits of many images, to be jitted."""
    from jaxattr.gradients import over_images

    return over_images(lambda image: model.forward(image)[0], images)


def chunks(
    model: Model, paths: list[Path], size: int, bad: list[Exception]
) -> Iterator[list[Photo]]:
    """Decoded photos, `size` at a time; what cannot be decoded is put into `bad`."""
    from jaxattr.data.images import read_ahead
    from jaxattr.errors import ImageError

    pairs = zip(output.unique_names(paths), paths, strict=True)
    photos: list[Photo] = []
    for photo in read_ahead(pairs, partial(read, model.preprocessing), ahead=2 * size):
        if isinstance(photo, ImageError):
            bad.append(photo)
            continue
        photos.append(photo)
        if len(photos) == size:
            yield photos
            photos = []
    if photos:
        yield photos


def read(preprocessing: Preprocessing, item: tuple[str, Path]) -> Photo:
    """Decode one photo, given with its name, for the model and for a person."""
    from jaxattr.data import images
    from jaxattr.errors import ImageError

    name, path = item
    image = images.decode(path, max_pixels=preprocessing.max_pixels)
    try:
        array = images.normalize(images.fit(image, preprocessing), preprocessing)
    except ImageError as error:
        raise ImageError(f"{images.printable(path)}: {error}") from None
    return Photo(name, path, array, visible(image, preprocessing))


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
