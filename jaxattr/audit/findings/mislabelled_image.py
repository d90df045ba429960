"""Mislabelled image: the model contradicts the label, and the map shows where."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from jaxattr.audit.findings.finding import Finding, Severity
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.extent import Extent
from jaxattr.audit.inference.pairs import Pair, testable
from jaxattr.audit.inference.posterior import Posterior
from jaxattr.audit.inference.sharpening import folder_rates
from jaxattr.audit.ledger import Columns
from jaxattr.audit.statistics import localisation, rates
from jaxattr.data.labels import LabelTable

LISTED = 10_000
"""Findings returned; how many more there were is in each one's `extra`."""
SURE = float(np.log(19))
"""Log-odds of a wrong label, 95 : 5, for `medium`."""
FOREIGN = 0.005
"""Least share of images that is expected to be of classes that the folder lacks, for ranking."""
_TINY = 1e-30
_READ = 512

CAVEAT = (
    "Wrong where the picture shows both, or where the model errs: in a clean folder every "
    "contradiction is the model's own mistake."
)


class Suspicion(NamedTuple):
    """What speaks against the label of every readable image."""

    log_odds: Float[np.ndarray, " image"]
    """Of a wrong label against a right one; ranks images."""
    margin: Float[np.ndarray, " image"]
    """`(l_rival - l_label) / T` of the model's own logits."""
    rival: Int[np.ndarray, " image"]
    """Model output with the highest logit but the label's."""
    outside: Float[np.ndarray, " image"]
    """Share of the log-odds' wrong part that says: of no class that was audited."""


class Suspect(NamedTuple):
    """An image whose label the model contradicts, or that an accepted pair flags."""

    position: int
    log_odds: float
    margin: float
    rival: int
    known: int
    """The most probable audited class but the label, by the combined posterior; or -1."""
    pair: Pair | None
    membership: float


def mislabelled_image(analysis: Analysis) -> list[Finding]:
    """Images whose label is contradicted, ranked by the odds of a wrong label (`suspicion`).

    No map ranked such images better. The map is evidence to be looked at: the box holding most
    of the negative part of the pair map, and whether that is more than its own shuffled cells
    give (`localisation.localise`).

    Severity is `high` only inside an accepted contaminated pair and more likely from its source
    than not. Outside pairs an image is ranked, not certified: `medium` where the odds are 95 : 5
    or more, else `low`, and no q-value. Whether the evidence is localised is said and does not
    count: it passes for right labels as often, and would hide known errors
    (`docs/notebook/audit.md`).
    """
    of = analysis.posterior
    ranked = analysis.remember(suspects)
    listed = ranked[:LISTED]
    maps = _maps(analysis, [suspect.position for suspect in listed])
    found = localisation.localise(maps, analysis.ledger.receipt.grid)
    names, part = analysis.names, analysis.extent
    counts = {"of": len(ranked), "omitted": len(ranked) - len(listed)}
    return [
        _finding(of, names, part, suspect, found, i, {"rank": i + 1, **counts})
        for i, suspect in enumerate(listed)
    ]


def suspicion(analysis: Analysis) -> Suspicion:
    """Log-odds that a label a is wrong, from the whole folder's evidence.

    `log(ε/K + Σ_b E[γ_ab] p_b + φ F/(C-K)) - log((1-ε) p_a)`: uniform noise, sources of folder a
    by the posterior mean of their rates (`rates.expected_rates`), and classes that the folder
    lacks. p is the sharpened posterior. F is the odds of these C - K outputs against the K present,
    in the model's own softmax over all outputs at its temperature; φ is their share
    (`rates.foreign_share`), and at least `FOREIGN`.
    """
    of = analysis.sharpened
    classes, noise = max(len(of.classes), 1), of.final.noise
    moved = (folder_rates(of)[0] * of.rival_probability).sum(axis=1, dtype=np.float64)
    outside, margin, rival = _outside(analysis, of)
    wrong = noise / classes + moved + outside
    right = (1 - noise) * np.maximum(of.label_probability.astype(np.float64), _TINY)
    return Suspicion(np.log(wrong) - np.log(right), margin, rival, outside / wrong)


def _outside(analysis: Analysis, of: Posterior) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`φ F/(C-K)`, the calibrated margin and the rival of every image."""
    others = np.setdiff1d(np.arange(len(analysis.ledger.receipt.labels)), of.classes)

    def read(shard: Columns) -> tuple[np.ndarray, ...]:
        logits, rows = shard["logits"].astype(np.float64), np.arange(len(shard["label"]))
        margin = logits[rows, shard["rival"]] - logits[rows, shard["label"]]
        odds = np.zeros(len(rows))
        if len(others):
            scaled = logits / of.model.temperature
            inside = np.logaddexp.reduce(scaled[:, of.classes], axis=1)
            odds = np.exp(np.minimum(np.logaddexp.reduce(scaled[:, others], axis=1) - inside, 300))
        return odds / max(len(others), 1), margin / of.model.temperature, shard["rival"]

    columns = list(analysis.ledger.each(read, "logits", "label", "rival", rows=_READ))
    if not columns:
        return np.zeros(0), np.zeros(0), np.zeros(0, np.int32)
    odds, margin, rival = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return max(FOREIGN, rates.foreign_share(odds * len(of.classes))) * odds, margin, rival


def suspects(analysis: Analysis) -> list[Suspect]:
    """Contradicted or flagged images of classes that pass the gate: flagged first, by score.

    Contradicted is a label that is not the model's best output, or not the best class of the
    combined posterior.
    """
    of, seen = analysis.posterior, analysis.remember(suspicion)
    flagged: dict[int, tuple[Pair, float]] = {}
    for pair in analysis.pairs.accepted:
        for position, membership in zip(pair.members, pair.memberships, strict=True):
            if membership > flagged.get(position, (pair, 0.0))[1]:
                flagged[position] = (pair, membership)
    best = of.rival_probability[:, :1].max(axis=1, initial=0.0)
    listed = (seen.margin > 0) | (best > of.label_probability)
    listed &= testable(of)[of.label]
    listed[list(flagged)] = True
    found = []
    for position in np.flatnonzero(listed).tolist():
        pair, membership = flagged.get(position, (None, 0.0))
        known = int(of.classes[of.rival[position, 0]]) if of.rival.shape[1] else -1
        odds, margin = float(seen.log_odds[position]), float(seen.margin[position])
        rival = int(seen.rival[position])
        found.append(Suspect(position, odds, margin, rival, known, pair, membership))
    return sorted(found, key=lambda one: (one.pair is None, -one.log_odds, one.position))


def _maps(analysis: Analysis, positions: list[int]) -> np.ndarray:
    """The packed pair maps of some images, in the given order."""
    cells = analysis.ledger.receipt.grid[0] * analysis.ledger.receipt.grid[1]
    result, start = np.zeros((len(positions), cells), np.int8), 0
    if not positions:
        return result
    order = np.argsort(positions)
    ascending = np.asarray(positions)[order]
    for shard in analysis.ledger.iterate("map_pair", rows=_READ):
        end = start + len(shard["map_pair"])
        first, last = np.searchsorted(ascending, (start, end))
        result[order[first:last]] = shard["map_pair"][ascending[first:last] - start]
        start = end
    return result


def _finding(
    of: Posterior,
    names: LabelTable,
    part: Extent,
    suspect: Suspect,
    found: localisation.Localised,
    i: int,
    counts: dict[str, int],
) -> Finding:
    label = int(of.classes[of.label[suspect.position]])
    pair = suspect.pair
    other = int(of.classes[pair.source]) if pair else suspect.rival
    localised = bool(found.localised[i])
    ranked: Severity = "medium" if suspect.log_odds >= SURE else "low"
    first, second = names.short(label), names.short(other)
    extra: dict[str, Any] = {
        **counts,
        "certified": pair is not None,
        "membership": suspect.membership if pair else None,
        "rival": suspect.rival,
        "rival_audited": part.standing(suspect.rival) == "audited",
        "rival_in_folder": _in_folder(part, suspect.rival),
        "best_audited_class": suspect.known if suspect.known >= 0 else None,
        "margin": suspect.margin,
        "localised": localised,
        "box": [int(value) for value in found.box[i]],
        "share": float(found.share[i]),
        "expected": float(found.expected[i]),
        "localisation_p_value": float(found.p_value[i]),
        "localisation_gate": localisation.GATE,
        "localisation_null": localisation.NULL,
    }
    return Finding(
        kind="mislabelled_image",
        severity="high" if pair else ranked,
        title=f"Labelled {first}, looks like {second}",
        detail=" ".join([_status(names, part, suspect, first), _where(extra)]),
        classes=(label, other),
        images=(int(of.image[suspect.position]),),
        score=suspect.log_odds,
        effect=suspect.membership if pair else float(special.expit(suspect.log_odds)),
        effect_name=(
            "posterior probability of coming from the pair's source"
            if pair
            else "probability that the label is wrong"
        ),
        q_value=pair.q_value if pair else None,
        null="of the pair: no image of the source class carries this label" if pair else "",
        action=_advice(part, other, second),
        caveat=CAVEAT,
        extra=extra,
    )


def _in_folder(part: Extent, class_: int) -> bool | None:
    """Whether the whole folder has images of a class; `None` where the ledger does not say."""
    standing = part.standing(class_)
    if standing == "left out" and part.of_classes is None:
        return None
    return standing != "absent"


def _advice(part: Extent, other: int, second: str) -> str:
    """What to do, which is never to remove an image for what a part of the folder lacks."""
    standing = part.standing(other)
    if standing == "absent" and not part.partial:
        return (
            f"Look at it. No image of this folder is labelled {second}: if it shows that, give it "
            f"this label, or remove it."
        )
    if standing == "absent":
        return (
            f"Look at it. No image of the folder is labelled {second}: if it shows that, its label "
            f"is wrong."
        )
    if standing == "left out" and part.of_classes is None:
        return (
            f"Look at it. {second} is not among the sampled classes: if it shows that, its label "
            f"is wrong, and an audit of the whole folder says whether there is a better one."
        )
    if standing == "left out":
        why = "is not among the sampled classes" if part.partial else "has no readable image here"
        return f"Look at it. {second} {why}, but is in the folder: rename it to that if it is one."
    if part.partial:
        return (
            f"Look at it. Rename it to {second} if it is one; if it is neither, look for its class "
            f"in the whole folder, of which this is a part."
        )
    return (
        f"Look at it. Rename it to {second} if it is one; if it is neither, rename it to what it "
        f"is, or remove it."
    )


def _status(names: LabelTable, part: Extent, suspect: Suspect, first: str) -> str:
    rival = names.short(suspect.rival)
    text = f"The model puts {rival} against {first} at {_odds(special.expit(suspect.margin))}"
    if suspect.margin <= 0:
        text += ", but its logits and features together do not"
    elif part.standing(suspect.rival) != "audited" and suspect.known >= 0:
        which = "the sampled" if part.partial else "this folder's"
        text += f"; of {which} classes {names.short(suspect.known)} comes next"
    if suspect.pair is None:
        return f"{text}. Ranked only: no certified pair contains this image."
    return (
        f"{text}. Inside a certified contaminated pair: {suspect.membership:.0%} likely to be from "
        f"its source."
    )


def _odds(probability: float) -> str:
    percent = 100 * probability
    return f"{percent:.0f} : {100 - percent:.0f}" if percent < 99.5 else "more than 99 : 1"


def _where(extra: dict[str, Any]) -> str:
    if extra["localised"]:
        return (
            f"The evidence against the label is localised: {extra['share']:.0%} of it lies in "
            f"{extra['expected']:.0%} of the image."
        )
    return "The evidence against the label is not localised: its map is no denser than chance."
