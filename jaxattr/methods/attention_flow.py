from __future__ import annotations

from jaxattr.gradients import readout, to_map
from jaxattr.gradients.corrections import with_residual
from jaxattr.methods._flow import max_flows
from jaxattr.methods.method import Cost, method
from jaxattr.vit import Image, Loss, Map, Model, forward
from jaxattr.vit.nonlinear import at_least_float32


@method(
    signed=False,
    target_dependent=False,
    differentiates="nothing",
    cost=Cost(forward=1, flow=1),
    source="Abnar and Zuidema 2020",
    equals="attention_flow; a linear programme",
)
def attention_flow(
    model: Model,
    image: Image,
    loss: Loss,
    *,
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Map:
    """The maximum flow from the token that is read down to each patch, alone, through attention.

    Edges carry at most `(E_h A_l + I) / 2`. What leaves the top is 1, what reaches patch j at most
    the j-th column sum of the first layer; in trained networks flows are at one of the two, so that
    maps are nearly even. Does not depend on the loss. Costs one forward pass, and one maximum flow
    for each token: together some 4 forward passes of ViT-Tiny where it is proved that all are at
    their bounds, as in trained networks so far, and some hundred where not.
    Source: Abnar and Zuidema 2020.

    Args:
        normalize: divide by the sum over all tokens, prefix included, as published.
        chunk_size: flows at once; by default one on CPU and 32 elsewhere.
    """
    del loss
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}; give at least 1, or None.")
    c = model.config
    attention = at_least_float32(forward(model, image)[1].attention)
    capacity = with_residual(attention.mean(axis=1)) * 0.5
    flows = max_flows(capacity, readout(c).astype(capacity.dtype), chunk_size=chunk_size)
    return to_map(c, flows * (1 / flows.sum()) if normalize else flows)
