"""Photos, class names and labelled folders: from files to arrays, and back to files.

Decoding and preprocessing as the checkpoint was trained with, the rule of which files are images,
how a folder or a table says its labels, and files that appear whole or not at all.
"""

import lazy_loader

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
