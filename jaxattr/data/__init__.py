"""Photos, class names and labelled folders: from files to arrays, and back to files.

Decoding and preprocessing as the checkpoint was trained with, the rule of which files are images,
how a folder or a table says its labels, and files that appear whole or not at all.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from jaxattr.data import dataset as dataset
    from jaxattr.data import formats as formats
    from jaxattr.data import images as images
    from jaxattr.data import label_file as label_file
    from jaxattr.data import labels as labels
    from jaxattr.data import listing as listing
    from jaxattr.data import photos as photos
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach(
        __name__,
        submodules=[
            "dataset",
            "formats",
            "images",
            "label_file",
            "labels",
            "listing",
            "photos",
        ],
    )
