from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxattr.gradients.sites import per_patch, smoothed_image_gradient
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model, check_image


@method(
    signed=False,
    differentiates="pixels",
    cost=Cost(forward=5, backward=5),
    source="Smilkov et al. 2017",
    equals="captum",
    shows="for or against {}",
)
def smooth_grad(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    key: PRNGKeyArray | None = None,
    samples: int = 5,
    stdev: float = 1.0,
    absolute: bool = True,
    noise: Float[Array, "sample height width channel"] | None = None,
) -> Map:
    """The mean magnitude of the pixels' gradient on noisy copies: `Σ mean_n |∇x(x + e_n)|`.

    Costs 5 forward and backward passes by default. Source: Smilkov et al. 2017; defaults as in
    captum's noise tunnel over saliency (TIS compares with 50 samples).

    Args:
        key: of the noise; key 0 by default, so that a map can be repeated.
        samples: noisy copies.
        stdev: of the noise, in units of the normalised image, not a share of its range.
        absolute: take the magnitude before the mean; without, the map is signed, as published.
        noise: the noise itself, in place of `key`, `samples` and `stdev`.
    """
    check_image(model, image)
    if noise is None:
        if samples < 1:
            raise ValueError(f"samples is {samples}; give at least 1.")
        key = jax.random.key(0) if key is None else key
        noise = jax.random.normal(key, (samples, *image.shape), image.dtype) * stdev
    change = jnp.abs if absolute else jnp.asarray
    return per_patch(model.config, smoothed_image_gradient(model, image, loss, noise, change))
