"""Mislabelled image: the model contradicts the label, and the map shows where."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxattr.audit import localisation
from jaxattr.audit.finding import Finding, Severity
from jaxattr.audit.findings.contaminated_pair import Pair, pair_tests, testable
from jaxattr.audit.ledger import Ledger
from jaxattr.audit.posterior import Posterior, once, posterior
from jaxattr.labels import LabelTable

LISTED = 10_000
"""Findings returned; how many more there were is in each one's `extra`."""
SURE = float(np.log(19))
"""Calibrated log-odds of rival against label, 95 : 5, for `medium`."""

CAVEAT = (
    "Wrong where the picture shows both, or where the model errs: in a clean folder every "
    "contradiction is the model's own mistake."
)


class Suspect(NamedTuple):
    """An image whose label the model contradicts, or that an accepted pair flags."""

    position: int
    log_odds: float
    rival: int
    """Model output with the highest logit but the label's."""
    pair: Pair | None
    membership: float


def mislabelled_image(ledger: Ledger) -> list[Finding]:
    """Images whose label the model contradicts, ranked by calibrated log-odds.

    The score is `(l_rival - l_label) / T`, the logit margin at the fitted temperature: no map and
    no feature ranked such images better. The map is evidence to be looked at: the box holding most
    of the negative part of the pair map, and whether that is more than its own shuffled cells
    give (`localisation.localise`).

    Severity is `high` only inside an accepted contaminated pair and more likely from its source
    than not. Outside pairs an image is ranked, not certified: `medium` at odds of 95 : 5 or more,
    else `low`, and no q-value. Whether the evidence is localised is said and does not count: it
    passes for right labels as often, and would hide known errors (`docs/audit.md`).
    """
    of = posterior(ledger)
    ranked = suspects(ledger)
    listed = ranked[:LISTED]
    maps = _maps(ledger, [suspect.position for suspect in listed])
    found = localisation.localise(maps, ledger.receipt.grid)
    names = LabelTable(ledger.receipt.labels)
    counts = {"of": len(ranked), "omitted": len(ranked) - len(listed)}
    return [
        _finding(of, names, suspect, found, i, {"rank": i + 1, **counts})
        for i, suspect in enumerate(listed)
    ]


@once
def suspects(ledger: Ledger) -> list[Suspect]:
    """Contradicted or flagged images of classes that pass the gate: flagged first, by score."""
    of = posterior(ledger)
    known = testable(of)
    flagged: dict[int, tuple[Pair, float]] = {}
    for pair in pair_tests(ledger).accepted:
        for position, membership in zip(pair.members, pair.memberships, strict=True):
            if membership > flagged.get(position, (pair, 0.0))[1]:
                flagged[position] = (pair, membership)
    found, start = [], 0
    for shard in ledger.iterate("logits", "label", "rival"):
        rows = np.arange(len(shard["label"]))
        logits = shard["logits"].astype(np.float64)
        margin = logits[rows, shard["rival"]] - logits[rows, shard["label"]]
        for row in rows:
            position = start + int(row)
            if position in flagged or (margin[row] > 0 and known[of.label[position]]):
                pair, membership = flagged.get(position, (None, 0.0))
                odds = float(margin[row]) / of.model.temperature
                found.append(Suspect(position, odds, int(shard["rival"][row]), pair, membership))
        start += len(rows)
    return sorted(found, key=lambda one: (one.pair is None, -one.log_odds, one.position))


def _maps(ledger: Ledger, positions: list[int]) -> np.ndarray:
    """The packed pair maps of some images, in the given order."""
    cells = ledger.receipt.grid[0] * ledger.receipt.grid[1]
    result, start = np.zeros((len(positions), cells), np.int8), 0
    if not positions:
        return result
    place = {position: i for i, position in enumerate(positions)}
    for shard in ledger.iterate("map_pair"):
        for row, values in enumerate(shard["map_pair"]):
            if start + row in place:
                result[place[start + row]] = values
        start += len(shard["map_pair"])
    return result


def _finding(
    of: Posterior,
    names: LabelTable,
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
    probability = 1 / (1 + float(np.exp(-suspect.log_odds)))
    extra: dict[str, Any] = {
        **counts,
        "certified": pair is not None,
        "membership": suspect.membership if pair else None,
        "rival": suspect.rival,
        "rival_in_folder": bool(np.isin(suspect.rival, of.classes)),
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
        detail=" ".join([_status(names, suspect, first, probability), _where(extra)]),
        classes=(label, other),
        images=(int(of.image[suspect.position]),),
        score=suspect.log_odds,
        effect=suspect.membership if pair else probability,
        effect_name=(
            "posterior probability of coming from the pair's source"
            if pair
            else "calibrated probability of the rival, against the label"
        ),
        q_value=pair.q_value if pair else None,
        null="of the pair: no image of the source class carries this label" if pair else "",
        action=f"Look at it. Rename it to {second} if it is one, remove it if it is neither."
        if extra["rival_in_folder"] or pair
        else f"Look at it. {second} is no class of this folder: if it shows that, remove it.",
        caveat=CAVEAT,
        extra=extra,
    )


def _status(names: LabelTable, suspect: Suspect, first: str, probability: float) -> str:
    rival = names.short(suspect.rival)
    odds = f"The model puts {rival} against {first} at {_odds(probability)}."
    if suspect.pair is None:
        return f"{odds} Ranked only: no certified pair contains this image."
    return (
        f"{odds} Inside a certified contaminated pair: {suspect.membership:.0%} likely to be from "
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
