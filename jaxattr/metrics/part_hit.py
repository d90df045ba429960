from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxattr.metrics.pointing_game import pointing_game

Maps = Float[np.ndarray, "*batch row column"]


def part_hit(maps: Maps, part: Maps) -> Float[np.ndarray, "*batch"]:
    """1 where the patch with the largest `|S|` shows any of the part, else 0.

    Any is enough: the part's mask grows to whole patches, by less than one patch, because a part
    may be smaller than one.
    """
    return pointing_game(np.abs(maps), part, covered=1e-9)
