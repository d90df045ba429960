"""How right a map is where the truth is known: one pure function of arrays per measure.

Maps are raw, `[..., row, column]`. A region is the share of each patch that a mask covers, see
`pool`, so that sums over patches are sums over pixels of the map enlarged without smoothing. Every
function gives one score per map, NaN where the map leaves it undefined.
"""

from jaxattr.metrics.bootstrap import Interval as Interval
from jaxattr.metrics.bootstrap import bootstrap as bootstrap
from jaxattr.metrics.evidence_share import absolute_share as absolute_share
from jaxattr.metrics.evidence_share import negative_share as negative_share
from jaxattr.metrics.evidence_share import positive_share as positive_share
from jaxattr.metrics.likeness import likeness as likeness
from jaxattr.metrics.overlap import THRESHOLDS as THRESHOLDS
from jaxattr.metrics.overlap import overlap as overlap
from jaxattr.metrics.part_hit import part_hit as part_hit
from jaxattr.metrics.pointing_game import pointing_game as pointing_game
from jaxattr.metrics.regions import pool as pool
from jaxattr.metrics.sign_accuracy import sign_accuracy as sign_accuracy
