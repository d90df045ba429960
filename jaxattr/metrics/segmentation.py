from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxattr.metrics.context import Context
from jaxattr.metrics.metric import OUTSIDE, metric
from jaxattr.plot import heatmap

Scores = Float[np.ndarray, " image"]


class Segmentation(NamedTuple):
    """How well maps, cut at their mean, are masks of the object; one score for each image."""

    accuracy: Scores
    """Share of pixels that are on the right side of the threshold: `pixel-accuracy-v1`."""
    mean_iou: Scores
    """Mean over object and background of intersection over union: `mean-iou-v1`."""
    average_precision: Scores
    """Of the scores for object and background together, without a threshold: `map-v1`."""


def segmentation(
    maps: Float[np.ndarray, "image row column"], masks: Bool[np.ndarray, "image height width"]
) -> Segmentation:
    """Maps as segmentations: enlarged bilinearly, scaled to 0..1, cut at their mean.

    With `r` the scaled map, a pixel's score is `r` for the object and `1 - r` for the background;
    average precision is `Σ (R_k - R_{k-1}) P_k` over both. NaN for constant maps. Negative evidence
    counts as least. ImageNet-Seg pools the pixels of all images before it divides, which changes
    the mean IoU: here each image has its own, as intervals need it.
    Source: Guillaumin et al. 2014, with the protocol of Chefer et al. 2021.
    """
    large = heatmap.upsample(maps, masks.shape[1:]).astype(np.float64)
    scores = [_one(one, mask) for one, mask in zip(large, masks, strict=True)]
    return Segmentation(*np.array(scores, np.float64).reshape(-1, 3).T)


def _one(
    map_: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]
) -> tuple[float, float, float]:
    low, high = map_.min(), map_.max()
    if not low < high:
        return np.nan, np.nan, np.nan
    scaled = (map_ - low) / (high - low)
    above = scaled > scaled.mean()
    overlaps = []
    for found, truth in ((above, mask), (~above, ~mask)):
        united = (found | truth).sum()
        overlaps.append((found & truth).sum() / united if united else np.nan)
    score = np.concatenate([(1 - scaled).ravel(), scaled.ravel()])
    truth = np.concatenate([~mask.ravel(), mask.ravel()])
    iou = float(np.nanmean(overlaps))
    return float((above == mask).mean()), iou, average_precision(score, truth)


def average_precision(score: Float[np.ndarray, " item"], truth: Bool[np.ndarray, " item"]) -> float:
    """`Σ (R_k - R_{k-1}) P_k` over all thresholds, equal scores taken together."""
    order = np.argsort(-score, kind="stable")
    ordered, hits = score[order], np.cumsum(truth[order])
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    precision, found = hits[last] / (last + 1), hits[last]
    return float((np.diff(found, prepend=0) * precision).sum() / max(found[-1], 1))


@metric(
    id="pixel-accuracy-v1",
    heading="localisation",
    definition="share of pixels on the right side of the map's mean",
    better="higher",
    cost="0",
    masks=True,
    source="Guillaumin et al. 2014",
    blind=OUTSIDE,
)
def score_accuracy(context: Context) -> np.ndarray:
    """`Segmentation.accuracy` of every image."""
    assert context.masks is not None
    return segmentation(context.maps, context.masks).accuracy


@metric(
    id="mean-iou-v1",
    heading="localisation",
    definition="the same as mean IoU of object and background",
    better="higher",
    cost="0",
    masks=True,
    source="Guillaumin et al. 2014",
    blind=OUTSIDE,
)
def score_mean_iou(context: Context) -> np.ndarray:
    """`Segmentation.mean_iou` of every image."""
    assert context.masks is not None
    return segmentation(context.maps, context.masks).mean_iou


@metric(
    id="map-v1",
    heading="localisation",
    definition="average precision of the map for object and background",
    better="higher",
    cost="0",
    masks=True,
    source="Guillaumin et al. 2014",
    blind=OUTSIDE,
)
def score_average_precision(context: Context) -> np.ndarray:
    """`Segmentation.average_precision` of every image."""
    assert context.masks is not None
    return segmentation(context.maps, context.masks).average_precision
