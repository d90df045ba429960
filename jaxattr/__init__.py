"""See why a Vision Transformer decided what it decided, and audit labelled images with it.

    model = jaxattr.load("vit-base")
    seen = jaxattr.explain(model, "elephants.png", target="zebra")
    result = jaxattr.audit(model, "photos/", output="out")

The public names are listed in `__init__.pyi` and are imported when first used, so that
`import jaxattr` costs nothing.
"""

from typing import Any

import lazy_loader

_lazy, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    return _lazy(name)
