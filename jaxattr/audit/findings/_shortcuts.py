"""What pasting and exchanging backgrounds say about a class: one verdict for both probes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxattr.audit.findings.finding import Severity
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.probes.store import Answered, answers
from jaxattr.audit.statistics import rates
from jaxattr.audit.statistics.paired import Paired, compare, share_interval

FLOORS = {"pasting": 3.5, "background": 2.5}
"""Nats by which log p must rise more than after the better control to be reported: p times 33, 12.
Natural places reach 3.1 (`docs/notebook/audit.md`)."""
SHARED_FLOOR = float(np.log(2))
"""The same for pixels that a class's images share: p times 2. Objects seldom share any."""


class Verdict(NamedTuple):
    """One question, answered: how far pixels of a class carry it onto other images."""

    asked: Answered
    probe: str
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
    shared: float = 0.0
    """Share of the box, where only pixels were pasted that the donors share; else 0."""

    @property
    def floor(self) -> float:
        """Nats that `margin` must reach."""
        return SHARED_FLOOR if self.shared else FLOORS[self.probe]

    @property
    def accepted(self) -> bool:
        """Whether the finding is certified."""
        return self.q_value <= rates.LEVEL and self.margin >= self.floor

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
        needed = max(self.floor, *(one.detectable for one in self.over))
        who = "What the donors share" if self.shared else f"{self.donors} donors"
        finds = "finds" if self.shared else "find"
        return (
            f"{who} on {self.recipients} images {finds} a rise of log p that is "
            f"{needed:.1f} larger than after the better control with 80 % power (one-sided level "
            f"1 %)."
        )


def verdicts(analysis: Analysis, probe: str, controls: tuple[str, str]) -> list[Verdict]:
    """Every question of one probe, tested.

    Each control is compared with the paste on the same recipient, donor by donor, by an exact
    sign-flip test of the mean difference. Where the donors share pixels these are a test of their
    own, after the other, recipient by recipient. Benjamini-Hochberg over all questions, twice where
    both tests may be made.
    """
    asked = answers(analysis.ledger, probe)
    tested = [_test(one, probe, controls) for one in asked if one.answer["before"]]
    shared = [one for one in asked if one.answer.get("shared", {}).get("before")]
    tested += [_test_shared(one, probe) for one in shared]
    tests = sum(1 + ("shared" in one.answer) for one in asked)
    q = rates.q_values(np.array([one.p_value for one in tested]), tests)
    return [
        one._replace(q_value=float(value), tests=tests)
        for one, value in zip(tested, q, strict=True)
    ]


def _test(one: Answered, probe: str, controls: tuple[str, str]) -> Verdict:
    answer = one.answer
    after, group = np.array(answer["after"]), np.array(answer["donors"])
    over = tuple(compare(after - np.array(answer[name]), group) for name in controls)
    return Verdict(
        asked=one,
        probe=probe,
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


def _test_shared(one: Answered, probe: str) -> Verdict:
    answer = {name: np.array(values) for name, values in one.answer["shared"].items()}
    # One patch for all: what differs is the recipients.
    each = np.arange(len(answer["after"]))
    over = compare(answer["after"] - answer["third"], each)
    return Verdict(
        asked=one,
        probe=probe,
        label=one.question["class"],
        rise=compare(answer["after"] - answer["before"], each),
        over=(over,),
        turned=int(answer["turned"].sum()),
        recipients=len(each),
        donors=len(one.question["shared"]["donors"]),
        p_value=over.p_value,
        q_value=1.0,
        tests=0,
        shared=float(answer["share"]),
    )
