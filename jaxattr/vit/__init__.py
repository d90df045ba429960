"""The network: one differentiable function of one image, whose taps are arguments and results.

Here lives what a Vision Transformer computes, and nothing that reads files, draws, or knows a
method. Taps can be read, added to, replaced and differentiated; rules exchange the functions that
a backward pass sees. Imports nothing of the library but `errors`.
"""

from jaxattr.vit.config import MAX_PIXELS as MAX_PIXELS
from jaxattr.vit.config import Activation as Activation
from jaxattr.vit.config import Order as Order
from jaxattr.vit.config import Pooling as Pooling
from jaxattr.vit.config import Preprocessing as Preprocessing
from jaxattr.vit.config import Problem as Problem
from jaxattr.vit.config import Resample as Resample
from jaxattr.vit.config import Rounding as Rounding
from jaxattr.vit.config import ViTConfig as ViTConfig
from jaxattr.vit.model import Model as Model
from jaxattr.vit.network import LayerNorm as LayerNorm
from jaxattr.vit.network import ViT as ViT
from jaxattr.vit.network import apply as apply
from jaxattr.vit.network import apply_block as apply_block
from jaxattr.vit.network import check_image as check_image
from jaxattr.vit.network import forward as forward
from jaxattr.vit.network import head_rows as head_rows
from jaxattr.vit.network import initialize as initialize
from jaxattr.vit.network import map_head as map_head
from jaxattr.vit.network import normalized_tokens as normalized_tokens
from jaxattr.vit.network import positions as positions
from jaxattr.vit.network import predict as predict
from jaxattr.vit.network import predict_tokens as predict_tokens
from jaxattr.vit.network import project_context as project_context
from jaxattr.vit.network import project_tokens as project_tokens
from jaxattr.vit.network import read as read
from jaxattr.vit.network import read_queries as read_queries
from jaxattr.vit.network import stages as stages
from jaxattr.vit.rules import Rules as Rules
from jaxattr.vit.taps import Image as Image
from jaxattr.vit.taps import Logits as Logits
from jaxattr.vit.taps import Loss as Loss
from jaxattr.vit.taps import Map as Map
from jaxattr.vit.taps import Taps as Taps
