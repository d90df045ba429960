"""Answers of probes on disk, one small JSON file a probe beside the ledger's shards."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from jaxattr.audit.ledger import LedgerView
from jaxattr.data.writing import replacing
from jaxattr.errors import LedgerError

Question = dict[str, Any]


class Answered(NamedTuple):
    """A question and what the model said."""

    question: Question
    answer: dict[str, Any]


class Answers(NamedTuple):
    """What one probe has brought so far."""

    version: int
    complete: bool
    """Whether every question was answered; else the run was stopped."""
    answers: list[Answered]


def load(ledger: LedgerView, name: str) -> Answers | None:
    """The answers of a probe; none when it was never run on this ledger.

    Raises:
        LedgerError: the file is not what `save` writes.
    """
    path = ledger.folder / "probes" / f"{name}.json"
    if not path.exists():
        return None
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        answers = [Answered(one["question"], one["answer"]) for one in entries["answers"]]
        return Answers(entries["version"], entries["complete"], answers)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            f"probes/{name}.json in {ledger.folder} cannot be read; delete that file and run the "
            f"same command again."
        ) from error


def save(
    ledger: LedgerView, name: str, version: int, answers: list[Answered], *, complete: bool
) -> None:
    """Write the answers of a probe: whole or not at all."""
    path = ledger.folder / "probes" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = {
        "version": version,
        "complete": complete,
        "answers": [one._asdict() for one in answers],
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def answers(ledger: LedgerView, name: str) -> list[Answered]:
    """The answers of a probe that was run to its end; none of one that was not."""
    kept = load(ledger, name)
    return kept.answers if kept is not None and kept.complete else []
