from . import audit as audit
from . import bench as bench
from . import checkpoints as checkpoints
from . import data as data
from . import experiments as experiments
from . import gradients as gradients
from . import heads as heads
from . import losses as losses
from . import methods as methods
from . import metrics as metrics
from . import plot as plot
from . import scenes as scenes
from . import vit as vit
from .audit.findings.finding import Finding as Finding
from .audit.run import Audit as Audit

# The package, which is called as this function: see `_front`. Type checkers read the last one.
from .audit.run import audit as audit  # noqa: F811
from .checkpoints import load as load
from .checkpoints import save as save
from .data import images as images
from .data import labels as labels
from .errors import CheckpointError as CheckpointError
from .errors import DatasetError as DatasetError
from .errors import ImageError as ImageError
from .errors import JaxattrError as JaxattrError
from .errors import LabelError as LabelError
from .errors import LedgerError as LedgerError
from .experiments import budget as budget
from .experiments import details as details
from .experiments import distances as distances
from .experiments import guidance as guidance
from .experiments import guides as guides
from .experiments import rewrite as rewrite
from .experiments import transfer as transfer
from .explanation import Explanation as Explanation
from .explanation import explain as explain
from .gradients import attention_gradients as attention_gradients
from .gradients import over_images as over_images
from .gradients.corrections import corrected as corrected
from .gradients.corrections import rollout as rollout
from .heads import probabilities as probabilities
from .methods import METHODS as METHODS
from .methods import views as views
from .methods.method import Method as Method
from .vit import Model as Model
from .vit import Preprocessing as Preprocessing
from .vit import Rules as Rules
from .vit import Taps as Taps
from .vit import ViTConfig as ViTConfig
from .vit import forward as forward
from .vit import initialize as initialize
from .vit import predict as predict

__version__: str
