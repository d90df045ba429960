from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxattr.metrics.context import Context
from jaxattr.metrics.metric import metric

RADIUS, DRAWS = 0.02, 10
"""Of the uniform noise on the normalised image, and how often it is drawn."""


def max_sensitivity(
    maps: Float[np.ndarray, "*batch row column"],
    shaken: Float[np.ndarray, "draw *batch row column"],
) -> Float[np.ndarray, "*batch"]:
    """`max over draws of ‖S(x + δ) - S(x)‖ / ‖S(x)‖`, norms over patches; NaN for zero maps.

    `δ` is uniform within `±RADIUS` of each normalised pixel; lower is steadier. A map that ignores
    the image has 0. Costs as many maps as draws. Source: Yeh et al. 2019; `sensitivity-v1`.
    """
    whole = maps.astype(np.float64)
    distance = np.sqrt(((shaken - whole) ** 2).sum(axis=(-2, -1))).max(axis=0)
    norm = np.sqrt((whole**2).sum(axis=(-2, -1)))
    return np.divide(distance, norm, out=np.full(np.shape(norm), np.nan), where=norm > 0)


@metric(
    id="sensitivity-v1",
    heading="robustness",
    definition="largest relative change of the map over 10 draws of noise of ±0.02",
    better="lower",
    cost="10M",
    explains=True,
    source="Yeh et al. 2019",
    blind="a steady map from a right one",
)
def score_sensitivity(context: Context) -> np.ndarray:
    """`max_sensitivity` of every image, to noise that is the same for all methods."""
    size, shaken = context.images.shape[1:], []
    for draw in range(DRAWS):
        noise = [
            context.generator(i, 100 + draw).uniform(-1, 1, size)
            for i in range(len(context.images))
        ]
        given = context.images + np.float32(RADIUS) * np.array(noise, np.float32)
        found = context.explain(given, context.classes, context.names, purpose=1 + draw)
        shaken.append(found)
    return max_sensitivity(context.maps, np.stack(shaken))
