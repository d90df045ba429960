"""Contaminated pair a ← b: the folder of class a holds images of class b."""

from __future__ import annotations

from jaxattr.audit.findings.finding import Finding, Severity
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.extent import Extent
from jaxattr.audit.inference.pairs import Pair
from jaxattr.audit.inference.posterior import Posterior
from jaxattr.audit.statistics import rates
from jaxattr.data.labels import LabelTable

NULL = "no image of the source class carries this label, and wrong labels are uniform (γ = 0)"

CAVEAT = (
    "Wrong where the two classes overlap by their definition, where an image shows both, or where "
    "the model and the features both mistake a kind of image of the label for the source."
)


def contaminated_pair(analysis: Analysis) -> list[Finding]:
    """Ordered class pairs whose contamination is certified, `q <= 0.05` and `γ̂ >= 1 %`.

    Severity is `high` when the whole profile interval of γ lies above the floor of 1 %, else
    `medium`. The score is Λ, in nats.
    """
    of, found = analysis.posterior, analysis.pairs
    names, part = analysis.names, analysis.extent
    return [_finding(of, names, part, pair, found.tests) for pair in found.accepted]


def _finding(of: Posterior, names: LabelTable, part: Extent, pair: Pair, tests: int) -> Finding:
    label, source = int(of.classes[pair.label]), int(of.classes[pair.source])
    low, high = pair.interval
    severity: Severity = "high" if low >= rates.FLOOR else "medium"
    first, second = names.short(label), names.short(source)
    flagged = len(pair.members)
    audited = "audited " if part.partial else ""
    detail = (
        f"About {pair.rate:.1%} of the {audited}images of {second} carry the label {first} "
        f"(95 % interval {low:.1%} to {high:.1%}). {flagged} of the "
        f"{int(of.counts[pair.label]):,} {audited}images labelled {first} are more likely "
        f"{second} than not."
    )
    caveat = CAVEAT
    if not of.discriminant:
        caveat += f" Tested with the model's posterior alone: some classes have too few {audited}"
        caveat += "images."
    if part.partial and part.left_out:
        caveat += " Classes that were left out could not be named as the source."
    return Finding(
        kind="contaminated_pair",
        severity=severity,
        title=f"Images of {second} in the folder of {first}: {flagged} found",
        detail=detail,
        classes=(label, source),
        images=tuple(int(of.image[position]) for position in pair.members),
        score=pair.statistic,
        effect=pair.rate,
        effect_name="share of the source class's images that carry this label",
        interval=pair.interval,
        p_value=pair.p_value,
        null=NULL,
        q_value=pair.q_value,
        power=pair.power,
        action="Look at these images, the first ones first; give those that show "
        f"{second} its label, "
        + (
            "and look for the class of the others in the whole folder, of which this is a part."
            if part.partial
            else "and those that show neither their own label, or remove them."
        ),
        caveat=caveat,
        extra={
            "tests": tests,
            "memberships": list(pair.memberships),
            "posterior": "model x discriminant" if of.discriminant else "model",
            "noise": of.final.noise,
            "label_images": int(of.counts[pair.label]),
            "source_images": int(of.counts[pair.source]),
        },
    )
