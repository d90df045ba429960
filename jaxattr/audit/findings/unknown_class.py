"""Unknown class: the model does not know it, so nothing else is said about it."""

from __future__ import annotations

import numpy as np
from scipy import stats

from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.extent import Extent
from jaxattr.audit.inference.pairs import testable
from jaxattr.audit.inference.posterior import Posterior
from jaxattr.audit.statistics import rates
from jaxattr.data.labels import LabelTable


def unknown_class(analysis: Analysis) -> list[Finding]:
    """Classes whose folder the model hardly recognises (`rates.known_classes`).

    One finding for all when the calibrated log-loss is that of guessing: then this model, or these
    labels, can say nothing about the folder, or there are too few images to tell. Severity is
    always `low`: it is a limit of the audit.
    """
    of = analysis.posterior
    if len(of.classes) > 1 and not rates.knows_anything(of.model.log_loss, len(of.classes)):
        return [_all(of, analysis.extent)]
    names, sizes = analysis.names, dict(analysis.ledger.receipt.sizes)
    refused = np.flatnonzero(~testable(of)) if len(of.classes) > 1 else []
    return [_one(of, names, int(position), sizes) for position in refused]


def _all(of: Posterior, part: Extent) -> Finding:
    total, correct = int(of.counts.sum()), int(of.correct.sum())
    shown = rates.can_tell(correct, total, len(of.classes))
    few = (
        f"{total:,} images are too few to tell whether the model knows these classes: labels were "
        f"not tested"
    )
    found = (
        f"On these {total:,} images the model does no better than guessing: labels were not tested"
    )
    return Finding(
        kind="unknown_class",
        severity="low",
        title=found if shown else few,
        detail=(
            f"It ranks the label first for {correct:,} of {total:,}, and its calibrated log-loss "
            f"on the labels is {of.model.log_loss:.2f} nats; guessing among {len(of.classes):,} "
            f"classes gives {np.log(len(of.classes)):.2f}."
        ),
        classes=tuple(int(one) for one in of.classes),
        images=(),
        score=1.0,
        effect=of.model.log_loss / float(np.log(len(of.classes))),
        effect_name="calibrated log-loss, as a share of the loss of guessing",
        action="Check that the model was trained on these classes and that the labels are right."
        if shown
        else "Audit more images of each class.",
        caveat="It says nothing about the labels: a model of these classes may find much."
        + " So may this one, given more images." * (part.partial or not shown),
    )


def _one(of: Posterior, names: LabelTable, position: int, sizes: dict[int, int]) -> Finding:
    class_, count = int(of.classes[position]), int(of.counts[position])
    correct, everything = int(of.correct[position]), sizes.get(class_, 0)
    folder = f" audited, of {everything:,} in the folder" if everything > count else ""
    interval = stats.binomtest(correct, count).proportion_ci(0.95, "exact")
    return Finding(
        kind="unknown_class",
        severity="low",
        title=f"This model does not know {names.short(class_)}: it was not tested",
        detail=f"Among the classes audited it ranks the label first for {correct} of {count:,} "
        f"images{folder}.",
        classes=(class_,),
        images=(),
        score=1 - correct / count,
        effect=correct / count,
        effect_name="recall of the label among the classes audited",
        interval=(float(interval.low), float(interval.high)),
        action="Look at the folder, and check that its name means what the model means by it.",
        caveat="Either most of what was audited is something else, or the model never learned the "
        "class.",
    )
