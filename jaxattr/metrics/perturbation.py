"""Perturbation tests of a map: mask from the highest or lowest score, and see what the model says.

Scores become places in an order of masking (`ranks`), so that "the first n are masked" is
`rank < n` for any n and method, and nothing is compiled twice. A unit of masking is a patch or a
pixel; which one, the number of ranks says.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int, Int32

from jaxattr.errors import JaxattrError
from jaxattr.gradients import over_images
from jaxattr.vit import (
    Image,
    Logits,
    Model,
    Preprocessing,
    ViT,
    ViTConfig,
    apply,
    check_image,
    positions,
    predict,
    predict_tokens,
)

ORDERS = ("positive", "negative")
"""Masked from the highest score down: lower curves are better; from the lowest up: higher ones."""
FILLS = ("black", "mean", "imagenet", "blur", "zero", "drop")
"""What masked units become, see `fill_image`; `zero` and `drop` act on tokens."""
TOKEN_FILLS = ("zero", "drop")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Red, green and blue over the training images, from 0 to 1: the mean that most checkpoints
subtract."""
_LUMA = (0.299, 0.587, 0.114)
BLUR = 1 / 20
"""Standard deviation of the blur, as a share of the image's shorter side."""


def counts(units: int, fractions: Sequence[float | int]) -> tuple[int, ...]:
    """How many of `units` each fraction masks, rounded down.

    Raises:
        JaxattrError: fractions that do not rise from 0, or that ask for more units than there are.
    """
    if len(fractions) < 2 or fractions[0] != 0 or not (np.diff(fractions) > 0).all():
        raise JaxattrError(
            f"fractions {_listed(fractions)}: wanted two or more that rise from 0, such as 0,0.1."
        )
    # A hair more, because 0.29 * 100 is less than 29.
    found = tuple(int(fraction * units + 1e-9) for fraction in fractions)
    _check_counts(units, found)
    return found


def ranks(
    scores: Float[np.ndarray, "*batch unit"], ties: Int[np.ndarray, " unit"]
) -> Int32[np.ndarray, "*batch 2 unit"]:
    """The place of each unit in the two orders of masking: from the highest score, and the lowest.

    Equal scores are taken in the order of `ties`, a permutation of the units, in both: with the
    same seeded permutation for all methods a constant map is a random one, and no order prefers
    the top left.

    Raises:
        JaxattrError: a score is NaN or infinite.
    """
    if not np.isfinite(scores).all():
        raise JaxattrError("a map holds NaN or infinity, which has no place in an order.")
    both = np.stack([-scores, scores], axis=-2)
    order = ties[np.argsort(both[..., ties], axis=-1, kind="stable")]
    places = np.empty(both.shape, np.int32)
    np.put_along_axis(places, order, np.arange(scores.shape[-1], dtype=np.int32), axis=-1)
    return places


def auc(
    values: Float[np.ndarray, "*batch step"], fractions: Sequence[float | int]
) -> Float[np.ndarray, "*batch"]:
    """Area under curves over the masked fraction, by the trapezoid rule; not divided by its range.

    A curve that stays at 1 from 0 to 0.9 has 0.9. Linear, so that the mean over images of the areas
    is the area under the mean curve.
    """
    widths = np.diff(np.asarray(fractions, np.float64))
    return np.asarray((values[..., 1:] + values[..., :-1]).astype(np.float64) @ widths / 2)


def perturb(
    model: Model,
    image: Image,
    places: Int32[Array, "order unit"],
    steps: tuple[int, ...],
    fill: str,
    *,
    chunk_size: int | None = None,
) -> Float[Array, "order step class"]:
    """The logits of one image with the first n units masked, for every n in `steps`.

    All orders and steps are one mapped axis. With `drop` the shapes differ between steps: every
    number of tokens is a network of its own in the same compiled function, over the kept ones only.

    Args:
        places: as `ranks` gives them; one column per patch or per pixel, row by row.
        steps: units to mask, static.
        chunk_size: how many masked images a CPU takes at once, see `over_images`.

    Raises:
        JaxattrError: more units to mask than there are, an unknown fill, or one that does not fit.
    """
    c = model.config
    check_image(model, image)
    check_fill(c, places.shape[-1], fill)
    _check_counts(places.shape[-1], steps)
    if fill == "drop":
        x = apply(model, ViT.embed, image)
        many = [jax.vmap(lambda one, n=n: drop_tokens(model, x, one, n))(places) for n in steps]
        return jnp.stack(many, axis=1)
    baseline = None if fill == "zero" else fill_image(model, image, fill)
    each_step = jnp.asarray(steps, jnp.int32)

    def one(order: Array, count: Array) -> Array:
        masked = places[order] < count
        if baseline is None:
            return zero_tokens(model, image, masked)
        return predict(model, jnp.where(in_pixels(c, masked), baseline, image))

    which = jnp.arange(len(places)).repeat(len(steps))
    counted = jnp.tile(each_step, len(places))
    logits = over_images(one, which, counted, chunk_size=chunk_size)
    return logits.reshape(len(places), len(steps), -1)


def mask_sets(
    model: Model,
    image: Image,
    sets: Bool[Array, "set unit"],
    fill: str,
    *,
    chunk_size: int | None = None,
) -> Float[Array, "set class"]:
    """The logits of one image with each of several sets of patches, or pixels, masked.

    Raises:
        JaxattrError: an unknown fill, one that acts on tokens, or sets that do not fit.
    """
    check_image(model, image)
    check_fill(model.config, sets.shape[-1], fill)
    if fill in TOKEN_FILLS:
        raise JaxattrError(f"fill {fill} acts on tokens; sets are masked in the image.")
    baseline = fill_image(model, image, fill)

    def one(masked: Array) -> Array:
        return predict(model, jnp.where(in_pixels(model.config, masked), baseline, image))

    return over_images(one, sets, chunk_size=chunk_size)


def fill_image(model: Model, image: Image, fill: str) -> Image:
    """What masked pixels are replaced by, as an image: normalised, like the one that is given.

    `black` is 0 before normalisation (so `-mean / std` after it), `imagenet` the mean colour of
    ImageNet, normalised as the model's own pixels are (`(IMAGENET_MEAN - mean) / std`, which is 0
    where the checkpoint subtracts just that; grey images get its luminance), `mean` the image's own
    mean colour, `blur` the image under a Gaussian of `BLUR` times its shorter side.
    """
    if fill in ("black", "imagenet"):
        p = model.preprocessing
        colour = np.zeros(len(p.mean)) if fill == "black" else _imagenet_mean(p)
        normalised = (colour - np.array(p.mean)) / np.array(p.std)
        return jnp.broadcast_to(jnp.asarray(normalised, image.dtype), image.shape)
    if fill == "mean":
        return jnp.broadcast_to(image.mean(axis=(0, 1)), image.shape)
    sigma = BLUR * min(image.shape[:2])
    rows, columns = (jnp.asarray(_gaussian(n, sigma), image.dtype) for n in image.shape[:2])
    return jnp.einsum("ab,bcd,ec->aed", rows, image, columns, precision=lax.Precision.HIGHEST)


def _imagenet_mean(preprocessing: Preprocessing) -> Float[np.ndarray, " channel"]:
    """In the order and on the scale of pixels that are about to be normalised."""
    if len(preprocessing.mean) == 1:
        colour = np.array([np.dot(_LUMA, IMAGENET_MEAN)])
    else:
        colour = np.array(IMAGENET_MEAN[:: -1 if preprocessing.order == "bgr" else 1])
    return colour * 255 * preprocessing.rescale


def zero_tokens(model: Model, image: Image, masked: Bool[Array, " patch"]) -> Logits:
    """The logits with the embedding of masked patches set to zero; their position stays."""
    prefix = model.config.prefix_tokens
    x = apply(model, ViT.embed, image)
    hidden = jnp.concatenate([jnp.zeros(prefix, bool), masked])[:, None]
    return predict_tokens(model, jnp.where(hidden, positions(model), x))


def drop_tokens(
    model: Model, x: Float[Array, "token hidden"], rank: Int32[Array, " patch"], count: int
) -> Logits:
    """The logits of the network run without the first `count` patches; `x` is embedded, with all.

    Prefix tokens stay. Kept tokens keep their positions and their order.
    """
    prefix = model.config.prefix_tokens
    kept = jnp.flatnonzero(rank >= count, size=len(rank) - count) + prefix
    return predict_tokens(model, jnp.concatenate([x[:prefix], x[kept]]))


def check_fill(config: ViTConfig, units: int, fill: str) -> None:
    """Raise `JaxattrError` where the fill is unknown, or cannot mask that many units."""
    if fill not in FILLS:
        raise JaxattrError(f"fill {fill!r} is unknown; choose from {', '.join(FILLS)}.")
    patches, pixels = config.grid[0] * config.grid[1], config.image_size[0] * config.image_size[1]
    if units not in (patches, pixels):
        raise JaxattrError(
            f"{units} ranks for an image of {patches} patches and {pixels} pixels; rank one or the "
            "other."
        )
    if fill in TOKEN_FILLS and units != patches:
        raise JaxattrError(
            f"fill {fill} acts on whole tokens; rank the {patches} patches, not pixels."
        )


def _check_counts(units: int, steps: Sequence[int]) -> None:
    if steps and max(steps) > units:
        raise JaxattrError(
            f"{max(steps)} units to mask, but the image has {units}; ask for fractions of at most "
            "1."
        )


def in_pixels(config: ViTConfig, masked: Bool[Array, " unit"]) -> Bool[Array, "height width 1"]:
    """Which pixels a mask of patches, or of pixels, covers."""
    patches = config.grid[0] * config.grid[1]
    if masked.shape[0] != patches:
        return masked.reshape(*config.image_size, 1)
    grid = masked.reshape(config.grid)
    height, width = config.patch_size
    return grid.repeat(height, axis=0).repeat(width, axis=1)[..., None]


def _gaussian(size: int, sigma: float) -> Float[np.ndarray, "size size"]:
    """A blur along one axis as a matrix; at the edges the weights that remain are scaled up."""
    distance = np.arange(size)[:, None] - np.arange(size)[None]
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)


def _listed(numbers: Sequence[float | int]) -> str:
    return ",".join(f"{one:g}" for one in numbers) or "(none)"
