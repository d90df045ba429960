"""The paper's experiments as functions: guidance, details, attention transfer, pixel rewriting."""

import lazy_loader

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
