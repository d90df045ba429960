"""Draw `methods-gallery.png`: all methods on drawn scenes.

Run by `python docs/notebook/methods_gallery.py`.

Takes some minutes on a CPU, nearly all of them for compiling, and for the masks of RISE.
"""

from __future__ import annotations

import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxattr import checkpoints as models
from jaxattr import losses, scenes
from jaxattr.bench.explanations import trials
from jaxattr.data import images
from jaxattr.gradients import over_images
from jaxattr.methods import METHODS
from jaxattr.plot.figures import encode
from jaxattr.plot.grid import Column, Row, grid

PICTURE = Path(__file__).with_name("methods-gallery.png")
SIDE = 960
"""Width of the picture in pixels: maps have 12 x 12 values."""


def main() -> None:
    """Compute, draw, write."""
    model = models.load("scenes")
    asked = chosen(model.config)
    PICTURE.write_bytes(draw(asked, maps(model, asked)))


def chosen(config) -> trials.Trials:
    """A scene of one object, and one of two, which is asked for both classes."""
    size, cells = config.image_size[0], config.grid
    parts = trials.one_object(2, 0, size, cells), trials.two_objects(1, 0, size, cells)
    pictures, labels = (
        np.concatenate([getattr(part, field) for part in parts])[1:]
        for field in ("images", "label")
    )
    return parts[0]._replace(images=pictures, label=labels)


def maps(model, asked: trials.Trials) -> dict[str, np.ndarray]:
    """Raw maps of the class's log-odds, as the commands ask, by method, with all defaults."""
    arrays = np.stack([images.normalize(one, model.preprocessing) for one in asked.images])
    found = {}
    for name, method in METHODS.items():

        @jax.jit
        def run(model, images, labels, function=method.function):
            def one(image, label):
                return function(model, image, losses.log_odds(label))

            return over_images(one, images, labels)

        found[name] = np.asarray(run(model, jnp.asarray(arrays), jnp.asarray(asked.label)))
        print(name, flush=True)
    return found


def draw(asked: trials.Trials, found: dict[str, np.ndarray]) -> bytes:
    """The grid as a small PNG."""
    rows = [
        Row(image, f"for {scenes.CLASSES[label]}")
        for image, label in zip(asked.images, asked.label, strict=True)
    ]
    columns = [
        Column(name, list(found[name]), method.signed, str(method.cost))
        for name, method in METHODS.items()
    ]
    figure = grid(rows, columns, per_band=8, footer="embedded model, loss log-odds", smooth=False)
    with Image.open(io.BytesIO(encode(figure, "png"))) as picture:
        height = round(picture.height * SIDE / picture.width)
        small = picture.convert("RGB").resize((SIDE, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    # Five bits a channel halve the file and keep all hues, which a palette of 256 does not.
    coarse = np.round(np.asarray(small) / 255 * 31) / 31 * 255
    Image.fromarray(coarse.astype(np.uint8)).save(file, "png", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    main()
