from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxattr.methods._masking import over_masks, patch_mean, score
from jaxattr.methods.method import Cost, method
from jaxattr.resampling import along_both, linear
from jaxattr.vit import Image, Loss, Map, Model, check_image, predict


@method(
    signed=False,
    differentiates="nothing",
    cost=Cost(forward=6000),
    source="Petsiuk et al. 2018",
    equals="RISE",
)
def rise(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    key: PRNGKeyArray | None = None,
    masks: int = 6000,
    cells: int = 8,
    probability: float = 0.1,
    probabilities: bool = True,
    chunk_size: int | None = None,
    grids: Float[Array, "mask cell cell"] | None = None,
    shifts: Int[Array, "mask 2"] | None = None,
) -> Map:
    """The mean of random masks, weighted by the score of the masked image: `Σ m p(x m) / (N p1)`.

    A coarse grid of zeros and ones, enlarged linearly and shifted by less than a cell, masks the
    normalised image, so that what is hidden is the mean colour. The mean score is not subtracted:
    a map carries a large constant. Each patch is the mean of its pixels. Never negative while the
    score is not. Costs 6000 forward passes by default. Source: Petsiuk et al. 2018; defaults of
    its notebook. Other presets that published numbers rest on: `masks=2000, probability=0.5` (the
    authors' easy start), `masks=4000` (TIS's comparison).

    Args:
        key: of the masks; key 0 by default, so that a map can be repeated.
        masks: how many, N.
        cells: of the coarse grid, along each side.
        probability: that a cell is kept, p1.
        probabilities: hand the loss the head's probabilities in place of logits, as published:
            `target_logit(c)` is then the probability of c. A regression has none, its logits stay.
        chunk_size: masked images at once.
        grids: the coarse grids themselves, with `shifts`, in place of `key`, `masks` and `cells`;
            `probability` still scales the map.
        shifts: by how many pixels, down and right, each mask is shifted.
    """
    check_image(model, image)
    if grids is None or shifts is None:
        if masks < 1 or cells < 1 or not 0 < probability <= 1:
            raise ValueError(
                f"masks is {masks}, cells is {cells}, probability is {probability}; give at least "
                f"1 of both and a probability above 0, to 1."
            )
        key = jax.random.key(0) if key is None else key
        grids, shifts = _draw(key, masks, cells, probability, model.config.image_size)
    pixels = _pixels(model, image, loss, grids, shifts, probabilities, chunk_size)
    return patch_mean(model.config, pixels) * (1 / (len(grids) * probability))


def _pixels(
    model: Model,
    image: Image,
    loss: Loss,
    grids: Float[Array, "mask cell cell"],
    shifts: Int[Array, "mask 2"],
    probabilities: bool,
    chunk_size: int | None,
) -> Float[Array, "height width"]:
    """The sum of the masks, weighted by their scores."""
    grids, shifts = jnp.asarray(grids, image.dtype), jnp.asarray(shifts)
    measure = score(model.config, loss, probabilities)

    def mask(index: Array) -> Array:
        return _mask(grids[index], shifts[index], model.config.image_size)

    def scored(index: Array) -> Array:
        return measure(predict(model, image * mask(index)[..., None]))

    found = over_masks(model.config, scored, len(grids), chunk_size).astype(image.dtype)

    def add(total: Array, one: tuple[Array, Array]) -> tuple[Array, None]:
        index, weight = one
        return total + weight * mask(index), None

    total = jnp.zeros(image.shape[:2], image.dtype)
    return lax.scan(add, total, (jnp.arange(len(grids)), found))[0]


def _draw(
    key: PRNGKeyArray, masks: int, cells: int, probability: float, size: tuple[int, int]
) -> tuple[Array, Array]:
    for_grids, for_shifts = jax.random.split(key)
    grids = jax.random.bernoulli(for_grids, probability, (masks, cells, cells))
    cell = jnp.array([-(-side // cells) for side in size])
    return grids.astype(jnp.float32), jax.random.randint(for_shifts, (masks, 2), 0, cell)


def _mask(
    grid: Float[Array, "cell cell"], shift: Int[Array, "2"], size: tuple[int, int]
) -> Float[Array, "height width"]:
    """One mask: the grid enlarged by one cell more than the image, mirrored outside, and cut."""
    cells = len(grid)
    sides = []
    for side, first in zip(size, shift, strict=True):
        matrix = linear(cells, (cells + 1) * -(-side // cells), "mirror")
        sides.append(lax.dynamic_slice_in_dim(jnp.asarray(matrix, grid.dtype), first, side))
    return along_both(sides[0], grid, sides[1])
