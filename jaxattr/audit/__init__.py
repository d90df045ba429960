"""The audit: index, evidence, ledger, findings, report.

Rooms import only those that stand before them: `ledger` and `statistics`; `evidence` (asks the
model about every image); `inference` (posteriors, pairs, places over the ledger); `copies`;
`probes` (ask the model again, about suspicions); `findings`; `report`.

Called as `jaxattr.audit(...)` it is `run.audit`, which puts them in order.
"""

import lazy_loader

from jaxattr._front import make_callable

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "copies",
        "evidence",
        "findings",
        "inference",
        "ledger",
        "probes",
        "report",
        "run",
        "statistics",
    ],
)
make_callable(__name__, "jaxattr.audit.run:audit")
