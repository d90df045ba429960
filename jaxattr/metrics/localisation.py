"""Attribution localisation and the energy-based pointing game: how much evidence is inside."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from jaxattr.metrics.context import Context
from jaxattr.metrics.evidence_share import positive_share
from jaxattr.metrics.metric import OUTSIDE, metric
from jaxattr.metrics.regions import pool

Masks = Bool[np.ndarray, "*batch height width"]


def attribution_localisation(
    maps: Float[np.ndarray, "*batch row column"], masks: Masks
) -> Float[np.ndarray, "*batch"]:
    """Positive evidence inside the object's mask over all positive evidence.

    `Σ S⁺ w / Σ S⁺` with `w` the share of a patch that the mask covers, so that sums are sums over
    the pixels of the map enlarged without smoothing. From 0 to 1, higher is better; NaN without
    positive evidence. A map that is the same everywhere has the object's share of the image, which
    the rows that know nothing show. Costs nothing.
    Source: Kohlbrenner et al. 2020, as in Quantus (not weighted by the object's size);
    `localisation-v1`.
    """
    return positive_share(maps, pool(masks, (maps.shape[-2], maps.shape[-1])))


def energy_pointing(
    maps: Float[np.ndarray, "*batch row column"], masks: Masks
) -> Float[np.ndarray, "*batch"]:
    """Energy-based pointing game: the same inside the smallest box around the object.

    Source: Wang et al. 2020 (Score-CAM), whose maps have no negative part, read as Rao et al. 2023
    do: of a signed map only the positive part counts. `energypg-v1`.
    """
    return attribution_localisation(maps, bounding_boxes(masks))


def bounding_boxes(masks: Masks) -> Masks:
    """The smallest upright box around each mask; nothing around an empty one."""
    rows, columns = (_span(np.asarray(masks.any(axis=axis))) for axis in (-1, -2))
    return rows[..., :, None] & columns[..., None, :]


def _span(filled: Bool[np.ndarray, "*batch place"]) -> Bool[np.ndarray, "*batch place"]:
    """All places from the first to the last that is filled."""
    begun = np.maximum.accumulate(filled, axis=-1)
    left = np.flip(np.maximum.accumulate(np.flip(filled, axis=-1), axis=-1), axis=-1)
    return begun & left


@metric(
    id="localisation-v1",
    heading="localisation",
    definition="positive evidence inside the object over all of it",
    better="higher",
    cost="0",
    masks=True,
    source="Kohlbrenner et al. 2020",
    blind=OUTSIDE,
)
def score_localisation(context: Context) -> np.ndarray:
    """`attribution_localisation` of every image."""
    assert context.masks is not None  # asked for before anything was computed
    return attribution_localisation(context.maps, context.masks)


@metric(
    id="energypg-v1",
    heading="localisation",
    definition="the same inside the smallest box around the object",
    better="higher",
    cost="0",
    masks=True,
    source="Wang et al. 2020",
    blind="the box's corners from the object",
)
def score_energy(context: Context) -> np.ndarray:
    """`energy_pointing` of every image."""
    assert context.masks is not None
    return energy_pointing(context.maps, context.masks)
