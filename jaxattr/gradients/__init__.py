"""Derivatives of a loss inside the network, and the mathematics that turns them into relevance.

`attention` holds the total, frozen and streamed derivatives of the attention; `sites` those at
single places; `relevance` the rules of layer-wise relevance propagation; `corrections` the
paper's Equations 1 to 6. No method lives here: methods are combinations of these.
"""

from jaxattr.gradients.attention import ForwardPass as ForwardPass
from jaxattr.gradients.attention import Layer as Layer
from jaxattr.gradients.attention import arrange as arrange
from jaxattr.gradients.attention import attention_gradients as attention_gradients
from jaxattr.gradients.attention import check_start_layer as check_start_layer
from jaxattr.gradients.attention import feedback_map as feedback_map
from jaxattr.gradients.attention import fold_back as fold_back
from jaxattr.gradients.attention import forward_pass as forward_pass
from jaxattr.gradients.attention import frozen_attention_gradients as frozen_attention_gradients
from jaxattr.gradients.attention import over_images as over_images
from jaxattr.gradients.attention import read_rows as read_rows
from jaxattr.gradients.attention import readout as readout
from jaxattr.gradients.attention import rolled as rolled
from jaxattr.gradients.attention import rollout_row as rollout_row
from jaxattr.gradients.attention import to_map as to_map
from jaxattr.gradients.attention import walk_back as walk_back
