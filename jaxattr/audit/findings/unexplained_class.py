"""Unexplained class: its maps are no better than their nulls, so they should not be read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.probes.store import answers
from jaxattr.audit.statistics import rates
from jaxattr.audit.statistics.faithfulness import NULLS, USEFUL, Verdict, judge
from jaxattr.data.labels import LabelTable

MAPS = ("conservative", "positive")
NULL = (
    f"covering the map's highest places takes {USEFUL} more of the class's probability than a "
    "random map does, and than the map of another image of the class"
)
NO_GAIN = "covering the map's highest places takes no more than covering by its nulls does"


class _Tested(NamedTuple):
    class_: int
    verdicts: tuple[Verdict, Verdict]
    """Of the conservative and the positive map."""
    q_values: tuple[float, float]
    images: tuple[int, ...]

    @property
    def failed(self) -> list[int]:
        """Maps that are shown useless, or that failed a test with power."""
        return [
            at
            for at, (verdict, q) in enumerate(zip(self.verdicts, self.q_values, strict=True))
            if q <= rates.LEVEL or verdict.failed
        ]

    @property
    def useless(self) -> bool:
        """Both maps are shown to be useless, with error control over all classes and maps."""
        return max(self.q_values) <= rates.LEVEL


def unexplained_class(analysis: Analysis) -> list[Finding]:
    """Classes with a map that finds the class's evidence no better than its nulls (`explained`).

    Two ways to be listed. *Shown useless*: a gain of `USEFUL` is rejected at `q <= 0.05`, over all
    classes and both maps. *Not shown better*: a one-sided test of the gain fails at 5 % though it
    had 80 % power at `LARGE`. A class whose test fails without power is not listed. Severity is
    `medium` where both maps are useless, `low` otherwise; where that is every class that was
    tested, it is one finding. The score is `USEFUL` minus the gain. Nothing without answers of
    the probe `deletion`.
    """
    tested = _tested(analysis)
    names = analysis.names
    if len(tested) > 1 and all(one.useless for one in tested):
        return [_all(tested)]
    return [_finding(names, one, len(tested)) for one in tested if one.failed]


def _tested(analysis: Analysis) -> list[_Tested]:
    asked = answers(analysis.ledger, "deletion")
    classes = sorted({one.question["label"] for one in asked})
    judged = []
    for class_ in classes:
        members = [one for one in asked if one.question["label"] == class_]
        table = {
            name: np.array([one.answer[name] for one in members], np.float64)
            for name in (*MAPS, *(f"donor_{name}" for name in MAPS), "random")
        }
        verdicts = [judge(table[name], table["random"], table[f"donor_{name}"]) for name in MAPS]
        judged.append((class_, verdicts, tuple(one.question["image"] for one in members)))
    p = np.array([one.p_useless for _, verdicts, _ in judged for one in verdicts], np.float64)
    q = rates.q_values(p, len(p)).reshape(-1, len(MAPS))
    return [
        _Tested(class_, (verdicts[0], verdicts[1]), (float(row[0]), float(row[1])), images)
        for (class_, verdicts, images), row in zip(judged, q, strict=True)
    ]


def _finding(names: LabelTable, one: _Tested, tests: int) -> Finding:
    name, failed = names.short(one.class_), one.failed
    both = len(failed) == len(MAPS)
    # The better map where both fail: what can be said for reading one of them at all.
    at = max(failed, key=lambda which: min(gain.value for gain in one.verdicts[which].gains))
    verdict = one.verdicts[at]
    gain = verdict.gains[verdict.least]
    other = MAPS[1 - at]
    what = "maps" if both else f"{MAPS[at]} maps"
    rejected = one.q_values[at] <= rates.LEVEL
    shown, than = ("no", "no better") if rejected else ("no significant", "not shown to be better")
    return Finding(
        kind="unexplained_class",
        severity="medium" if one.useless else "low",
        title=f"Do not read the {what} of {name}: they are {than} than their nulls",
        detail=(
            f"Covering the highest places of its {MAPS[at]} maps lowers the probability of {name} "
            f"by {abs(gain.value):.3f} {'less' if gain.value < 0 else 'more'} than "
            f"{NULLS[verdict.least]} does, which is {shown} gain "
            f"({gain.images} images)."
        ),
        classes=(one.class_,),
        images=one.images,
        score=USEFUL - gain.value,
        effect=gain.value,
        effect_name="probability of the class taken beyond what the nearest null takes",
        interval=gain.interval,
        p_value=verdict.p_useless if rejected else verdict.p_better,
        null=NULL if rejected else NO_GAIN,
        q_value=one.q_values[at] if rejected else None,
        power=f"{gain.images} images: a gain of {gain.detectable:.2f} is found with 80 % power.",
        action=(
            "Take no place from these maps as evidence."
            if both
            else f"Read the {other} maps of this class instead; those passed or are undecided."
        ),
        caveat=(
            "Absence of evidence: evidence spread over the whole image, or in parts that each "
            "suffice, cannot be removed by covering some of it."
        ),
        extra={
            "maps": [MAPS[which] for which in failed],
            "gains": {
                MAPS[which]: {
                    null: [each.value, *each.interval]
                    for null, each in zip(NULLS, one.verdicts[which].gains, strict=True)
                }
                for which in range(len(MAPS))
            },
            "p_better": [verdict.p_better for verdict in one.verdicts],
            "q_useless": list(one.q_values),
            "classes_tested": tests,
        },
    )


def _all(tested: list[_Tested]) -> Finding:
    gains = [gain.value for one in tested for verdict in one.verdicts for gain in verdict.gains]
    return Finding(
        kind="unexplained_class",
        severity="medium",
        title="Do not read any map of this model: they are no better than their nulls",
        detail=(
            f"In all {len(tested)} classes tested, covering the highest places of the {MAPS[0]} "
            f"and of the {MAPS[1]} maps takes no more of the class's probability than covering by "
            f"{NULLS[0]} or by {NULLS[1]} does; the largest gain is {max(gains):+.3f}."
        ),
        classes=tuple(one.class_ for one in tested),
        images=(),
        score=1.0,
        effect=max(gains),
        effect_name="largest gain of a map of a class over one of its nulls",
        p_value=max(verdict.p_useless for one in tested for verdict in one.verdicts),
        null=NULL,
        q_value=max(q for one in tested for q in one.q_values),
        action="Take no place from any map as evidence, and check that the model is trained.",
        caveat="Logits can be right where maps are not: findings that use no maps stand.",
        extra={"classes_tested": len(tested)},
    )
