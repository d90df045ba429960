from __future__ import annotations

import numpy as np
from jaxtyping import Float

Maps = Float[np.ndarray, "*batch row column"]


def likeness(first: Maps, second: Maps) -> Float[np.ndarray, "*batch"]:
    """Pearson's correlation over patches of two maps; NaN where one is constant.

    Of one image's maps for two classes: 1 where a method does not tell the classes apart.
    """
    one, two = (
        maps - maps.mean(axis=(-2, -1), keepdims=True, dtype=np.float64) for maps in (first, second)
    )
    product = (one * two).sum(axis=(-2, -1))
    norm = np.sqrt((one**2).sum(axis=(-2, -1)) * (two**2).sum(axis=(-2, -1)))
    return np.divide(product, norm, out=np.full(np.shape(product), np.nan), where=norm > 0)
