"""Maps of drawn scenes and boxed photos against where the objects are.

Called as `jaxattr.bench.explanations(...)` it is its `run`.
"""

from jaxattr._front import make_callable

make_callable(__name__, "jaxattr.bench.explanations.run:run")
