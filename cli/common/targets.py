"""Which classes to explain: `--target`, `--against` and `--loss`, from words to class indices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from jaxattr.cli.common import names

if TYPE_CHECKING:
    import numpy as np

    from jaxattr.data.labels import LabelTable

_TOP = re.compile(r"top([1-9][0-9]*)", re.IGNORECASE)


class Question(NamedTuple):
    """What is asked of every image: each item is a class index or `topN`'s N, with its kind."""

    targets: tuple[int, ...]
    top: int
    """The N most probable classes are asked for, too."""
    against: int | None
    """A class index, -1 for the image's own rival, `None` for none."""
    loss: str
    details: int = 0
    """All ordered pairs of that many classes are asked for: the named ones, then the top."""

    @property
    def width(self) -> int:
        """The most maps that one image can have."""
        return self.details * (self.details - 1) or len(self.targets) + self.top


class Asked(NamedTuple):
    """One map to compute: the class, and the class it is set against (`None`: none)."""

    target: int
    against: int | None


def question(
    targets: Sequence[str],
    against: str | None,
    loss: str | None,
    table: LabelTable,
    link: str | None,
    guided: bool = False,
    details: int = 0,
) -> Question:
    """Resolve the words; raises `LabelError` or a usage error.

    `guided`: each target is set against a guide's class, which is not known yet. `link` is
    `heads.link`: the logit of a sigmoid is its log-odds, and called so; the values of a regression
    have none.
    """
    from jaxattr.explanation import default_loss

    most = table.classes or len(table.labels)
    if most == 1 and against is not None:
        raise click.UsageError(
            f"this model has one output, {table.short(0)}, so nothing can be set against it; "
            "leave out --against: what speaks against it is the negative part of its map."
        )
    paired = guided or bool(details)
    if loss == "log-odds" and link is None:
        raise click.UsageError(
            "--loss log-odds needs probabilities, and this model is a regression, whose outputs "
            "are values; leave out --loss, or write --loss logit."
        )
    word = loss or default_loss(link, against is not None or paired)
    name, of_one = names.loss(word)
    if of_one and details:
        raise click.UsageError(f"--loss {name} looks at one class; leave out --details or --loss.")
    if of_one and against is not None:
        raise click.UsageError(f"--loss {name} looks at one class; leave out --against or --loss.")
    if not of_one and against is None and not paired:
        raise click.UsageError(
            f"--loss {name} sets one class against another; add --against LABEL or --against rival."
        )
    tops = [int(found[1]) for text in targets if (found := _TOP.fullmatch(text.strip()))]
    named = [table.resolve(text.strip()) for text in targets if not _TOP.fullmatch(text.strip())]
    if against is None:
        other = None
    else:
        other = -1 if against.strip().lower() == "rival" else table.resolve(against.strip())
    if other is not None and named == [other] and not tops:
        raise click.UsageError(
            f"--target and --against are the same class, {table.short(other)}; choose another."
        )
    top, named = min(max(tops, default=0), most), list(dict.fromkeys(named))
    if details and max(details, 2) > most:
        raise click.UsageError(f"--details {details} is more than the model's {most} classes.")
    if details and max(len(named), top) > details:
        raise click.UsageError(
            f"--details {details} is fewer than the {max(len(named), top)} classes of --target; "
            f"write --details {max(len(named), top)}."
        )
    if name == "log-odds" and link == "sigmoid":
        name = "logit"
    return Question(tuple(named), top, other, name, details)


def ask(question: Question, logits: np.ndarray) -> list[Asked]:
    """The maps to compute for one image: the named classes, then the most probable ones."""
    order = [int(index) for index in (-logits).argsort(kind="stable")]
    if question.details:
        chosen = list(dict.fromkeys((*question.targets, *order)))[: question.details]
        return [Asked(one, other) for one in chosen for other in chosen if other != one]
    classes = dict.fromkeys((*question.targets, *order[: question.top]))
    if question.against is None:
        return [Asked(one, None) for one in classes]
    pairs = []
    for one in classes:
        other = question.against
        if other == -1:
            if len(order) < 2:
                continue
            other = order[1] if one == order[0] else order[0]
        if other != one:
            pairs.append(Asked(one, other))
    return pairs
