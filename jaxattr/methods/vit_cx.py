from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxattr.methods._clustering import complete_linkage
from jaxattr.methods._masking import over_masks, patch_mean, score
from jaxattr.methods.method import Cost, method
from jaxattr.resampling import along_both, linear
from jaxattr.vit import (
    Image,
    Loss,
    Map,
    Model,
    ViTConfig,
    forward,
    normalized_tokens,
    predict,
)


@method(
    signed=False,
    differentiates="nothing",
    cost=Cost(forward=52),
    source="Xie et al. 2023",
    equals="CausalX-ViT",
)
def vit_cx(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    key: PRNGKeyArray | None = None,
    layer: int = -1,
    threshold: float = 0.1,
    noise_scale: float = 0.1,
    probabilities: bool = True,
    chunk_size: int | None = None,
    labels: Int[Array, "feature"] | None = None,
    noise: Float[Array, "mask height width channel"] | None = None,
) -> Map:
    """The score of the image under masks that are groups of like features, where they overlap.

    The features of a block's first LayerNorm, enlarged and scaled to 0..1, are clustered by their
    cosine (complete linkage); each cluster's sum, scaled to 0..1, is a mask m of M. With noise
    `e = 0.1 N(0, 1) (1 - m)` its score is `p(x m + e) - p(x + e) + p(x)`, and a pixel's value is
    `(1 / M) Σ_m score m / Σ_m m`, 0 where no mask is. A feature that is the same everywhere makes
    no mask. Each patch is the mean of its pixels. Hardly ever negative, since `p(x)` is in each
    score: only where noise alone raises p by more than that. Costs two forward passes and two more
    for each mask, by default about 25 masks on a trained ViT with 192 features, never more than it
    has features. Source: Xie et al. 2023 (ViT-CX).

    Args:
        key: of the noise; key 0 by default, so that a map can be repeated.
        layer: block whose features are clustered, negative counted from the end.
        threshold: clusters whose farthest members are at this cosine distance or beyond stay apart.
        noise_scale: standard deviation of the noise in the normalised image.
        probabilities: hand the loss the head's probabilities in place of logits, as published:
            `target_logit(c)` is then the probability of c. A regression has none, its logits stay.
        chunk_size: masks at once; each is two passes.
        labels: each feature's cluster, counted from 0 without gaps, in place of the clustering.
        noise: standard normal noise of each cluster, in place of `key`.
    """
    key = jax.random.key(0) if key is None else key
    grids, count = _masks(model.config, _activation(model, image, layer), threshold, labels)
    noise = key if noise is None else noise
    pixels = _pixels(
        model, image, loss, grids, count, noise, noise_scale, probabilities, chunk_size
    )
    return patch_mean(model.config, pixels)


def _pixels(
    model: Model,
    image: Image,
    loss: Loss,
    grids: Float[Array, "feature row column"],
    count: Int[Array, ""],
    noise: Any,
    noise_scale: float,
    probabilities: bool,
    chunk_size: int | None,
) -> Float[Array, "height width"]:
    """The map before the mean over patches; the noise is given, or drawn from a key."""
    measure = score(model.config, loss, probabilities)
    plain = measure(predict(model, image))
    rows, columns = _matrices(model.config)
    drawn = jnp.issubdtype(noise.dtype, jax.dtypes.prng_key)

    def scored(index: Array) -> Array:
        mask = along_both(rows, grids[index], columns)[..., None].astype(image.dtype)
        if drawn:
            unit = jax.random.normal(jax.random.fold_in(noise, index), image.shape, image.dtype)
        else:
            unit = jnp.asarray(noise)[index]
        added = noise_scale * unit * (1 - mask)
        pair = jnp.stack([image * mask + added, image + added])
        with_mask, without = jax.vmap(lambda one: measure(predict(model, one)))(pair)
        return with_mask - without + plain

    found = over_masks(model.config, scored, len(grids), chunk_size, count).astype(grids.dtype)
    # Masks behind the count are zero, and so are their scores.
    weighted = along_both(rows, jnp.einsum("m,mab->ab", found, grids), columns)
    cover = along_both(rows, grids.sum(axis=0), columns)
    shared = jnp.where(cover > 0, weighted / jnp.where(cover > 0, cover, 1), 0)
    return shared / jnp.maximum(count, 1).astype(shared.dtype)


def _activation(model: Model, image: Image, layer: int) -> Float[Array, "feature row column"]:
    """Each feature of a block's first LayerNorm, as a map."""
    c = model.config
    if not -c.layers <= layer < c.layers:
        raise ValueError(
            f"layer is {layer}, the model has layers 0 to {c.layers - 1}; negative ones count from "
            f"the end."
        )
    hidden = forward(model, image)[1].hidden[layer]
    return normalized_tokens(model, layer, hidden)[c.prefix_tokens :].T.reshape(-1, *c.grid)


def _masks(
    config: ViTConfig,
    activation: Float[Array, "feature row column"],
    threshold: float,
    labels: Int[Array, "feature"] | None = None,
) -> tuple[Float[Array, "feature row column"], Array]:
    """One grid for each cluster, and how many there are; those behind are zero.

    Enlarged they are the masks: linear interpolation exchanges with sums, scales and offsets.
    """
    if not 0 < threshold <= 2:
        raise ValueError(
            f"threshold is {threshold}; give a cosine distance above 0, where nothing is merged, "
            f"to 2, where everything is."
        )
    scaled = _scale(config, activation)
    if labels is None:
        labels = complete_linkage(_cosine_distance(config, scaled), threshold)
    features = len(scaled)
    grids = _scale(config, jax.ops.segment_sum(scaled, labels, features))
    filled = grids.max(axis=(1, 2)) > 0
    # Those without a mask go behind the others, whose order stays.
    return grids[jnp.argsort(~filled, stable=True)], filled.sum()


def _scale(
    config: ViTConfig, grids: Float[Array, "map row column"]
) -> Float[Array, "map row column"]:
    """Move and divide each grid so that, enlarged, it goes from 0 to 1; constant ones are 0."""
    rows, columns = _matrices(config)

    def extremes(grid: Array) -> tuple[Array, Array]:
        large = along_both(rows, grid, columns)
        return large.min(), large.max()

    low, high = lax.map(extremes, grids, batch_size=16)
    size = (high - low)[:, None, None]
    # A constant map, enlarged, differs from itself by rounding.
    flat = size <= 16 * jnp.finfo(grids.dtype).eps * jnp.abs(grids).max(axis=(1, 2), keepdims=True)
    return jnp.where(flat, 0, (grids - low[:, None, None]) / jnp.where(flat, 1, size))


def _cosine_distance(
    config: ViTConfig, grids: Float[Array, "map row column"]
) -> Float[Array, "map map"]:
    """`1 - cos` of all pairs of enlarged maps; those of a zero map are 1."""
    gram = [matrix.T @ matrix for matrix in _matrices(config)]
    product = jnp.einsum(
        "mab,nab->mn", along_both(gram[0], grids, gram[1]), grids, precision=lax.Precision.HIGHEST
    )
    length = jnp.sqrt(jnp.diagonal(product))
    length = jnp.where(length > 0, length, 1)
    return 1 - product / length[:, None] / length


def _matrices(config: ViTConfig) -> tuple[Array, Array]:
    """What enlarges the rows and the columns of a grid to pixels."""
    rows, columns = (
        jnp.asarray(linear(coarse, fine), config.dtype)
        for coarse, fine in zip(config.grid, config.image_size, strict=True)
    )
    return rows, columns
