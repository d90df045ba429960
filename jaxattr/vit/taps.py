"""The values inside the network that can be read, added to, replaced and differentiated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float

Image = Float[Array, "height width channel"]
Logits = Float[Array, "class"]
Map = Float[Array, "row column"]
Loss = Callable[[Any], Any]  # Logits -> scalar; a pytree when it comes from `jaxattr.losses`


class Taps(NamedTuple):
    """The values inside the network that can be read, added to, replaced and differentiated.

    Every field is `None` (not there) or an array with a leading layer axis; in one layer's own
    taps that axis is missing. `None` is an empty pytree, so all JAX transformations pass over it.

    - `query`, `key`, `value`: `[layer, head, token, head_dim]`, before scaling;
    - `attention`: `[layer, head, token, token]`, after the softmax, rows sum to 1;
    - `context`: `[layer, head, token, head_dim]`, attention times value;
    - `hidden`: `[layer, token, hidden]`, the block's input.
    """

    query: Any = None
    key: Any = None
    value: Any = None
    attention: Any = None
    context: Any = None
    hidden: Any = None
