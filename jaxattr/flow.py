"""Exact maximum flows through a network of layers, as pure JAX: preflows, a layer at a time."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

_FAR = 2**30


class _Preflow(NamedTuple):
    """What can still go down and back up each edge, and what waits at each node."""

    down: Float[Array, "layer node node"]
    """From a node of the level above (first axis) to one below."""
    up: Float[Array, "layer node node"]
    """Back from a node below (first axis) to one above."""
    excess: Float[Array, "level node"]


def max_flows(
    capacity: Float[Array, "layer node node"],
    supply: Float[Array, "node"],
    *,
    chunk_size: int | None = None,
) -> Float[Array, "node"]:
    """The maximum flow from the top level to each single node of the bottom level.

    `capacity[l, i, j]` is that of the edge from node i of level `l + 1` to node j of level `l`;
    there are no others. The top level's nodes hold the supply. Exact but for rounding: preflows are
    pushed along shortest ways (Goldberg and Tarjan 1988) until none of what waits can reach the
    sink; all nodes of a level act at once, and levels in turn.

    Args:
        chunk_size: sinks at once; by default one on CPU and 32 elsewhere.
    """
    size = chunk_size or (1 if jax.default_backend() == "cpu" else 32)
    sinks = jnp.arange(len(supply))
    return lax.map(lambda sink: _max_flow(capacity, supply, sink), sinks, batch_size=size)


def _max_flow(capacity: Array, supply: Array, sink: Array) -> Array:
    layers, nodes, _ = capacity.shape
    # Rounding leaves crumbs at nodes that should be empty.
    crumb = 8 * jnp.finfo(capacity.dtype).eps
    is_sink = jnp.zeros((layers + 1, nodes), bool).at[0, sink].set(True)

    def going_on(state: tuple[_Preflow, Array]) -> Array:
        flow, distance = state
        return ((flow.excess > crumb) & (distance < _FAR) & ~is_sink).any()

    def step(state: tuple[_Preflow, Array]) -> tuple[_Preflow, Array]:
        flow, distance = state
        flow = _push_up(_push_down(flow, distance), distance, is_sink)
        return flow, _distances(flow, is_sink)

    waiting = jnp.zeros((layers + 1, nodes), capacity.dtype).at[layers].set(supply)
    start = _Preflow(capacity, jnp.zeros_like(capacity), waiting)
    flow, _ = lax.while_loop(going_on, step, (start, _distances(start, is_sink)))
    return flow.excess[0, sink]


def _push(room: Array, excess: Array, here: Array, there: Array) -> tuple[Array, Array]:
    """What goes along each edge that leads nearer to the sink, and what stays.

    In proportion to the room there is: spread out, it meets fewer full edges further on.
    """
    nearer = (here[:, None] == there + 1) & (here[:, None] < _FAR)
    room = jnp.where(nearer, room, 0)
    total = room.sum(axis=1)
    fits = total > excess
    # Where it does not fit, edges are filled exactly: no crumb of room stays.
    moved = room * jnp.where(fits, excess / jnp.where(fits, total, 1), 1)[:, None]
    return moved, jnp.where(fits, 0, excess - total)


def _push_down(flow: _Preflow, distance: Array) -> _Preflow:
    def layer(arrived: Array, one: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        down, up, excess, above, below = one
        moved, left = _push(down, excess + arrived, above, below)
        return moved.sum(axis=0), (down - moved, up + moved.T, left)

    none = jnp.zeros_like(flow.excess[0])
    given = flow.down, flow.up, flow.excess[1:], distance[1:], distance[:-1]
    arrived, (down, up, left) = lax.scan(layer, none, given, reverse=True)
    return _Preflow(down, up, jnp.concatenate([(flow.excess[0] + arrived)[None], left]))


def _push_up(flow: _Preflow, distance: Array, is_sink: Array) -> _Preflow:
    def layer(arrived: Array, one: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        down, up, excess, above, below, sink = one
        waiting = excess + arrived
        moved, left = _push(up, jnp.where(sink, 0, waiting), below, above)
        left = jnp.where(sink, waiting, left)
        return moved.sum(axis=0), (down + moved.T, up - moved, left)

    none = jnp.zeros_like(flow.excess[0])
    given = flow.down, flow.up, flow.excess[:-1], distance[1:], distance[:-1], is_sink[:-1]
    arrived, (down, up, left) = lax.scan(layer, none, given)
    return _Preflow(down, up, jnp.concatenate([left, (flow.excess[-1] + arrived)[None]]))


def _distances(flow: _Preflow, is_sink: Array) -> Int[Array, "level node"]:
    """The number of edges with room from each node to the sink; far where there is no way."""

    def nearest(room: Array, there: Array) -> Array:
        return jnp.where(room > 0, there + 1, _FAR).min(axis=1)

    def from_below(below: Array, one: tuple[Array, Array]) -> tuple[Array, Array]:
        found = jnp.minimum(one[1], nearest(one[0], below))
        return found, found

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        _, old = state
        _, upper = lax.scan(from_below, old[0], (flow.down, old[1:]))
        new = jnp.concatenate([old[:1], upper])
        _, lower = lax.scan(from_below, new[-1], (flow.up, new[:-1]), reverse=True)
        return old, jnp.concatenate([lower, new[-1:]])

    start = jnp.where(is_sink, 0, _FAR).astype(jnp.int32)
    return lax.while_loop(lambda s: (s[0] != s[1]).any(), step, (jnp.full_like(start, -1), start))[
        1
    ]
