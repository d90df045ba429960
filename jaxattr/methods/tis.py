from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxattr.gradients import arrange
from jaxattr.methods._clustering import k_means
from jaxattr.methods._masking import over_masks, score
from jaxattr.methods.method import Cost, method
from jaxattr.vit import (
    Image,
    Loss,
    Map,
    Model,
    ViT,
    ViTConfig,
    apply,
    apply_block,
    check_image,
    predict,
    predict_tokens,
)


@method(
    signed=False,
    differentiates="nothing",
    cost=Cost(forward=1025),
    source="Englebert et al. 2023",
    equals="Transformer_Input_Sampling",
)
def tis(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    key: PRNGKeyArray | None = None,
    masks: int | None = None,
    tokens_ratio: float = 0.5,
    ablation: Literal["tokens", "pixels"] = "tokens",
    probabilities: bool = True,
    chunk_size: int | None = None,
    indices: Int[Array, "mask kept"] | None = None,
    baselines: Float[Array, "mask height width channel"] | None = None,
) -> Map:
    """How well the class is seen by those token samples that hold a patch: `Σ p B_j / Σ B_j`.

    All features of all blocks' outputs are clustered by k-means; each cluster's mean, over
    patches, chooses the patches where it is largest. The prefix tokens and these alone go through
    the network; p is the score. A patch that no sample holds is 0. Never negative while the score
    is not. Costs 1024 forward passes on half the tokens, and one on all, by default; on all with
    `ablation="pixels"`. Source: Englebert et al. 2023 (Transformer Input Sampling).

    Args:
        key: of the first means of k-means, and of the noise of pixels; key 0 by default, so that a
            map can be repeated.
        masks: samples, which are clusters; 1024 as published, or as many as the model has features
            (layers times width) where these are fewer.
        tokens_ratio: the share of patches in a sample.
        ablation: leave the other patches out, or, as the authors' ablation does, cover their pixels
            with noise, uniform from 0 to 1 in the normalised image.
        probabilities: hand the loss the head's probabilities in place of logits, as published:
            `target_logit(c)` is then the probability of c. A regression has none, its logits stay.
        chunk_size: samples at once.
        indices: the patches of each sample, in place of `key`, `masks` and `tokens_ratio`.
        baselines: the noise of each sample, for `ablation="pixels"`.
    """
    c = model.config
    check_image(model, image)
    for_means, for_noise = jax.random.split(jax.random.key(0) if key is None else key)
    if ablation not in ("tokens", "pixels"):
        raise ValueError(f"ablation is {ablation!r}; choose tokens or pixels.")
    if indices is None:
        indices = _samples(model, image, for_means, _clusters(c, masks), tokens_ratio)
    indices = jnp.asarray(indices)
    binary = jax.nn.one_hot(indices, c.tokens - c.prefix_tokens, dtype=c.dtype).sum(axis=1)
    measure = score(c, loss, probabilities)
    if ablation == "tokens":
        found = _kept_scores(model, image, measure, indices, chunk_size)
    else:
        noise = for_noise if baselines is None else baselines
        found = _covered_scores(model, image, measure, binary, noise, chunk_size)
    return arrange(c, (found.astype(c.dtype) @ binary) / jnp.maximum(binary.sum(axis=0), 1))


def _kept_scores(
    model: Model, image: Image, measure: Loss, indices: Int[Array, "mask kept"], chunk: int | None
) -> Float[Array, "mask"]:
    tokens, prefix = apply(model, ViT.embed, image), model.config.prefix_tokens

    def scored(index: Array) -> Array:
        kept = jnp.concatenate([jnp.arange(prefix, dtype=indices.dtype), prefix + indices[index]])
        return measure(predict_tokens(model, tokens[kept]))

    return over_masks(model.config, scored, len(indices), chunk)


def _covered_scores(
    model: Model,
    image: Image,
    measure: Loss,
    binary: Float[Array, "mask patch"],
    baselines: Any,
    chunk: int | None,
) -> Float[Array, "mask"]:
    """The scores with pixels covered by given noise, or by noise of a key."""
    c = model.config

    def scored(index: Array) -> Array:
        if jnp.issubdtype(baselines.dtype, jax.dtypes.prng_key):
            key = jax.random.fold_in(baselines, index)
            noise = jax.random.uniform(key, image.shape, image.dtype)
        else:
            noise = jnp.asarray(baselines)[index]
        shown = jnp.kron(binary[index].reshape(c.grid), jnp.ones(c.patch_size, c.dtype))
        shown = shown[..., None].astype(image.dtype)
        return measure(predict(model, image * shown + noise * (1 - shown)))

    return over_masks(c, scored, len(binary), chunk)


def _clusters(config: ViTConfig, masks: int | None) -> int:
    features = config.layers * config.hidden_size
    if masks is None:
        return min(1024, features)
    if not 1 <= masks <= features:
        raise ValueError(
            f"masks is {masks}, the model has {features} features to cluster (layers times width); "
            f"give from 1 to {features}."
        )
    return masks


def _samples(
    model: Model, image: Image, key: PRNGKeyArray, clusters: int, tokens_ratio: float
) -> Int[Array, "mask kept"]:
    c = model.config
    kept = int(tokens_ratio * (c.tokens - c.prefix_tokens))
    if not 1 <= kept <= c.tokens - c.prefix_tokens:
        raise ValueError(
            f"tokens_ratio is {tokens_ratio}, which leaves {kept} of "
            f"{c.tokens - c.prefix_tokens} patches; give a share that leaves at least 1, up to 1."
        )
    return jax.lax.top_k(k_means(key, _features(model, image), clusters), kept)[1]


def _features(model: Model, image: Image) -> Float[Array, "feature patch"]:
    """Each feature of each block's output, as a point whose coordinates are the patches."""
    c = model.config
    x, outputs = apply(model, ViT.embed, image), []
    for layer in range(c.layers):
        x, _ = apply_block(model, layer, x)
        outputs.append(x[c.prefix_tokens :].T)
    return jnp.concatenate(outputs)
