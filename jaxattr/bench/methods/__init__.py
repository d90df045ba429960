"""Every metric on every method, on photos of a labelled folder.

Called as `jaxattr.bench.methods(...)` it is its `run`.
"""

from jaxattr._front import make_callable

make_callable(__name__, "jaxattr.bench.methods.run:run")
