from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxattr.gradients import attention_gradients, check_start_layer, readout, to_map
from jaxattr.gradients.corrections import mean_product
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model, Taps, forward


@method(
    differentiates="hidden, attention",
    cost=Cost(forward=121, backward=121),
    source="Mersha and Kalita 2026 (experimental)",
    equals="nothing: own reading, experimental",
)
def ca_lig(model: Model, image: Image, loss: Loss, *, steps: int = 10, start_layer: int = 0) -> Map:
    """Experimental: rollout of integrated gradients of each block's tokens, spread by attention.

    `Π_l (I + [E_h(A_l ⊙ ∇A_l)]+ diag(a_l))`, both factors divided by their largest magnitude;
    `a_l[t] = Σ_d h_l[t, d] ∫ ∂loss/∂h_l[t, d] (α h_l) dα`, the integrated gradients of the tokens
    that enter block l, from zero. Signed. Only the abstract and summaries were readable, and no
    code: integrated gradients in each block, joined with gradients of attention, signed. The
    baseline, the steps, how both are joined and the rollout are our own reading, never to be
    compared with published numbers. LayerNorm undoes a scale, so that gradients change fast next to
    α = 0, and few steps miss part of the change.
    Costs one forward and backward pass, and `steps` of both for each layer: 121 of both by default
    in a network of 12. Source: Mersha and Kalita 2026 (CA-LIG).

    Args:
        steps: Gauss-Legendre nodes of the integrals.
        start_layer: first block to include, counted from 0.
    """
    c = model.config
    check_start_layer(c, start_layer)
    if steps < 1:
        raise ValueError(f"steps is {steps}; give at least 1.")
    hidden = forward(model, image)[1].hidden
    _, attention, gradient = attention_gradients(model, image, loss)
    matrices = jnp.maximum(mean_product(attention, gradient), 0)
    tokens = _token_attributions(model, image, loss, hidden, steps, start_layer)
    row = readout(c)
    for layer in reversed(range(start_layer, c.layers)):
        row = row + (row @ _scaled(matrices[layer])) * _scaled(tokens[layer])
    return to_map(c, row)


def _token_attributions(
    model: Model, image: Image, loss: Loss, hidden: Array, steps: int, start_layer: int
) -> Float[Array, "layer token"]:
    """Integrated gradients of each block's input from zero, summed over features.

    One compiled pass serves all blocks: a block's input is scaled by what is added to it.
    """
    c = model.config
    nodes, weights = np.polynomial.legendre.leggauss(steps)

    def add(total: Array, step: tuple[Array, Array, Array]) -> tuple[Array, None]:
        layer, node, weight = step
        block = jnp.arange(c.layers)[:, None, None] == layer

        def run(added: Array) -> Array:
            return loss(forward(model, image, add=Taps(hidden=added))[0])

        gradient = jax.grad(run)(jnp.where(block, (node - 1) * hidden, 0))
        return total + weight * jnp.where(block, gradient * hidden, 0).sum(axis=-1), None

    layers, points = np.meshgrid(np.arange(start_layer, c.layers), np.arange(steps))
    chosen = points.reshape(-1)
    path = (
        jnp.asarray(layers.reshape(-1)),
        jnp.asarray((nodes[chosen] + 1) / 2, c.dtype),
        jnp.asarray(weights[chosen] / 2, c.dtype),
    )
    return lax.scan(add, jnp.zeros((c.layers, c.tokens), c.dtype), path)[0]


def _scaled(values: Array) -> Array:
    largest = jnp.abs(values).max()
    return values / jnp.where(largest > 0, largest, 1)
