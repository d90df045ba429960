"""What pasting and exchanging backgrounds say about a class: one verdict for both probes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxattr.audit import statistics as st
from jaxattr.audit.finding import Severity
from jaxattr.audit.ledger import Ledger
from jaxattr.audit.paired import Paired, compare, share_interval
from jaxattr.audit.probes.store import Answered, answers

FLOOR = 2.5
"""Nats by which log p must rise more than after the better control to be reported: p times 12."""


class Verdict(NamedTuple):
    """One question, answered: how far pixels of a class carry it onto other images."""

    asked: Answered
    label: int
    rise: Paired
    """Of log p of the class."""
    over: tuple[Paired, ...]
    """How much more it rises than after each control."""
    turned: int
    recipients: int
    """Recipients, and those predicted as the class afterwards."""
    donors: int
    p_value: float
    """The larger of the controls' p-values: each must be beaten."""
    q_value: float
    tests: int

    @property
    def accepted(self) -> bool:
        """Whether the finding is certified."""
        return self.q_value <= st.LEVEL and self.margin >= FLOOR

    @property
    def margin(self) -> float:
        """Nats above the better control."""
        return min(one.mean for one in self.over)

    @property
    def share(self) -> float:
        """Of the recipients that are turned."""
        return self.turned / self.recipients

    @property
    def share_interval(self) -> tuple[float, float]:
        """95 % interval of `share`."""
        return share_interval(self.turned, self.recipients)

    @property
    def severity(self) -> Severity:
        """`high` when most recipients are turned, else `medium`."""
        return "high" if self.share > 0.5 else "medium"

    @property
    def power(self) -> str:
        """What so many donors and recipients could have shown."""
        needed = max(FLOOR, *(one.detectable for one in self.over))
        return (
            f"{self.donors} donors on {self.recipients} images find a rise of log p that is "
            f"{needed:.1f} larger than after the better control with 80 % power (one-sided level "
            f"1 %)."
        )


def verdicts(ledger: Ledger, probe: str, controls: tuple[str, str]) -> list[Verdict]:
    """Every question of one probe, tested.

    Each control is compared with the paste on the same recipient, donor by donor, by an exact
    sign-flip test of the mean difference. Benjamini-Hochberg over all questions.
    """
    asked = answers(ledger, probe)
    tested = [_test(one, controls) for one in asked if one.answer["before"]]
    q = st.q_values(np.array([one.p_value for one in tested]), len(asked))
    return [
        one._replace(q_value=float(value), tests=len(asked))
        for one, value in zip(tested, q, strict=True)
    ]


def _test(one: Answered, controls: tuple[str, str]) -> Verdict:
    answer = one.answer
    after, group = np.array(answer["after"]), np.array(answer["donors"])
    over = tuple(compare(after - np.array(answer[name]), group) for name in controls)
    return Verdict(
        asked=one,
        label=one.question["class"],
        rise=compare(after - np.array(answer["before"]), group),
        over=over,
        turned=int(np.sum(answer["turned"])),
        recipients=len(after),
        donors=len(np.unique(group)),
        p_value=max(part.p_value for part in over),
        q_value=1.0,
        tests=0,
    )
