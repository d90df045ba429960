"""How good a map is: one pure function of arrays per measure, those of `METRICS` under headings.

Maps are raw, `[..., row, column]`. A region is the share of each patch that a mask covers, see
`pool`, so that sums over patches are sums over pixels of the map enlarged without smoothing. Every
function gives one score per map, NaN where the map leaves it undefined. Those that ask the model
take one image and map; batches are `vmap` or `over_images`.
"""

from jaxattr.metrics.bootstrap import Interval as Interval
from jaxattr.metrics.bootstrap import bootstrap as bootstrap
from jaxattr.metrics.completeness import completeness as completeness
from jaxattr.metrics.complexity import complexity as complexity
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
from jaxattr.metrics.table import CHEAP as CHEAP
from jaxattr.metrics.table import METRICS as METRICS
