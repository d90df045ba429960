"""Short names of well-known checkpoints on the hub."""

from __future__ import annotations

from difflib import get_close_matches

from jaxattr.errors import CheckpointError, short_name

# The first of each family is what the name without a patch or image size stands for.
_CHECKPOINTS = (
    "WinKawaks/vit-tiny-patch16-224",
    "WinKawaks/vit-small-patch16-224",
    "google/vit-base-patch16-224",
    "google/vit-base-patch16-384",
    "google/vit-base-patch32-384",
    "google/vit-large-patch16-224",
    "google/vit-large-patch16-384",
    "google/vit-large-patch32-384",
    "facebook/deit-tiny-patch16-224",
    "facebook/deit-small-patch16-224",
    "facebook/deit-base-patch16-224",
    "facebook/deit-base-patch16-384",
    "facebook/deit-tiny-distilled-patch16-224",
    "facebook/deit-small-distilled-patch16-224",
    "facebook/deit-base-distilled-patch16-224",
    "facebook/deit-base-distilled-patch16-384",
)
EMBEDDED = (
    "scenes",
    "scenes-clean-twin",
    "scenes-watermark",
    "scenes-background",
    "scenes-contaminated",
    "scenes-missing-part",
)
"""The models that come with the library: the default one, and those with a planted defect."""


def _aliases() -> dict[str, str]:
    table: dict[str, str] = {}
    for checkpoint in _CHECKPOINTS:
        alias = checkpoint.split("/")[1]
        family, _, size = alias.rpartition("-")
        table[alias] = checkpoint
        table.setdefault(family, checkpoint)  # vit-base-patch32
        table.setdefault(family.rpartition("-")[0], checkpoint)  # vit-base
        table.setdefault(f"{family.rpartition('-')[0]}-{size}", checkpoint)  # vit-base-384
    return table


ALIASES = _aliases()
"""Every alias and the hub id it stands for: `vit-base` is `google/vit-base-patch16-224`."""


def resolve(name: str) -> str:
    """The hub id behind an alias.

    Raises:
        CheckpointError: no such alias; names the nearest ones.
    """
    if name in ALIASES:
        return ALIASES[name]
    known = [*EMBEDDED, *ALIASES]
    near = get_close_matches(name, known, n=4, cutoff=0.4) or ["scenes", "vit-tiny", "vit-base"]
    raise CheckpointError(
        f"{short_name(name)}: neither a file or folder nor a known model alias; nearest: "
        f"{', '.join(near)} (a hub id has the form owner/name)."
    )
