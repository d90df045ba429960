"""What fits into the page: order by importance, take until the budget is spent, count the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple, TypeVar

from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.report.summary import Summary

Item = TypeVar("Item")
# Of every six image pages three go to findings, two to strips of pairs, one to classes at large.
_SHARES = (3, 2, 1)


class Taken(NamedTuple):
    """Serialised records that fit, and how many there were."""

    records: dict[str, str]
    total: int

    @property
    def size(self) -> int:
        """Bytes, with the separators that a JSON object needs."""
        return sum(len(key) + len(record) + 4 for key, record in self.records.items())


def take(records: Iterable[tuple[str, str]], total: int, budget: int) -> Taken:
    """The first records that fit into `budget` bytes; stops reading at the first that does not."""
    taken: dict[str, str] = {}
    for key, record in records:
        budget -= len(key) + len(record) + 4
        if budget < 0:
            break
        taken[key] = record
    return Taken(taken, total)


def class_order(summary: Summary, findings: Sequence[Finding]) -> list[int]:
    """Classes with images: those of findings in their order, then the least accurate first."""
    rest = sorted(
        summary.classes.values(), key=lambda one: (one.accuracy, -one.images, one.class_index)
    )
    named = (index for finding in findings for index in finding.classes)
    order = dict.fromkeys(chain(named, (one.class_index for one in rest)))
    return [index for index in order if index in summary.classes]


def pair_order(summary: Summary, findings: Sequence[Finding]) -> list[tuple[int, int]]:
    """Pairs: those of findings in their order, then by images that prefer the rival."""
    rest = sorted(
        summary.pairs.values(), key=lambda one: (-one.preferring, -one.images, one.label, one.rival)
    )
    order = dict.fromkeys(chain(finding_pairs(findings), ((one.label, one.rival) for one in rest)))
    return [pair for pair in order if pair in summary.pairs]


def finding_pairs(findings: Sequence[Finding]) -> list[tuple[int, int]]:
    """The ordered pairs (label, other) that findings are about."""
    pairs = (one.classes for one in findings if len(one.classes) == 2)
    return list(dict.fromkeys((first, second) for first, second in pairs))


def image_order(
    summary: Summary,
    findings: Sequence[Finding],
    pairs: Sequence[tuple[int, int]],
    classes: Sequence[int],
) -> list[int]:
    """Images that deserve a page, most important first.

    Three queues (evidence of findings, strips of pairs, images of classes) are merged in fixed
    shares; each goes round its owners, so that every one has its first image before any has two.
    """
    strips = []
    for pair in pairs:
        one = summary.pairs[pair]
        strips.append([member.image for member in _alternate(one.suspicious, one.typical)])
    members = []
    for index in classes:
        one = summary.classes[index]
        members.append(_alternate(one.typical, one.suspicious, one.sample))
    queues = [
        _rounds([finding.images for finding in findings]),
        _rounds(strips),
        _rounds(members),
    ]
    return list(dict.fromkeys(_merged(queues)))


def _rounds(lists: Sequence[Sequence[int]]) -> Iterator[int]:
    """The first of each list, the second of each, and so on."""
    return (item for row in zip_longest(*lists) for item in row if item is not None)


def _alternate(*lists: Sequence[Item]) -> list[Item]:
    return [item for row in zip_longest(*lists) for item in row if item is not None]


def _merged(queues: list[Iterator[int]]) -> Iterator[int]:
    nothing = object()
    alive = True
    while alive:
        alive = False
        for queue, share in zip(queues, _SHARES, strict=True):
            for _ in range(share):
                item = next(queue, nothing)
                if isinstance(item, int):
                    alive = True
                    yield item
