"""Pictures: from a raw map to colours, and figures of photos beside their maps.

Arrays in, arrays or bytes out; the same arguments give the same bytes. Nothing here explains.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from jaxattr.plot import figures as figures
    from jaxattr.plot import grid as grid
    from jaxattr.plot import heatmap as heatmap
    from jaxattr.plot import sheets as sheets
    from jaxattr.plot import strips as strips
else:
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
