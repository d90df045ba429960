"""Shortcut at a fixed place: pixels there are enough for the class, more than its objects are."""

from __future__ import annotations

from jaxattr.audit.findings._shortcuts import Verdict, verdicts
from jaxattr.audit.findings.finding import Finding
from jaxattr.audit.inference import places
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.extent import Extent
from jaxattr.audit.probes.store import load
from jaxattr.data.labels import LabelTable

NULL = (
    "pasted onto images of other classes, the pixels at that place raise log p of the class no "
    "more than the strongest window elsewhere in the class's own images does, or than the same "
    "place of a third class's images"
)
SHARED_NULL = (
    "pasted onto images of other classes, the pixels that images of the class share at that place "
    "raise log p of the class no more than the same pixels of a third class's images"
)


def shortcut_place(analysis: Analysis) -> list[Finding]:
    """Places of a class's images that make the model say the class wherever they are pasted.

    Candidates come from the maps (`places.candidates`), the verdict from the pasting probe: without
    its answers nothing is found. Certified at `q <= 0.05` over all candidates, and a rise of log p
    above that of each control: of 3.5 nats for windows of single images, or of log 2 for the pixels
    that these share. Where both are certified, windows are told. Severity is `high` when most
    images are turned, else `medium`; the score is the rise above that of the better control, in
    nats. Where no class could be tested, one finding of severity `low` says so.
    """
    kept = load(analysis.ledger, "pasting")
    if kept is None or not kept.complete:
        return []
    of = analysis.places
    if not of.tested:
        return [_untested(of, analysis.extent)] if len(of.present) else []
    names = analysis.names
    found: dict[int, Verdict] = {}
    for one in verdicts(analysis, "pasting", ("elsewhere", "third")):
        if one.accepted:
            found.setdefault(one.label, one)  # windows come first
    return [_finding(one, of, names) for one in found.values()]


def _finding(one: Verdict, of: places.Scan, names: LabelTable) -> Finding:
    question = one.asked.question
    name, where = names.short(one.label), whereabouts(question["box"], of.grid)
    low, high = one.share_interval
    return Finding(
        kind="shortcut_place",
        severity=one.severity,
        title=f"Pixels at the {where} of {name} images {verb(one)} {name}",
        detail=(
            f"{_shared(one)}Pasted onto {one.recipients} images of other classes, they turned "
            f"{one.share:.0%} of them to {name} (95 % interval {low:.0%} to {high:.0%}). The "
            f"log-probability of {name} rose by {one.rise.mean:.1f}: {_more(one, name)}"
        ),
        classes=(one.label,),
        images=tuple(question["images"]),
        score=one.margin,
        effect=one.share,
        effect_name="share of images of other classes that the pasted pixels turn to this class",
        interval=(low, high),
        p_value=one.p_value,
        null=SHARED_NULL if one.shared else NULL,
        q_value=one.q_value,
        power=f"{one.power} {_untested_part(of)}",
        action=(
            f"Look at the {where} of these images. Crop or paint over what does not belong to "
            f"{name}, or collect images without it, and train again."
        ),
        caveat=(
            f"A part of {name} that lies at this place in most images, "
            + ("always in one colour, " if one.shared else "")
            + "and that the model needs more than the rest, looks the same."
        ),
        extra={
            "localised": True,
            "box": question["box"],
            "place": where,
            "map_statistic": question["statistic"],
            **numbers(one, ("third",) if one.shared else ("elsewhere", "third")),
            "shared": one.shared,
        },
    )


def _shared(one: Verdict) -> str:
    if not one.shared:
        return ""
    return (
        f"{one.donors} images share {one.shared:.0%} of the pixels there (they differ at most a "
        f"quarter as much as images of other classes). "
    )


def _more(one: Verdict, name: str) -> str:
    if one.shared:
        return f"{one.over[0].mean:.1f} more than with the same pixels of other classes' images."
    return (
        f"{one.over[0].mean:.1f} more than with the strongest windows from elsewhere in images of "
        f"{name}, {one.over[1].mean:.1f} more than with the same place of other classes' images."
    )


def verb(one: Verdict) -> str:
    """What the pixels do, in words: most images are turned, or they are not."""
    return "make the model say" if one.share > 0.5 else "push the model towards"


def numbers(one: Verdict, controls: tuple[str, ...]) -> dict[str, object]:
    """The numbers behind a verdict, for `Finding.extra`."""
    return {
        "rise": one.rise.mean,
        "rise_interval": list(one.rise.interval),
        **{f"rise_over_{name}": part.mean for name, part in zip(controls, one.over, strict=True)},
        "recipients": one.recipients,
        "donors": one.donors,
        "tests": one.tests,
    }


def whereabouts(box: list[int], grid: tuple[int, int]) -> str:
    """The place in words, by the thirds of the image that the box's middle lies in."""
    row = min(int(3 * (box[0] + box[2]) / 2 / grid[0]), 2)
    column = min(int(3 * (box[1] + box[3]) / 2 / grid[1]), 2)
    words = [("top", "", "bottom")[row], ("left", "", "right")[column]]
    return " ".join(filter(None, words)) or "middle"


def _untested_part(of: places.Scan) -> str:
    left = len(of.present) - len(of.classes)
    if not left:
        return "Every class had enough images for that."
    return (
        f"{left:,} of {len(of.present):,} classes have fewer than {places.CLASS_IMAGES} audited "
        f"images and were not tested."
    )


def _untested(of: places.Scan, part: Extent) -> Finding:
    return Finding(
        kind="shortcut_place",
        severity="low",
        title=f"Shortcuts were not tested: too few {'audited ' * part.partial}images",
        detail=(
            f"{len(of.classes):,} of {len(of.present):,} classes have {places.CLASS_IMAGES} images "
            f"with maps; {places.CLASSES} classes must have that many."
        ),
        classes=tuple(of.present.tolist()),
        images=(),
        score=0.0,
        action=(
            "Audit more images of each class: with a larger --limit, or without one."
            if part.limited
            else "Audit a folder with more images in each class."
        ),
        caveat="Nothing was found because nothing was looked at.",
    )
