"""The audit against what was planted, beside other ways to rank labels.

Called as `jaxattr.bench.audit(...)` it is its `run`.
"""

from jaxattr._front import make_callable

make_callable(__name__, "jaxattr.bench.audit.run:run")
