"""Probes: what a ledger cannot answer alone, asked of the model again.

A ledger raises questions (does this patch, pasted onto other images, make them that class?); a
probe puts them to the model and keeps the answers beside the ledger. Findings read ledger and
answers, never the model, so that they can be found again without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxattr.audit.evidence.gather import read
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.ledger import LedgerView
from jaxattr.audit.probes import background, crops, deletion, pasting, pictures, rewriting
from jaxattr.audit.probes.store import Answered, Question, load, save
from jaxattr.vit import Model


class Subject(NamedTuple):
    """Whom a probe asks: the model, and the images behind the ledger."""

    model: Model
    analysis: Analysis
    root: Path
    """Folder that the ledger's files are relative to."""

    @property
    def ledger(self) -> LedgerView:
        """The ledger that the questions come from."""
        return self.analysis.ledger

    def image(self, index: int) -> np.ndarray:
        """The normalised image `[row, column, channel]` of a ledger index, read again.

        Raises:
            ImageError: it cannot be read any more.
        """
        file = self.ledger.rows([index], "file")[index]["file"]
        return read(self.root, file, self.model.preprocessing).image


class Probe(NamedTuple):
    """One kind of test on the model."""

    version: int
    """Raised when answers would change: answers of another version are asked for again."""
    questions: Callable[[Analysis], list[Question]]
    """What this ledger raises, as JSON values; a pure function, bounded whatever the ledger."""
    answer: Callable[[Subject, Question], dict[str, Any]]
    """What the model says, as JSON values."""


PROBES: dict[str, Probe] = {
    background.NAME: Probe(background.VERSION, background.questions, background.answer),
    pasting.NAME: Probe(pasting.VERSION, pasting.questions, pasting.answer),
    crops.NAME: Probe(crops.VERSION, crops.questions, crops.answer),
    deletion.NAME: Probe(deletion.VERSION, deletion.questions, deletion.answer),
    rewriting.NAME: Probe(rewriting.VERSION, rewriting.questions, rewriting.answer),
    # Its questions follow from the answers of the one before.
    pictures.NAME: Probe(pictures.VERSION, pictures.questions, pictures.answer),
}


class Open(NamedTuple):
    """A question without an answer yet."""

    name: str
    question: Question


def open_questions(analysis: Analysis, probes: dict[str, Probe] = PROBES) -> list[Open]:
    """What `ask` has still to ask of this ledger."""
    return [
        Open(name, question)
        for name, probe in probes.items()
        for question in _outstanding(analysis, name, probe)[1]
    ]


def ask(
    subject: Subject,
    probes: dict[str, Probe] = PROBES,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Put all open questions to the model; every answer is kept at once.

    Args:
        progress: called with 1 for each answer.

    Raises:
        ImageError: an image of the ledger cannot be read any more.
    """
    for name, probe in probes.items():
        answered, outstanding = _outstanding(subject.analysis, name, probe)
        save(subject.ledger, name, probe.version, answered, complete=not outstanding)
        for place, question in enumerate(outstanding, 1):
            answered.append(Answered(question, probe.answer(subject, question)))
            last = place == len(outstanding)
            save(subject.ledger, name, probe.version, answered, complete=last)
            progress(1)


def _outstanding(
    analysis: Analysis, name: str, probe: Probe
) -> tuple[list[Answered], list[Question]]:
    """Answers that still hold, and questions without one."""
    questions = json.loads(json.dumps(probe.questions(analysis)))
    kept = load(analysis.ledger, name)
    old = [] if kept is None or kept.version != probe.version else kept.answers
    answered = [one for one in old if one.question in questions]
    known = [one.question for one in answered]
    return answered, [question for question in questions if question not in known]
