"""What the name of a timm architecture says that neither its config.json nor its tensors do."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from jaxattr.errors import CheckpointError, short_name


class Architecture(NamedTuple):
    """The defaults of one timm architecture."""

    width: int
    heads: int
    activation: Literal["gelu", "gelu_tanh"] = "gelu"
    epsilon: float = 1e-6
    pool: Literal["token", "avg"] = "token"


_WIDTH_HEADS = {
    "tiny": (192, 3),
    "small": (384, 6),
    "base": (768, 12),
    "large": (1024, 16),
    "so400m": (1152, 16),
    "huge": (1280, 16),
    "giant": (1408, 16),
    "giantopt": (1536, 16),
    "gigantic": (1664, 16),
}
_PLAIN = re.compile(
    r"vit_(tiny|small|base|large|huge|giant|gigantic)_patch\d+_(sam_)?\d+"
    r"(_miil)?(_in21k|_sam|_dino)?"
    r"|deit_(tiny|small|base)(_distilled)?_patch\d+_\d+"
)
_POOLED = re.compile(
    r"vit_(base_patch16|huge_patch14|huge_patch16|giant_patch16)_gap_\d+"
    r"|vit_(base|large|so400m|giantopt)_patch\d+_siglip_gap_\d+"
)
# SigLIP's of version 2, which were trained with the tanh form.
_TANH = re.compile(
    r"vit_(base_patch32_siglip_gap_256|large_patch16_siglip_gap_512"
    r"|(so400m|giantopt)_patch16_siglip_gap_\d+)"
)
# Of other networks than this library's; the first that is found in a name is the reason given.
_REFUSED = (
    (r"_rpn_", "normalisation after each branch (residual post-norm)"),
    (r"_18x2_", "two branches side by side in each block"),
    (r"_xp_|^vit_d?pwee_", "attention and MLP side by side in each block"),
    (r"^vit_d(wee|little)_", "differential attention"),
    (r"relpos_", "a relative position bias"),
    (r"_rope_|_(dinov3|lingbot|sapiens2)|_pe_(core|lang|spatial)_", "rotary position embeddings"),
    (r"_r\d*_s\d+_|_resnet|_mci_", "a convolutional stem (hybrid)"),
    (r"_radio_", "its own input conditioning and no final norm (RADIO)"),
    (r"_intern300m_|_dinov2|_tipsv2|_36x1_|_plus_|^deit3_", "layer scale"),
    (r"_reg\d+_", "register tokens"),
    (r"(medium|betwixt)d?_.*gap_", "layer scale"),
    (r"_clip_", "a normalisation before the blocks (CLIP)"),
    (r"_siglip_(?!gap_)", "attention pooling (SigLIP)"),
    (r"^flexivit_", "no position embedding for the class token (no_embed_class)"),
)


def base_name(architecture: str) -> str:
    """The bare name: no `hf-hub:owner/` in front, no tag behind (`.augreg_in1k`)."""
    return architecture.rpartition("/")[2].rpartition(":")[2].partition(".")[0]


def refuse(name: str) -> None:
    """Raise for the name of an architecture that is another network than this library's."""
    if not name.startswith(("vit_", "deit_", "deit3_", "flexivit_")):
        raise CheckpointError(
            f"config.json: timm's architecture {short_name(name)} is not supported; use a vit_* or "
            f"deit_* architecture."
        )
    for pattern, feature in _REFUSED:
        if re.search(pattern, name):
            raise CheckpointError(
                f"config.json: timm's architecture {short_name(name)} has {feature}, which is not "
                f"supported; use a plain vit_* or deit_* architecture."
            )


def find(name: str) -> Architecture | None:
    """The defaults of an architecture, `None` for a name that timm does not have.

    Raises:
        CheckpointError: it is another network than this library's, by its name.
    """
    refuse(name)
    if _PLAIN.fullmatch(name):
        return Architecture(*_WIDTH_HEADS[name.split("_")[1]])
    if not _POOLED.fullmatch(name):
        return None
    width, heads = _WIDTH_HEADS[name.split("_")[1]]
    if name.startswith("vit_base_patch16_gap_"):
        heads = 16
    tanh = _TANH.fullmatch(name) is not None
    return Architecture(width, heads, "gelu_tanh" if tanh else "gelu", pool="avg")
