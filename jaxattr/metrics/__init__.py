"""How good a map is: one pure function of arrays per measure, those of `METRICS` under headings.

Maps are raw, `[..., row, column]`. A region is the share of each patch that a mask covers, see
`pool`, so that sums over patches are sums over pixels of the map enlarged without smoothing. Every
function gives one score per map, NaN where the map leaves it undefined. Those that ask the model
take one image and map; batches are `vmap` or `over_images`.

What is scored by a benchmark is a function of a `Context`, and what is said of it stands beside it,
in the decorator `metric`; files are found, not listed. A function of one's own is taken wherever a
metric's name is, see `resolve`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from jaxattr import registry
from jaxattr.errors import JaxattrError
from jaxattr.metrics.bootstrap import Interval as Interval
from jaxattr.metrics.bootstrap import bootstrap as bootstrap
from jaxattr.metrics.bootstrap import interval as interval
from jaxattr.metrics.completeness import completeness as completeness
from jaxattr.metrics.complexity import complexity as complexity
from jaxattr.metrics.context import Case as Case
from jaxattr.metrics.context import Context as Context
from jaxattr.metrics.deletion import deletion as deletion
from jaxattr.metrics.evidence_share import absolute_share as absolute_share
from jaxattr.metrics.evidence_share import negative_share as negative_share
from jaxattr.metrics.evidence_share import positive_share as positive_share
from jaxattr.metrics.grid_pointing import grid_pointing as grid_pointing
from jaxattr.metrics.grid_pointing import mosaic as mosaic
from jaxattr.metrics.infidelity import infidelity as infidelity
from jaxattr.metrics.insertion import insertion as insertion
from jaxattr.metrics.inside_above import inside_above as inside_above
from jaxattr.metrics.likeness import likeness as likeness
from jaxattr.metrics.localisation import attribution_localisation as attribution_localisation
from jaxattr.metrics.localisation import bounding_boxes as bounding_boxes
from jaxattr.metrics.localisation import energy_pointing as energy_pointing
from jaxattr.metrics.metric import HEADINGS
from jaxattr.metrics.metric import Metric as Metric
from jaxattr.metrics.metric import metric as metric
from jaxattr.metrics.metric import metric_of as metric_of
from jaxattr.metrics.mprt import cascade as cascade
from jaxattr.metrics.mprt import spearman as spearman
from jaxattr.metrics.overlap import THRESHOLDS as THRESHOLDS
from jaxattr.metrics.overlap import overlap as overlap
from jaxattr.metrics.part_hit import part_hit as part_hit
from jaxattr.metrics.pointing_game import pointing_game as pointing_game
from jaxattr.metrics.positive_to_negative import positive_to_negative as positive_to_negative
from jaxattr.metrics.regions import pool as pool
from jaxattr.metrics.road import road as road
from jaxattr.metrics.saco import saco as saco
from jaxattr.metrics.segmentation import segmentation as segmentation
from jaxattr.metrics.sensitivity import max_sensitivity as max_sensitivity
from jaxattr.metrics.sign_accuracy import sign_accuracy as sign_accuracy
from jaxattr.metrics.sparseness import sparseness as sparseness
from jaxattr.metrics.srg import srg as srg

MetricLike: TypeAlias = str | Metric | Callable[..., Any]
"""A name of `METRICS`, `package.module:function`, or the function itself."""

# The order of tables under each heading; what is not named comes last, by file name.
_ORDER = (
    *("positive", "negative", "deletion", "insertion", "saco", "road", "srg", "infidelity"),
    *("gridpg", "gridpg-3x3", "localisation", "energypg", "pointing"),
    *("pixel-accuracy", "mean-iou", "map"),
    *("sparseness", "complexity"),
)


def _place(one: Metric) -> tuple[int, int]:
    return (
        HEADINGS.index(one.heading) if one.heading in HEADINGS else len(HEADINGS),
        _ORDER.index(one.name) if one.name in _ORDER else len(_ORDER),
    )


METRICS: dict[str, Metric] = {
    one.name: one for one in sorted(registry.discover(__name__, __path__, Metric), key=_place)
}
CHEAP = tuple(name for name, one in METRICS.items() if one.cheap or one.masks)
"""What is taken where nothing is asked for: at most 37 forward passes for a map."""


def resolve(given: MetricLike) -> Metric:
    """A metric by its name, by `package.module:function`, or of a function of a `Context`.

    Raises:
        JaxattrError: an unknown name, or another metric's.
    """
    if isinstance(given, str):
        if given in METRICS:
            return METRICS[given]
        found = registry.find(given, "metric")
        if found is None:
            raise JaxattrError(
                f"unknown metric {given}; choose from {', '.join(METRICS)}, or write "
                "package.module:function."
            )
        return resolve(found)
    one = given if isinstance(given, Metric) else metric_of(given)
    known = METRICS.get(one.name)
    if known is not None and known.score is not one.score:
        raise JaxattrError(f"{one.id} is a built-in metric; give this one another id.")
    return one


def resolve_all(given: Iterable[MetricLike]) -> tuple[Metric, ...]:
    """Each once, in the order of `METRICS`, one's own behind them.

    Raises:
        JaxattrError: an unknown name, or two metrics of the same.
    """
    found: dict[str, Metric] = {}
    for one in map(resolve, given):
        if found.setdefault(one.name, one).score is not one.score:
            raise JaxattrError(f"two metrics have the id {one.id}; give one another id.")
    places = {name: place for place, name in enumerate(METRICS)}
    return tuple(sorted(found.values(), key=lambda one: places.get(one.name, len(places))))
