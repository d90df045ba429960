"""A posterior's temperature once more, with the sources of every folder allowed for.

Labels that were moved between classes look, to a fit of temperature and uniform noise, as if the
posterior were too sure: the temperature rises, and with it the doubt about every right label.
Images are ranked by the sharpened posterior. Pairs are tested by the one before: a hotter
temperature forgives a model that mistakes some kind of image, and a test has to.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import optimize

from jaxattr.audit.inference.posterior import Posterior
from jaxattr.audit.statistics import rates

ROUNDS = 3
"""Rates and exponent in turn; a fourth changes the exponent by .02 at most where this was tried."""
STEEPEST = 8.0
FITTED_ON = 10_000
"""Images that the exponent is fitted on, evenly spaced when there are more."""
_CHUNK = 4096
_TINY = 1e-30
_LEAST = 0.2  # share of a class's images that keep their label, at least


def sharpen(of: Posterior) -> Posterior:
    """The posterior `p^β / Σ p^β`, β ≥ 1 by maximum likelihood of the labels, given the rates.

    `Σ log((1-ε) (1 - Σ_c γ_ca) p_a + Σ_b γ_ab p_b + ε/K)` with γ the expected rates of the folder
    (`folder_rates`) at the exponent of the round before, and ε as it was fitted without them. What
    the rivals that are not kept could hold at most stays in the denominator, so that a probability
    comes out too small rather than too large.
    """
    if not of.rival.shape[1] or not len(of.label):
        return of
    result, some = of, slice(None, None, max(1, -(-len(of.label) // FITTED_ON)))
    part = of._replace(
        label_probability=of.label_probability[some], rival_probability=of.rival_probability[some]
    )
    for _ in range(ROUNDS):
        foreign, kept = (values[some] for values in folder_rates(result))
        fit: Any = optimize.minimize_scalar(
            partial(_loss, part, foreign, kept),
            bounds=(1.0, STEEPEST),
            method="bounded",
            options={"xatol": 1e-3},
        )
        result = _sharpened(of, float(fit.x))
    return result


def folder_rates(
    of: Posterior,
) -> tuple[Float[np.ndarray, "image rival"], Float[np.ndarray, " image"]]:
    """Expected rate `E[γ_ab]` of every kept rival b of an image labelled a, and what a keeps.

    See `rates.expected_rates`. The second is `1 - Σ_c E[γ_ca]`, the share of a's own images
    that keep their label, at least a fifth.
    """
    classes = len(of.classes)
    foreign, lost = np.zeros(of.rival.shape, np.float32), np.zeros(classes)
    for label in range(classes):
        members, shares = of.shares(label)
        base = rates.base_denominator(of.label_probability[members], of.final.noise, classes)
        found = rates.expected_rates(shares, base, of.counts)
        found[label] = 0.0
        foreign[members] = found[of.rival[members]]
        lost += found
    return foreign, np.maximum(1 - lost, _LEAST)[of.label]


def _sharpened(of: Posterior, power: float) -> Posterior:
    """In chunks: what is kept is single precision, powers are double."""
    label, rival = np.empty_like(of.label_probability), np.empty_like(of.rival_probability)
    for start in range(0, len(label), _CHUNK):
        at = slice(start, start + _CHUNK)
        label[at], rival[at] = _raised(of.label_probability[at], of.rival_probability[at], power)
    return of._replace(label_probability=label, rival_probability=rival, sharpness=power)


def _loss(of: Posterior, foreign: np.ndarray, kept: np.ndarray, power: float) -> float:
    own, rivals = _raised(of.label_probability, of.rival_probability, power)
    noise, classes = of.final.noise, len(of.classes)
    likelihood = (1 - noise) * kept * own + (foreign * rivals).sum(axis=1) + noise / classes
    return -float(np.log(likelihood).mean())


def _raised(label: np.ndarray, rival: np.ndarray, power: float) -> tuple[np.ndarray, np.ndarray]:
    """Label and rivals at an exponent; the rest at its upper bound, `r m^(β-1)`."""
    p = np.concatenate([label[:, None], rival], axis=1)
    p = np.maximum(p.astype(np.float64), _TINY)
    rest = np.maximum(1 - p.sum(axis=1), 0) * p[:, -1] ** (power - 1)
    p **= power
    p /= (p.sum(axis=1) + rest)[:, None]
    return p[:, 0], p[:, 1:]
