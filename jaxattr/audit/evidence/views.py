"""Other views of an image: what a posterior is steadier for, at one forward pass each."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxattr.resampling import along_both, linear
from jaxattr.vit import Image

NAMES = ("mirrored", "enlarged")
"""The views of `views`, in order."""
MARGIN = 1 / 16
"""Of each side, that the enlarged view leaves out."""


def views(image: Image) -> Float[Array, "view height width channel"]:
    """The image mirrored left to right, and its middle enlarged to the whole size.

    The middle leaves out `MARGIN` of every side and is enlarged by linear interpolation. Their
    logits and features, averaged with those of the image as it is, tell wrong labels better than
    those of one view alone (`docs/notebook/audit.md`, Views).
    """
    height, width = image.shape[:2]
    down, across = round(MARGIN * height), round(MARGIN * width)
    part = image[down : height - down, across : width - across]
    rows, columns = (
        jnp.asarray(linear(few, many), image.dtype)
        for few, many in zip(part.shape[:2], image.shape[:2], strict=True)
    )
    larger = jnp.moveaxis(along_both(rows, jnp.moveaxis(part, -1, 0), columns), 0, -1)
    return jnp.stack([image[:, ::-1], larger])
