"""Clusters in fixed shapes, under `jit` and `vmap`: complete linkage and k-means."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray


def complete_linkage(
    distance: Float[Array, "point point"], threshold: float
) -> Int[Array, "point"]:
    """Merge the two nearest clusters while their farthest members are nearer than the threshold.

    Returns each point's cluster; clusters are counted from 0 in the order of their first points.
    """
    points = len(distance)
    index = jnp.arange(points)
    far = jnp.where(index[:, None] == index, jnp.inf, distance)

    def merge(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        far, nearest, label = state
        first = jnp.argmin(nearest)
        second = jnp.argmin(far[first])
        kept, gone = jnp.minimum(first, second), jnp.maximum(first, second)
        row = jnp.maximum(far[kept], far[gone])
        row = jnp.where((index == kept) | (index == gone), jnp.inf, row)
        far = far.at[kept].set(row).at[:, kept].set(row)
        far = far.at[gone].set(jnp.inf).at[:, gone].set(jnp.inf)
        # The minimum of each row, not of the matrix: vectorised, unlike a large argmin.
        return far, far.min(axis=1), jnp.where(label == gone, kept, label)

    start = far, far.min(axis=1), index
    _, _, label = lax.while_loop(lambda state: state[1].min() < threshold, merge, start)
    # A cluster's label is its first point so far.
    return (jnp.cumsum(label == index) - 1)[label]


def k_means(
    key: PRNGKeyArray,
    points: Float[Array, "point feature"],
    clusters: int,
    *,
    iterations: int = 100,
    tolerance: float = 1e-4,
) -> Float[Array, "cluster feature"]:
    """Lloyd's algorithm from random points; returns the clusters' means.

    It ends when the squares of the means' moves sum to no more than the tolerance. A cluster that
    loses all its points becomes the zero vector.
    """
    chosen = jax.random.choice(key, len(points), (clusters,), replace=False)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        means, _, i = state
        product = jnp.matmul(points, means.T, precision=lax.Precision.HIGHEST)
        label = jnp.argmin((means**2).sum(axis=1) - 2 * product, axis=1)
        total = jax.ops.segment_sum(points, label, clusters)
        size = jax.ops.segment_sum(jnp.ones_like(points[:, 0]), label, clusters)
        moved = total / jnp.maximum(size, 1)[:, None]
        return moved, ((moved - means) ** 2).sum(), i + 1

    def going_on(state: tuple[Array, Array, Array]) -> Array:
        _, move, i = state
        return (move > tolerance) & (i < iterations)

    start = points[chosen], jnp.full((), jnp.inf, points.dtype), jnp.int32(0)
    return lax.while_loop(going_on, step, start)[0]
