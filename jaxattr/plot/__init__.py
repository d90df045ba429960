"""Pictures: from a raw map to colours, and figures of photos beside their maps.

Arrays in, arrays or bytes out; the same arguments give the same bytes. Nothing here explains.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "figures",
        "grid",
        "heatmap",
        "sheets",
        "strips",
    ],
)
