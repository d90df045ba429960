"""Deletion: is the class lost sooner when a map's highest places are covered than by its nulls?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from jaxattr.audit.evidence.gather import default_batch_size
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.probes.lots import known, lots
from jaxattr.audit.probes.store import Question
from jaxattr.metrics.perturbation import auc, perturb, ranks

if TYPE_CHECKING:
    from jaxattr.audit.probes import Subject

NAME = "deletion"
VERSION = 2
SHARES = (0.0, 0.1, 0.3, 0.5, 0.7)
"""Shares of the image that are covered."""
FILL = "mean"
"""Covered patches take the image's mean colour; black is evidence for some classes."""
RANDOM = 2
"""Random maps for each image."""
TESTED = {"conservative": "map_label", "positive": "map_positive"}
"""The maps that are tested, and their columns in the ledger."""

_perturb = jax.jit(perturb, static_argnames=("steps", "fill", "chunk_size"))


def questions(analysis: Analysis) -> list[Question]:
    """One question an image of the classes that the model knows, see `raise_questions`."""
    return raise_questions(analysis, known(analysis.posterior))


def raise_questions(analysis: Analysis, asked_about: Bool[np.ndarray, " image"]) -> list[Question]:
    """One question an image, see `lots`; images that the model gets right come first.

    `donor` is another image of the same class, the next of those chosen: its maps are the null that
    has the same centre and the same lumps, but not this image's places.
    """
    columns = analysis.ledger.read("index", "label", "prediction")
    columns = {name: values[asked_about] for name, values in columns.items()}
    right = columns["label"] == columns["prediction"]
    drawn = lots(columns["label"], first=right)
    asked: list[Question] = []
    for class_, members in drawn:
        images = columns["index"][members].tolist()
        if analysis.ledger.rows(images[:1], "map_label")[images[0]]["map_label"] is None:
            return []  # gathered without maps
        asked += [
            {"label": class_, "image": image, "donor": donor}
            for image, donor in zip(images, [*images[1:], images[0]], strict=True)
        ]
    return asked


def answer(subject: Subject, question: Question) -> dict[str, Any]:
    """Area under the class's probability over the share covered, for each order of covering.

    The mean of the probability from nothing to 70 % covered, highest scores first, by trapezoids:
    of the ledger's two maps, of the donor's two, and of `RANDOM` random ones. Costs 4 forward
    passes a map, 24 in all; what is seen with nothing covered is in the ledger.
    """
    image, label = question["image"], question["label"]
    rows = subject.ledger.rows([image, question["donor"]], *TESTED.values(), "logits")
    own, donor = rows[image], rows[question["donor"]]
    rng = np.random.default_rng(image)
    ties = rng.permutation(own["map_label"].size)
    chance = rng.random((RANDOM, ties.size))
    maps = [row[column].ravel() for row in (own, donor) for column in TESTED.values()]
    places = ranks(np.concatenate([np.stack(maps), chance]), ties)[:, 0]
    steps = tuple(int(share * ties.size) for share in SHARES[1:])
    pixels = jnp.asarray(subject.image(image))
    every = jnp.asarray(places)
    seen = _perturb(subject.model, pixels, every, steps, FILL, chunk_size=default_batch_size())
    logits = np.asarray(seen)
    first = np.broadcast_to(own["logits"], (len(logits), 1, logits.shape[-1]))
    areas = area(np.concatenate([first, logits.astype(np.float32)], axis=1), label).tolist()
    names = [*TESTED, *(f"donor_{name}" for name in TESTED)]
    return {**dict(zip(names, areas, strict=False)), "random": areas[len(names) :]}


def area(logits: Float[np.ndarray, "order step class"], label: int) -> Float[np.ndarray, " order"]:
    """Mean probability of the label over the shares covered, six digits."""
    probability = special.softmax(logits, axis=-1)[..., label]
    return np.round(auc(probability, SHARES) / SHARES[-1], 6)
