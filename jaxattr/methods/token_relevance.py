from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxattr.gradients import Layer, relevance, to_map, walk_back
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model
from jaxattr.vit.nonlinear import at_least_float32


@method(
    differentiates="hidden",
    cost=Cost(forward=1, backward=1),
    source="ours",
    equals="nothing: ours; by hand in float64",
)
def token_relevance(model: Model, image: Image, loss: Loss, *, start_layer: int = 0) -> Map:
    """Tokens times their derivative, summed over blocks: `Σ_l Σ_d (h_l ⊙ ∇h_l)`, ∇ conservative.

    `h_l` are the tokens that block l is given, and the derivative is that of
    `relevance.conservative`, under which each block's part of the sum is the relevance of its
    tokens: it adds up to a linear loss but for biases and positions, in every block. **Additive**:
    linear in the derivative of the loss by the logits, so that the map of a difference is the
    difference of two maps, and the maps of all classes give those of all pairs. Signed.
    Costs one forward and one backward pass. Source: ours as it stands; the sum over layers of token
    times gradient is that of class activation tokens (Qiang et al. 2022, AttCAT), the rules are
    those of Ali et al. 2022 and Achtibat et al. 2024.

    Args:
        start_layer: first block to include, counted from 0.
    """

    def fold(total: Array, layer: Layer) -> Array:
        return total + of_layer(layer)

    c = model.config
    start = at_least_float32(jnp.zeros((c.tokens,), c.dtype))
    rules = relevance.conservative(c.activation)
    walk = walk_back(model, image, loss, fold, start, start_layer=start_layer, rules=rules)
    return to_map(c, walk.state)


def of_layer(layer: Layer) -> Float[Array, "*loss token"]:
    """One layer's part of the sum; of several losses, that of each."""
    hidden, gradient = map(at_least_float32, (layer.hidden, layer.hidden_gradient))
    return jnp.einsum("th,...th->...t", hidden, gradient)
