"""Benchmarks with known answers: runs that resume, scores with intervals, figures.

Each is a package, and called it is its run: `jaxattr.bench.methods(model, dataset, folder)`.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from jaxattr.bench.audit.run import run as audit
    from jaxattr.bench.explanations.run import run as explanations
    from jaxattr.bench.methods.run import run as methods
    from jaxattr.bench.perturbation.run import run as perturbation

    __all__ = ["audit", "explanations", "methods", "perturbation"]
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach(
        __name__, submodules=["audit", "explanations", "methods", "perturbation"]
    )
