"""Maximum flows against a linear programme, and what bounds them."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.special import softmax
from sharing import QUICK

from jaxattr import losses
from jaxattr.methods import METHODS
from jaxattr.methods._flow import at_bound, max_flows
from jaxattr.vit import forward


def network(layers: int, nodes: int, seed: int, sharpness: float = 4.0) -> np.ndarray:
    """Attention with its residual; rows sum to 1."""
    scores = np.random.default_rng(seed).normal(size=(layers, nodes, nodes))
    return (softmax(sharpness * scores, axis=-1) + np.eye(nodes)) / 2


def programme(capacity: np.ndarray, supply: np.ndarray, sink: int) -> float:
    """The same maximum by a simplex or interior-point solver: one variable an edge."""
    layers, nodes, _ = capacity.shape
    edges = np.arange(capacity.size).reshape(capacity.shape)
    balance = np.zeros((layers - 1, nodes, capacity.size))
    for level in range(1, layers):
        for node in range(nodes):
            balance[level - 1, node, edges[level, :, node]] += 1
            balance[level - 1, node, edges[level - 1, node]] -= 1
    supplied = np.zeros((nodes, capacity.size))
    for node in range(nodes):
        supplied[node, edges[-1, node]] = 1
    gain = np.zeros(capacity.size)
    gain[edges[0, :, sink]] = -1
    found = linprog(
        gain,
        A_ub=supplied,
        b_ub=supply,
        A_eq=balance.reshape(-1, capacity.size) if layers > 1 else None,
        b_eq=np.zeros((layers - 1) * nodes) if layers > 1 else None,
        bounds=np.stack([np.zeros(capacity.size), capacity.ravel()], axis=1),
    )
    assert found.success
    return -found.fun


@pytest.mark.parametrize(
    ("layers", "nodes", "read"), [(1, 5, "first"), (3, 7, "first"), (5, 6, "first"), (3, 5, "all")]
)
def test_flow_is_the_linear_programme_s(layers, nodes, read, x64) -> None:
    # Away from the top all levels are wide: sharp attention makes narrow places.
    capacities = np.stack([network(layers, nodes, seed, 6.0) for seed in range(3)])
    supply = np.eye(nodes)[0] if read == "first" else np.full(nodes, 1 / nodes)
    solve = jax.vmap(partial(max_flows, chunk_size=3), (0, None))
    several = jax.jit(solve, compiler_options=QUICK)
    found = several(capacities, supply)
    for capacity, flows in zip(capacities, found, strict=True):
        wanted = [programme(capacity, supply, sink) for sink in range(nodes)]
        np.testing.assert_allclose(flows, wanted, atol=1e-9)


def test_cuts_prove_only_what_is_so(x64) -> None:
    """Where they say that a flow is at its bound, the linear programme says so, too."""
    solve = jax.jit(at_bound, compiler_options=QUICK)
    supply, shares = np.eye(7)[0], []
    for sharpness in (0.5, 3.0, 5.0):
        capacity = network(4, 7, 1, sharpness)  # sharper attention, more that is not proved
        proved = np.asarray(solve(capacity, supply))
        bound = np.minimum(1, capacity[0].sum(axis=0))
        flows = [programme(capacity, supply, int(sink)) for sink in np.flatnonzero(proved)]
        np.testing.assert_allclose(flows, bound[proved], atol=1e-9)
        shares.append(proved.mean())
    # A node that little leads to, and a top one whose attention stays where it is.
    capacity[1, :, 2], capacity[3, 0] = 0.01, np.eye(7)[0]
    assert not solve(capacity, supply)[2]
    assert shares[0] > 0.8 > shares[-1]


def test_a_narrow_place_in_the_middle_is_found(x64) -> None:
    """All ways to all sinks lead over one edge of 0.1, beside which there is room."""
    capacity = np.zeros((4, 3, 3))
    capacity[[3, 2]] = 1
    capacity[1, 1, 1] = 0.1
    capacity[0] = np.array([[1, 1, 1], [0.04, 0.5, 0], [1, 1, 1]])
    solve = jax.jit(partial(max_flows, chunk_size=3), compiler_options=QUICK)
    flows = solve(capacity, np.array([1.0, 0, 0]))
    np.testing.assert_allclose(flows, [0.04, 0.1, 0], atol=1e-15)


def test_bounds_and_precisions() -> None:
    capacity = network(6, 40, 0).astype(np.float32)
    supply = np.eye(40, dtype=np.float32)[0]
    solve = jax.jit(partial(max_flows, chunk_size=40), compiler_options=QUICK)
    flows = np.asarray(solve(capacity, supply))
    with jax.enable_x64(True):
        wide = np.asarray(solve(capacity.astype(float), supply.astype(float)))
    np.testing.assert_allclose(flows, wide, rtol=1e-5)
    assert (wide <= np.minimum(1, capacity[0].astype(float).sum(axis=0)) + 1e-12).all()
    assert 0 < wide.min() < 0.9


def test_attention_flow_is_the_flow_of_the_attention(tiny_model, tiny_images) -> None:
    given = tiny_model, tiny_images[0], losses.target_logit(0)

    def run(model, image, loss):
        method = METHODS["attention_flow"].function
        shares, flows = (method(model, image, loss, normalize=n) for n in (True, False))
        return shares, flows, forward(model, image)[1].attention

    shares, flows, attention = jax.jit(run, compiler_options=QUICK)(*given)
    assert shares.sum() < 1, "the class token has a share"
    np.testing.assert_allclose(shares / shares.max(), flows / flows.max(), rtol=1e-6)
    columns = (attention[0].mean(axis=0) + np.eye(7)).sum(axis=0)[1:] / 2
    assert (flows.reshape(-1) <= np.minimum(1, columns) + 1e-6).all()
    capacity = (np.asarray(attention, float).mean(axis=1) + np.eye(7)) / 2
    wanted = [programme(capacity, np.eye(7)[0], sink) for sink in range(1, 7)]
    np.testing.assert_allclose(flows.reshape(-1), wanted, atol=1e-6)
