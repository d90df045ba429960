"""What the audit asks the model about one labelled image: a pure function of both."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from jaxattr import losses, relevance
from jaxattr.attention_rollout import CORRECTIONS
from jaxattr.audit.views import views
from jaxattr.gradients import Walk, over_images, rollout_row, to_map
from jaxattr.methods import positive
from jaxattr.nonlinear import at_least_float32
from jaxattr.types import Image, Logits, Map, Model
from jaxattr.vit import ViT, apply, apply_block, check_image, read_queries


class Evidence(NamedTuple):
    """Logits, feature and maps of one image, as the ledger's columns of the same names."""

    logits: Logits
    feature: Float[Array, "hidden"]
    mean_logits: Logits
    """Over the image and its `views`, as `mean_feature`."""
    mean_feature: Float[Array, "hidden"]
    rival: Int[Array, ""]
    map_label: Map
    map_rival: Map
    map_pair: Map
    map_positive: Map


def evidence(model: Model, image: Image, label: Int[Array, ""]) -> Evidence:
    """Explain one image for its label, its strongest rival, and the label against the rival.

    The rival is the class with the highest logit but the label: the prediction, where that is
    another class. `methods.conservative` explains three losses in one batched backward pass: the
    log-odds of the label, those of the rival, and the difference of the two logits. The fourth map
    is `methods.positive` of the label's logit, which has no sign. A forward pass a view gives the
    means.
    """
    which = jnp.arange(3)
    walk = jax.vmap(partial(_conservative, model, image, label))(which)
    # Logits and features do not depend on the loss: all three lanes hold the same.
    logits, feature = walk.logits[0], at_least_float32(walk.features[0].mean(axis=0))
    maps = [to_map(model.config, row) for row in walk.state]
    maps.append(positive(model, image, losses.target_logit(label)))
    means = _means(model, image, logits, feature)
    return Evidence(logits, feature, *means, strongest_rival(logits, label), *maps)


@jax.jit
def evidence_batch(
    model: Model, images: Float[Array, "batch height width channel"], labels: Int[Array, "batch"]
) -> Evidence:
    """`evidence` of a batch, compiled once per batch size."""
    return over_images(partial(evidence, model), images, labels)


class Glance(NamedTuple):
    """The columns of `Evidence` that are no maps."""

    logits: Logits
    feature: Float[Array, "hidden"]
    mean_logits: Logits
    mean_feature: Float[Array, "hidden"]
    rival: Int[Array, ""]


def glance(model: Model, image: Image, label: Int[Array, ""]) -> Glance:
    """`evidence` without maps: one forward pass, and one a view."""
    check_image(model, image)
    logits, feature = _seen(model, image)
    means = _means(model, image, logits, feature)
    return Glance(logits, feature, *means, strongest_rival(logits, label))


@jax.jit
def glance_batch(
    model: Model, images: Float[Array, "batch height width channel"], labels: Int[Array, "batch"]
) -> Glance:
    """`glance` of a batch, compiled once per batch size."""
    return over_images(partial(glance, model), images, labels)


def strongest_rival(logits: Logits, label: Int[Array, ""]) -> Int[Array, ""]:
    """The class with the highest logit among all but `label`."""
    others = jnp.where(jnp.arange(logits.shape[0]) == label, -jnp.inf, logits)
    return jnp.argmax(others).astype(jnp.int32)


def _seen(model: Model, image: Array) -> tuple[Array, Array]:
    """Logits and feature of one forward pass."""
    x = apply(model, ViT.embed, image)
    for layer in range(model.config.layers):
        x, _ = apply_block(model, layer, x, queries=read_queries(model.config, layer))
    features = apply(model, ViT.features, x)
    return apply(model, ViT.classify, features), at_least_float32(features.mean(axis=0))


def _means(model: Model, image: Array, logits: Array, feature: Array) -> tuple[Array, Array]:
    """Logits and feature, averaged over the image and its views."""
    others = jax.vmap(partial(_seen, model))(views(image))
    return jax.tree.map(
        lambda own, more: (own + more.sum(axis=0)) / (1 + len(more)), (logits, feature), others
    )


def _conservative(model: Model, image: Array, label: Array, which: Array) -> Walk:
    rules = relevance.conservative(model.config.activation)
    loss = Partial(_loss, label, which)
    return rollout_row(model, image, loss, CORRECTIONS["complete"], rules=rules)


def _loss(label: Array, which: Array, logits: Array) -> Array:
    rival = strongest_rival(lax.stop_gradient(logits), label)
    asked = [losses.log_odds(label), losses.log_odds(rival), losses.difference(label, rival)]
    return jnp.stack([one(logits) for one in asked])[which]
