"""The attribution methods: one file each, one row each in `METHODS`, one contract for all.

`METHODS[name].function(model, image, loss) -> [row, column]`: one image in, a raw map out, signed
where the mathematics has a sign, never scaled for display.
"""

from __future__ import annotations

from jaxattr.methods.absolute import absolute as absolute
from jaxattr.methods.complete import complete as complete
from jaxattr.methods.positive import positive as positive
from jaxattr.methods.raw_attention import raw_attention as raw_attention
from jaxattr.methods.rollout import rollout as rollout
from jaxattr.types import Method

_PAPER = "Cui, Fan, Chen 2026"

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        # name, function, signed, target-dependent, differentiates, cost, source
        Method(
            "raw_attention", raw_attention, False, False, "nothing", "1F", "Vaswani et al. 2017"
        ),
        Method("rollout", rollout, False, False, "nothing", "1F", f"{_PAPER}, Eq. 1-3"),
        Method("positive", positive, False, True, "attention", "1F + 1B", f"{_PAPER}, Eq. 4 (GAE)"),
        Method("complete", complete, True, True, "attention", "1F + 1B", f"{_PAPER}, Eq. 5"),
        Method("absolute", absolute, False, True, "attention", "1F + 1B", f"{_PAPER}, Eq. 6"),
    )
}
