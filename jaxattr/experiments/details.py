"""Detail interpretation (paper, Fig. 9): what in one object speaks for one class over another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxattr import losses
from jaxattr.errors import JaxattrError
from jaxattr.methods import conservative
from jaxattr.vit import Image, Logits, Loss, Model


class Details(NamedTuple):
    """One map per ordered pair: positive where the image speaks for `first` over `second`."""

    first: Int[Array, " pair"]
    second: Int[Array, " pair"]
    maps: Float[Array, "pair row column"]
    logits: Logits


def ordered_pairs(count: int) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """Positions of all `count (count - 1)` ordered pairs: (0, 1), (0, 2), ..., (1, 0), ....

    Raises:
        JaxattrError: fewer than two.
    """
    if count < 2:
        raise JaxattrError(f"details: {count} class given; a pair needs at least 2")
    first, second = np.nonzero(~np.eye(count, dtype=bool))
    return first, second


def details(
    model: Model,
    image: Image,
    classes: Any,
    *,
    loss: Callable[[Any, Any], Loss] = losses.difference,
    method: Callable[..., Any] = conservative,
) -> Details:
    """The maps of all ordered pairs of K different classes, `classes`: `[K]` indices.

    One forward pass, and one backward pass batched over the K (K - 1) losses. The map of (b, a) is
    not the negative of the map of (a, b): products of gradients over layers keep their sign. Eq. 8
    and the ratio guide only where `losses.is_guiding(logits, first, second)`.

    Raises:
        JaxattrError: fewer than two classes, or one that the model does not have (where
            `classes` is traced, the maps of such a class are NaN).
    """
    classes = losses.class_index(classes)
    losses.check_classes(classes, model.config.classes)
    one, other = ordered_pairs(classes.shape[0])
    first, second = classes[one], classes[other]
    maps = jax.vmap(lambda a, b: method(model, image, loss(a, b)))(first, second)
    return Details(first, second, maps, model.forward(image)[0])
