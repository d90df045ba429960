"""Probes: questions of a ledger, answers kept beside it, asked once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from ledgers import make_ledger, make_rows

from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.probes import Probe, Subject, ask, open_questions
from jaxattr.audit.probes.store import answers, load
from jaxattr.errors import LedgerError
from jaxattr.vit import Model


@pytest.fixture
def subject(tmp_path) -> Subject:
    ledger = make_ledger(tmp_path / "ledger", make_rows(8))
    return Subject(
        cast(Model, None), Analysis(ledger), Path("nowhere")
    )  # no probe here asks the model


def counting(count: int, log: list[int], *, version: int = 1) -> Probe:
    def answer(subject: Subject, question: dict[str, Any]) -> dict[str, Any]:
        log.append(question["number"])
        if len(log) == 4:
            raise KeyboardInterrupt
        return {"square": question["number"] ** 2}

    return Probe(
        version, lambda ledger: [{"number": i, "at": (i, i)} for i in range(count)], answer
    )


def test_every_question_is_asked_once_and_answers_stay(subject) -> None:
    log: list[int] = []
    done: list[int] = []
    probes = {"squares": counting(3, log)}
    assert [one.question["number"] for one in open_questions(Analysis(subject.ledger), probes)] == [
        0,
        1,
        2,
    ]
    ask(subject, probes, progress=done.append)
    ask(subject, probes, progress=done.append)
    assert log == [0, 1, 2]
    assert done == [1, 1, 1]
    assert open_questions(Analysis(subject.ledger), probes) == []
    kept = answers(subject.ledger, "squares")
    assert [(one.question["at"], one.answer["square"]) for one in kept] == [
        ([0, 0], 0),
        ([1, 1], 1),
        ([2, 2], 4),
    ]


def test_a_stopped_run_keeps_its_answers_and_shows_none(subject) -> None:
    log: list[int] = []
    probes = {"squares": counting(6, log)}
    with pytest.raises(KeyboardInterrupt):
        ask(subject, probes)
    assert answers(subject.ledger, "squares") == []
    assert len(open_questions(Analysis(subject.ledger), probes)) == 3
    ask(subject, probes)
    assert log == [0, 1, 2, 3, 3, 4, 5]
    assert len(answers(subject.ledger, "squares")) == 6


def test_answers_of_another_version_are_asked_for_again(subject) -> None:
    log: list[int] = []
    ask(subject, {"squares": counting(1, log)})
    ask(subject, {"squares": counting(1, log, version=2)})
    assert log == [0, 0]


def test_a_broken_file_is_one_line(subject) -> None:
    ask(subject, {"squares": counting(1, [])})
    (subject.ledger.folder / "probes" / "squares.json").write_text("{")
    with pytest.raises(LedgerError, match=r"probes/squares\.json .* delete that file"):
        load(subject.ledger, "squares")
