"""What the audit asks the model about one labelled image: a pure function of both."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxattr import heads, losses
from jaxattr.audit.evidence.views import views
from jaxattr.audit.ledger import explained
from jaxattr.gradients import (
    ForwardPass,
    Layer,
    fold_back,
    forward_pass,
    over_images,
    readout,
    relevance,
    rolled,
    to_map,
)
from jaxattr.methods import positive
from jaxattr.methods.token_relevance import of_layer
from jaxattr.vit import (
    Image,
    Logits,
    Map,
    Model,
    ViT,
    apply,
    check_image,
    read,
)
from jaxattr.vit.nonlinear import at_least_float32


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
    classes: Int[Array, "explained"]
    """The label, then the likeliest others, as `likeliest` orders them."""
    map_class: Float[Array, "explained row column"]
    """`methods.token_relevance` of the log-odds of each of `classes`."""
    weight_class: Float[Array, "explained"]
    """`heads.pair_weight` of each: `weight_class[x] * map_class[x] - weight_class[y] *
    map_class[y]` is the map of the class at x against that at y."""


def evidence(model: Model, image: Image, label: Int[Array, ""]) -> Evidence:
    """Explain one image for its label, its likeliest rivals, and any of them against another.

    The rival is the class with the highest logit but the label: the prediction, where that is
    another class. One batched backward pass walks back the log-odds of the label and of the
    likeliest other classes. It gives the additive map of each (`methods.token_relevance`), and with
    these that of each pair, for gradients are linear in the loss; and for the same reason
    `methods.conservative` of three losses: the log-odds of the label, those of the rival, and the
    difference of the two logits. `map_positive` is `methods.positive` of the label's logit, which
    has no sign. A forward pass a view gives the means.

    Raises:
        ImageError: as `forward`.
        JaxattrError: the head is a regression, whose outputs are values.
    """
    run = forward_pass(model, image, rules=relevance.conservative(model.config.activation))
    logits, feature = run.logits, at_least_float32(run.features.mean(axis=0))
    classes = likeliest(logits, label)
    weights = jax.vmap(lambda one: heads.pair_weight(model.config, one, logits))(classes)
    rows, relevances = _walk_back(model, run, classes, weights)
    own, other, pair = (to_map(model.config, row) for row in rows)
    unsigned = positive(model, image, losses.target_logit(label))
    means = _means(model, image, logits, feature)
    rival = strongest_rival(logits, label)
    of_classes = jax.vmap(partial(to_map, model.config))(relevances)
    maps = own, other, pair, unsigned
    return Evidence(logits, feature, *means, rival, *maps, classes, of_classes, weights)


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


def likeliest(logits: Logits, label: Int[Array, ""]) -> Int[Array, "explained"]:
    """The label, then the likeliest other classes in falling logit; of equal ones the first."""
    others = jnp.where(jnp.arange(logits.shape[0]) == label, -jnp.inf, logits)
    _, best = lax.top_k(others, explained(logits.shape[0]) - 1)
    return jnp.append(label, best).astype(jnp.int32)


def _seen(model: Model, image: Array) -> tuple[Array, Array]:
    """Logits and feature of one forward pass."""
    features = read(model, apply(model, ViT.embed, image))
    return apply(model, ViT.classify, features), at_least_float32(features.mean(axis=0))


def _means(model: Model, image: Array, logits: Array, feature: Array) -> tuple[Array, Array]:
    """Logits and feature, averaged over the image and its views."""
    others = jax.vmap(partial(_seen, model))(views(image))
    return jax.tree.map(
        lambda own, more: (own + more.sum(axis=0)) / (1 + len(more)), (logits, feature), others
    )


def _walk_back(
    model: Model, run: ForwardPass, classes: Array, weights: Array
) -> tuple[Array, Array]:
    """Rows of three conservative roll-outs (label, rival, pair), and of all classes' relevance."""
    c, rival = model.config, min(1, len(classes) - 1)

    def fold(state: tuple[Array, Array], layer: Layer) -> tuple[Array, Array]:
        rows, relevances = state
        # In float32 at least: the third is a difference.
        gradient, attention = map(at_least_float32, (layer.gradient, layer.attention))
        pair = weights[0] * gradient[0] - weights[rival] * gradient[rival]
        asked = jnp.stack([gradient[0], gradient[rival], pair])
        rows = jax.vmap(rolled, in_axes=(0, None, 0))(rows, attention, asked)
        return rows, relevances + of_layer(layer)

    def odds(logits: Array) -> Array:
        return jax.vmap(lambda one: heads.log_odds(c, one)(logits))(classes)

    start = jnp.tile(at_least_float32(readout(c)), (3, 1)), jnp.zeros((len(classes), c.tokens))
    return fold_back(run, jax.jacrev(odds)(run.logits), fold, start)
