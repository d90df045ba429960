"""What the audit asks about one image, against the methods that say what a map is."""

from __future__ import annotations

import jax
import numpy as np
from sharing import QUICK

import jaxattr
from jaxattr import images, losses, scenes
from jaxattr.audit.evidence import evidence, evidence_batch
from jaxattr.labels import LabelTable
from jaxattr.methods import METHODS
from jaxattr.metrics import pool


def test_maps_are_those_of_the_methods(tiny_model, tiny_images) -> None:
    """Of the log-odds of the label and of its strongest rival, and of their difference."""
    label, conservative = 3, METHODS["conservative"].function
    one = jax.jit(evidence, compiler_options=QUICK)(tiny_model, tiny_images[0], np.int32(label))
    logits = np.asarray(tiny_model.forward(tiny_images[0])[0])
    rival = int(np.argmax(np.where(np.arange(5) == label, -np.inf, logits)))
    assert int(one.rival) == rival

    def maps(model, image):
        return {
            "map_label": conservative(model, image, losses.log_odds(label)),
            "map_rival": conservative(model, image, losses.log_odds(rival)),
            "map_pair": conservative(model, image, losses.difference(label, rival)),
            "map_positive": METHODS["positive"].function(model, image, losses.target_logit(label)),
        }

    wanted = jax.jit(maps, compiler_options=QUICK)(tiny_model, tiny_images[0])
    for name, map_ in wanted.items():
        found = getattr(one, name)
        np.testing.assert_allclose(found, map_, rtol=1e-4, atol=1e-5 * np.abs(map_).max())


def test_the_head_tells_a_bald_eagle_from_a_kite() -> None:
    """The two differ in the head alone, so that it speaks for the one and against the other."""
    model = jaxattr.load("scenes")
    table = LabelTable(model.labels)
    kite, eagle = table.resolve("kite"), table.resolve("bald eagle")
    drawn = [scenes.draw((9_100_000, seed), ["bald eagle"], size=96) for seed in range(12)]
    pictures = np.stack([images.normalize(one.image, model.preprocessing) for one in drawn])
    found = evidence_batch(model, pictures, np.full(len(drawn), kite, np.int32))
    assert (np.asarray(found.rival) == eagle).all()
    heads = pool(np.stack([one.parts[0]["head"] for one in drawn]), model.config.grid)
    sums = {
        name: (np.asarray(getattr(found, name)) * heads).sum(axis=(1, 2))
        for name in ("map_label", "map_rival", "map_pair")
    }
    assert (sums["map_label"] < 0).all()
    assert (sums["map_rival"] > 0).all()
    assert (sums["map_pair"] < 0).all()
