"""The protocols of the perturbation benchmark: versioned, so that a number says what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jaxattr.errors import JaxattrError
from jaxattr.metrics.masking import TENTHS
from jaxattr.metrics.perturbation import FILLS, TOKEN_FILLS, counts
from jaxattr.vit import ViTConfig


@dataclass(frozen=True)
class Protocol:
    """What is masked, how much, by what, and whose map decides."""

    name: str
    """The versioned id; each change of it is appended, as in `tattr-perturb-v1+fill=drop`."""
    unit: Literal["pixel", "patch"]
    """What is ranked and masked; for pixels the map is enlarged bilinearly."""
    fill: str
    """One of `metrics.perturbation.FILLS`."""
    fractions: tuple[float, ...]
    """Shares of the units that are masked; the first is 0."""
    guided: bool
    """Whether every image is stitched with a guide of another class, and that class left out."""
    explained: tuple[str, ...]
    """Whose maps: of the `label`, of the class `predicted` for the unmasked image, or both."""


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "tattr-perturb-v1", "pixel", "black", TENTHS, False, explained=("predicted", "label")
        ),
        Protocol("cui-guided-perturb-v1", "patch", "zero", TENTHS, True, explained=("label",)),
    )
}
"""Of Chefer et al. 2021 (T-Attr), and of the paper (Fig. 12)."""


def protocol(
    name: str,
    *,
    fill: str | None = None,
    fractions: Sequence[float | int] | None = None,
    explained: Sequence[str] | None = None,
) -> Protocol:
    """A protocol by its id, as it is or changed; a change becomes a part of the id.

    The fills `zero` and `drop` act on tokens, so they change the unit to patches. `explained`
    picks some of the protocol's classes, or asks for another.

    Raises:
        JaxattrError: an unknown protocol or fill, fractions that do not rise from 0 or exceed 1.
    """
    if name not in PROTOCOLS:
        raise JaxattrError(f"protocol {name!r} is unknown; choose from {', '.join(PROTOCOLS)}.")
    chosen = PROTOCOLS[name]
    if fill is not None and fill not in FILLS:
        raise JaxattrError(f"fill {fill!r} is unknown; choose from {', '.join(FILLS)}.")
    if fill is not None and fill != chosen.fill:
        unit = "patch" if fill in TOKEN_FILLS else chosen.unit
        chosen = replace(chosen, name=f"{chosen.name}+fill={fill}", fill=fill, unit=unit)
    if fractions is not None and tuple(fractions) != chosen.fractions:
        counts(100, fractions)
        written = ",".join(f"{one:g}" for one in fractions)
        chosen = replace(
            chosen,
            name=f"{chosen.name}+fractions={written}",
            fractions=tuple(float(one) for one in fractions),
        )
    if explained is not None:
        if not explained or set(explained) - {"label", "predicted"}:
            raise JaxattrError(
                f"classes to explain are {', '.join(explained) or '(none)'}; choose label, "
                "predicted or both."
            )
        chosen = replace(chosen, explained=tuple(dict.fromkeys(explained)))
    return chosen


def steps(chosen: Protocol, config: ViTConfig) -> tuple[int, ...]:
    """How many units of an image each fraction masks.

    Raises:
        JaxattrError: more than there are; or every token dropped from a model that averages them.
    """
    height, width = config.image_size if chosen.unit == "pixel" else config.grid
    found = counts(height * width, chosen.fractions)
    if chosen.fill == "drop" and config.pooling != "class_token" and found[-1] == height * width:
        raise JaxattrError(
            "all tokens are to be dropped, but this model reads their mean; ask for fractions "
            "below 1."
        )
    return found
