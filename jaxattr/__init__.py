"""See why a Vision Transformer decided what it decided, and audit labelled images with it.

The public names are listed in `__init__.pyi` and are imported when first used, so that
`import jaxattr` costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
