"""How much of a labelled folder an audit looked at, and so what it may say of the whole folder.

`--limit`, `--classes` and `--exclude` leave images out. What is not among those that were audited
is not absent from the folder: no finding may take the one for the other.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from jaxattr.audit.inference.posterior import Posterior
from jaxattr.audit.ledger import LedgerView

Standing = Literal["audited", "left out", "absent"]


class Extent(NamedTuple):
    """What was audited, and what the folder holds."""

    images: int
    """Audited, unreadable ones among them."""
    of_images: int
    """In the whole folder."""
    classes: frozenset[int]
    """With a readable image that was audited."""
    of_classes: frozenset[int] | None
    """With an image in the whole folder; `None` where the ledger does not say."""
    limited: bool
    """Whether a limit took a sample of each class."""

    @property
    def partial(self) -> bool:
        """Whether images of the folder were left out, by a limit or with their classes."""
        return self.images < self.of_images

    @property
    def left_out(self) -> frozenset[int]:
        """Classes of the folder without a readable image that was audited, as far as is known."""
        return (self.of_classes or self.classes) - self.classes

    @property
    def noun(self) -> str:
        """What a figure describes."""
        return "sample" if self.partial else "folder"

    def standing(self, class_: int) -> Standing:
        """Whether a class was audited, or else whether the folder has images of it.

        Where that is not known of a part of a folder, the class counts as left out.
        """
        if class_ in self.classes:
            return "audited"
        if self.of_classes is None:
            return "left out" if self.partial else "absent"
        return "left out" if class_ in self.of_classes else "absent"


def extent(ledger: LedgerView, of: Posterior) -> Extent:
    """What of its folder a ledger holds."""
    receipt = ledger.receipt
    everything = sum(count for _, count in receipt.sizes)
    return Extent(
        images=receipt.count,
        of_images=max(everything, receipt.total),
        classes=frozenset(of.classes.tolist()),
        of_classes=frozenset(class_ for class_, _ in receipt.sizes) if receipt.sizes else None,
        limited=receipt.count < receipt.total,
    )
