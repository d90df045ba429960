"""Shortcut on the background: what surrounds the objects decides, more than they do."""

from __future__ import annotations

from jaxattr.audit.findings._shortcuts import Verdict, verdicts
from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.findings.shortcut_place import numbers, shortcut_place, verb
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.probes.store import answers
from jaxattr.data.labels import LabelTable

NULL = (
    "around objects of other classes, the surroundings of the class's images raise log p of the "
    "class no more than a third class's surroundings do, or than the class's own object in the "
    "other images' surroundings"
)


def shortcut_background(analysis: Analysis) -> list[Finding]:
    """Classes whose surroundings carry the model's decision, more than their objects.

    Candidates are classes whose maps lie at the border of the image more than others', the verdict
    comes from the background probe. It needs masks or boxes (`objects.object_box`), for a map or
    the middle of an image does not say where the object ends: where there are none, one finding of
    severity `low` names the candidates as not tested. Classes with a shortcut at a fixed place are
    left out: that place is part of the surroundings. Certified, with severity and score, as by
    `shortcut_place`.
    """
    found = verdicts(analysis, "background", ("third", "object"))
    accepted = [one for one in found if one.accepted]
    placed = {one.classes for one in shortcut_place(analysis)} if accepted else set()
    names = analysis.names
    certified = [_finding(one, names) for one in accepted if (one.label,) not in placed]
    asked = answers(analysis.ledger, "background")
    bare = [one.question["class"] for one in asked if not one.answer["boxes"]]
    return certified + ([_untested(bare, names)] if bare else [])


def _untested(labels: list[int], names: LabelTable) -> Finding:
    few = ", ".join(names.short(one) for one in labels)
    return Finding(
        kind="shortcut_background",
        severity="low",
        title=f"Whether the background decides was not tested: no boxes or masks ({few})",
        detail=(
            f"The evidence for {few} lies at the border of the image more than that of other "
            f"classes. Only with boxes or masks can the background be told from the object."
        ),
        classes=tuple(labels),
        images=(),
        score=0.0,
        action=(
            "Put boxes.csv (file, xmin, ymin, xmax, ymax) or masks/ beside the images and run the "
            "audit in a new folder, or look at where the maps of these classes lie."
        ),
        caveat="Large objects, and objects that lie at the border, look the same.",
    )


def _finding(one: Verdict, names: LabelTable) -> Finding:
    name = names.short(one.label)
    low, high = one.share_interval
    return Finding(
        kind="shortcut_background",
        severity=one.severity,
        title=f"The surroundings of {name} images {verb(one)} {name}",
        detail=(
            f"Put into the surroundings of {name} images, the objects of {one.recipients} images "
            f"of other classes were taken for {name} in {one.share:.0%} (95 % interval {low:.0%} "
            f"to {high:.0%}). The log-probability of {name} rose by {one.rise.mean:.1f}: "
            f"{one.over[0].mean:.1f} more than in other classes' surroundings, and "
            f"{one.over[1].mean:.1f} more than when {name} itself was put into the other images."
        ),
        classes=(one.label,),
        images=tuple(dict.fromkeys(one.asked.answer["donors"])),
        score=one.margin,
        effect=one.share,
        effect_name="share of other classes' objects taken for this class in its surroundings",
        interval=(low, high),
        p_value=one.p_value,
        null=NULL,
        q_value=one.q_value,
        power=f"{one.power} Classes whose maps do not lie at the border were not tested.",
        action=(
            f"Look at what surrounds {name} in these images. Collect images of {name} in other "
            f"surroundings, or exchange the background in training."
        ),
        caveat=(
            f"Boxes or masks that leave out a part of {name} look the same; so does a background "
            f"that is the best evidence there is, because the object is small or hidden."
        ),
        extra={
            "map_statistic": one.asked.question["statistic"],
            **numbers(one, ("third", "object")),
        },
    )
