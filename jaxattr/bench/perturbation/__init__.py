"""Masked from the best or the worst token on: the paper's and T-Attr's protocols.

Called as `jaxattr.bench.perturbation(...)` it is its `run`.
"""

from jaxattr._front import make_callable

make_callable(__name__, "jaxattr.bench.perturbation.run:run")
