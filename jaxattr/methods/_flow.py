"""Exact maximum flows through a network of layers, as pure JAX: cuts first, then preflows."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

_FAR = 2**30
# Through so many layers at the bottom demands are carried up, before cuts are counted.
_LOWEST = 2


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
    there are no others. The top level's nodes hold the supply. Exact but for rounding. Where all
    cuts together prove that a flow is at its bound, `min(Σ supply, Σ_i capacity[0, i, j])`, that is
    the answer; else preflows are pushed along shortest ways (Goldberg and Tarjan 1988) until none
    of what waits can reach the sink; all nodes of a level act at once, and levels in turn.

    Args:
        chunk_size: sinks at once; by default one on CPU and 32 elsewhere.
    """
    size = chunk_size or (1 if jax.default_backend() == "cpu" else 32)
    bound = jnp.minimum(supply.sum(), capacity[0].sum(axis=0))
    reached = at_bound(capacity, supply)

    def flow(sink: Array) -> Array:
        # Where several sinks go together both branches are run: no supply, no steps.
        left = jnp.where(reached[sink], 0, supply)
        return lax.cond(reached[sink], lambda: bound[sink], lambda: _max_flow(capacity, left, sink))

    found = lax.map(flow, jnp.arange(len(supply)), batch_size=None if size == 1 else size)
    return jnp.where(reached, bound, found)


def at_bound(
    capacity: Float[Array, "layer node node"], supply: Float[Array, "node"]
) -> Bool[Array, "node"]:
    """For which sinks it is proved that the maximum flow is its bound; false elsewhere is no proof.

    Three parts of a flow fit together where the middle one exists. The top layer carries the supply
    down in proportion to its capacities; the lowest one or two carry the bound up from the sink in
    proportion to theirs, as long as no node is asked for more than its column sum. The layers
    between can carry any demand that no cut forbids: cuts are counted by how many nodes of each
    level are on the sink's side, with a lower bound of what the best such sets cost. So one table
    for each layer serves all sinks, and all cuts.
    """
    layers, nodes, _ = capacity.shape
    columns, rows = capacity.sum(axis=1), capacity[-1].sum(axis=1)
    first = max(layers - 1, 1)  # a single layer has demands, but nothing carries the supply down
    share = jnp.minimum(1, supply / jnp.where(rows > 0, rows, 1))
    cuts = _cheapest(capacity[1:first], share @ capacity[-1] if layers > 1 else supply)
    demand = jnp.diag(jnp.minimum(supply.sum(), columns[0]))
    possible, reached = jnp.ones((nodes,), bool), jnp.zeros((nodes,), bool)
    allowed = 64 * jnp.finfo(capacity.dtype).eps
    for layer in range(min(_LOWEST, first)):
        total = columns[layer][:, None]
        possible &= (demand <= total * (1 + allowed)).all(axis=0)
        demand = capacity[layer] @ (demand / jnp.where(total > 0, total, 1))
        asked = _largest(demand.T)
        reached |= possible & (asked <= cuts[layer] + allowed).all(axis=1)
    return reached


def _cheapest(capacity: Array, supply: Array) -> Array:
    """The least a cut costs, by the number of nodes on the sink's side at each level."""

    def layer(cut: Array, one: Array) -> tuple[Array, Array]:
        above, below = _costs(one), _costs(one.T)[::-1, ::-1].T
        cut = (cut[:, None] + jnp.maximum(above, below)).min(axis=0)
        return cut, cut

    top = _smallest(supply)
    return jnp.concatenate([lax.scan(layer, top, capacity, reverse=True)[1], top[None]])


def _costs(capacity: Array) -> Array:
    """At least this is cut in a layer, `[nodes above, nodes below]` being on the sink's side.

    Each node below keeps all of its column but at most its largest entries, one for each node
    above; the sum is at least that of the nodes that keep least.
    """
    kept = capacity.sum(axis=0)[:, None] - _largest(capacity.T)
    return _smallest(jnp.maximum(kept, 0).T)


def _smallest(values: Array) -> Array:
    """Sums of the 0, 1, 2, ... smallest along the last axis."""
    sums = jnp.cumsum(jnp.sort(values, axis=-1), axis=-1)
    return jnp.concatenate([jnp.zeros_like(sums[..., :1]), sums], axis=-1)


def _largest(values: Array) -> Array:
    return -_smallest(-values)


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
