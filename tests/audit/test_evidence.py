"""What the audit asks about one image, against the methods that say what a map is."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import permutations

import jax
import numpy as np
import pytest
from scipy import special
from sharing import QUICK

import jaxattr
from jaxattr import losses, scenes
from jaxattr.audit.evidence.compute import evidence, evidence_batch
from jaxattr.audit.ledger import pack_classes, unpack
from jaxattr.data import images
from jaxattr.data.labels import LabelTable
from jaxattr.errors import JaxattrError
from jaxattr.methods import METHODS
from jaxattr.metrics import pool
from jaxattr.vit import initialize

LABEL = 3


@pytest.fixture(scope="module")
def explain(tiny_model, tiny_images):
    """The evidence of an image by a model whose head is so many times as sure, and by hand."""

    def by_hand(model, image, classes):
        conservative, additive = (METHODS[n].function for n in ("conservative", "token_relevance"))
        label, rival = classes[0], classes[1]
        return {
            "map_label": conservative(model, image, losses.log_odds(label)),
            "map_rival": conservative(model, image, losses.log_odds(rival)),
            "map_pair": conservative(model, image, losses.difference(label, rival)),
            "map_positive": METHODS["positive"].function(model, image, losses.target_logit(label)),
            "map_class": jax.vmap(lambda c: additive(model, image, losses.log_odds(c)))(classes),
            "pairs": jax.vmap(
                lambda x: jax.vmap(lambda y: additive(model, image, losses.difference(x, y)))(
                    classes
                )
            )(classes),
        }

    both = [jax.jit(one, compiler_options=QUICK) for one in (evidence, by_hand)]

    @cache
    def run(label, times):
        head = jax.tree.map(lambda leaf: leaf * times, tiny_model.parameters["head"])
        model = replace(tiny_model, parameters={**tiny_model.parameters, "head": head})
        found = both[0](model, tiny_images[0], np.int32(label))
        logits = np.asarray(model.forward(tiny_images[0])[0])
        order = [int(one) for one in np.argsort(-logits) if one != label]
        classes = np.array([label, *order[:3]], np.int32)
        return found, both[1](model, tiny_images[0], classes), logits, classes

    return run


SURE = 300
"""A head that is so many times as sure: probabilities are 1 and 0 in float32."""


@pytest.fixture(scope="module")
def asked(tiny_model, tiny_images):
    """Labels and how sure the head is: of its own class, of another one, and not at all."""
    best = int(np.argmax(tiny_model.forward(tiny_images[0])[0]))
    return [(best, 1), (LABEL, 1), (best, SURE), ((best + 2) % 5, SURE)]


def test_maps_are_those_of_the_methods(explain, asked) -> None:
    """Of the log-odds of the label and of the likeliest others, and of their differences."""
    for label, times in asked:
        one, wanted, logits, classes = explain(label, times)
        assert int(one.rival) == classes[1]
        np.testing.assert_array_equal(one.classes, classes)
        if times == SURE:
            assert special.softmax(logits).max() == 1
        for name in ("map_label", "map_rival", "map_pair", "map_positive", "map_class"):
            map_ = np.asarray(wanted[name])
            assert np.abs(map_).max() > 0
            np.testing.assert_allclose(
                getattr(one, name), map_, rtol=1e-4, atol=1e-5 * np.abs(map_).max()
            )


def test_any_class_against_any_other_is_its_own_map(explain, asked) -> None:
    """Also as the ledger keeps them, and where the head is sure beyond float32."""
    for label, times in asked:
        one, wanted, logits, classes = explain(label, times)
        maps, weights = np.asarray(one.map_class), np.asarray(one.weight_class)
        wide = logits.astype(np.float64)
        total = np.logaddexp.reduce(wide)
        rest = [np.exp(np.logaddexp.reduce(np.delete(wide, c)) - total) for c in classes]
        np.testing.assert_allclose(weights, rest, rtol=1e-3, atol=1e-37)
        whole, scales = pack_classes(maps)
        kept = unpack(whole.reshape(maps.shape), scales[:, None, None])
        for x, y in permutations(range(len(classes)), 2):
            pair = np.asarray(wanted["pairs"])[x, y]
            close = 1e-5 * max(np.abs(maps[x]).max(), np.abs(maps[y]).max())
            np.testing.assert_allclose(
                weights[x] * maps[x] - weights[y] * maps[y], pair, rtol=1e-4, atol=close
            )
            rounded = (weights[x] * scales[x] + weights[y] * scales[y]) / 2
            np.testing.assert_allclose(
                weights[x] * kept[x] - weights[y] * kept[y], pair, atol=close + rounded
            )


def test_heads_of_few_outputs(tiny_model, tiny_images) -> None:
    """Two classes are both explained; one logit has no rival; a regression is refused."""

    def explained(classes, problem):
        config = replace(tiny_model.config, layers=1, classes=classes, problem=problem)
        return jax.eval_shape(
            lambda image, key: evidence(initialize(config, key), image, jax.numpy.int32(0)),
            tiny_images[0],
            jax.random.key(0),
        )

    for classes, problem in ((2, "single_label"), (1, "single_label"), (3, "multi_label")):
        found = explained(classes, problem)
        assert found.map_class.shape == (classes, 2, 3)
        assert found.classes.shape == found.weight_class.shape == (classes,)
    with pytest.raises(JaxattrError, match="no odds"):
        explained(3, "regression")


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
