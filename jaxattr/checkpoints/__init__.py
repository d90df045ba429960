"""Loading Vision Transformers from the hub, a folder or a file, under any known names; saving."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from jaxattr.checkpoints.convert import from_tensors as from_tensors
    from jaxattr.checkpoints.convert import infer_config as infer_config
    from jaxattr.checkpoints.loading import load as load
    from jaxattr.checkpoints.native import save as save

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "convert": ["from_tensors", "infer_config"],
        "loading": ["load"],
        "native": ["save"],
    },
)
