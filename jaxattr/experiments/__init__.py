"""The paper's experiments as functions: guidance, details, attention transfer, pixel rewriting."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from jaxattr.experiments import budget as budget
    from jaxattr.experiments import details as details
    from jaxattr.experiments import distances as distances
    from jaxattr.experiments import guidance as guidance
    from jaxattr.experiments import guides as guides
    from jaxattr.experiments import rewrite as rewrite
    from jaxattr.experiments import session as session
    from jaxattr.experiments import transfer as transfer
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach(
        __name__,
        submodules=[
            "budget",
            "details",
            "distances",
            "guidance",
            "guides",
            "rewrite",
            "session",
            "transfer",
        ],
    )
