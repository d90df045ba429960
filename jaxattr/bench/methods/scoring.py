"""One metric for all rows of `bench methods` and a shard of images: `[image, row]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxattr.bench.methods.maps import Explainer, Row
from jaxattr.errors import JaxattrError
from jaxattr.metrics import METRICS, Metric
from jaxattr.metrics.context import Context, Fellows, Labels, Pictures

Scores = Float[np.ndarray, "image row"]


class Shard(NamedTuple):
    """What is known of some images."""

    images: Pictures
    labels: Labels
    names: Sequence[str]
    maps: Mapping[str, Float[np.ndarray, "image row column"]]
    """By row."""
    recognised: Bool[np.ndarray, " image"]
    """Whether the label is the top class, with the probability `CONFIDENT` or more."""
    masks: Bool[np.ndarray, "image height width"] | None


def score(
    metric: Metric,
    explainer: Explainer,
    rows: Sequence[Row],
    shard: Shard,
    fellows: Callable[[], Fellows],
) -> Scores:
    """One metric of every row; NaN where it is not defined.

    Raises:
        JaxattrError: a metric of one's own fails, or returns something else than a score for each
            image.
    """
    nothing = np.full(len(shard.names), np.nan)
    columns = [
        # Of maps made elsewhere there are no others.
        nothing
        if metric.explains and row.model == "given"
        else _column(metric, context(explainer, row, shard, fellows))
        for row in rows
    ]
    return np.stack(columns, axis=1)


def context(
    explainer: Explainer, row: Row, shard: Shard, fellows: Callable[[], Fellows]
) -> Context:
    """What a metric is given of one row."""
    return Context(
        model=explainer.model,
        images=shard.images,
        classes=shard.labels,
        names=shard.names,
        maps=shard.maps[row.name],
        masks=shard.masks,
        method=row.method,
        explained=explainer.drawn if row.model == "random weights" else explainer.model,
        drawn=explainer.drawn,
        explain=partial(explainer.explain, row),
        recognised=shard.recognised,
        fellows=fellows,
        seed=explainer.seed,
    )


def _column(metric: Metric, given: Context) -> Float[np.ndarray, " image"]:
    if metric.name in METRICS:
        return metric.score(given)
    try:
        found = np.asarray(metric.score(given), np.float64)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise JaxattrError(
            f"the metric {metric.id} failed ({type(error).__name__}: {reason}); "
            "JAXATTR_DEBUG=1 shows where."
        ) from error
    if found.shape != (len(given.names),):
        raise JaxattrError(
            f"the metric {metric.id} returned an array of shape {found.shape}; wanted one score "
            f"for each of {len(given.names)} images."
        )
    return found
