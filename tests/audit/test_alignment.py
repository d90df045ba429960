"""Correlation of shifted pictures, against NumPy's own for every shift."""

from __future__ import annotations

import numpy as np

from jaxattr.audit.copies.alignment import correlations, picture


def by_hand(one, other):
    """The best of `np.corrcoef` over the parts that both show, at 7 x 7 shifts."""
    best = 0.0
    for row in range(-3, 4):
        for column in range(-3, 4):
            here = one[max(row, 0) : 64 + min(row, 0), max(column, 0) : 64 + min(column, 0)]
            there = other[max(-row, 0) : 64 + min(-row, 0), max(-column, 0) : 64 + min(-column, 0)]
            if here.std() and there.std():
                best = max(best, np.corrcoef(here.ravel(), there.ravel())[0, 1])
    return best


def test_correlations_are_those_of_numpy():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (5, 64, 64), np.uint8)
    other = rng.integers(0, 256, (5, 64, 64), np.uint8)
    other[1] = np.roll(one[1], (2, -3), (0, 1))
    other[2] = np.clip(0.5 * one[2] + 40, 0, 255)
    other[3] = 90  # flat
    found = correlations(one, other)
    np.testing.assert_allclose(found, [by_hand(*both) for both in zip(one, other, strict=True)])
    np.testing.assert_allclose(found[[1, 2, 3]], [1, 1, 0], atol=2e-3)


def test_pairs_do_not_depend_on_each_other():
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 256, (2, 70, 64, 64), np.uint8)
    alone = [correlations(one[i : i + 1], other[i : i + 1])[0] for i in range(70)]
    np.testing.assert_array_equal(correlations(one, other), alone)


def test_what_cannot_be_read_is_like_nothing():
    black = picture(b"no image")
    assert not black.any()
    assert correlations(black[None], np.full((1, 64, 64), 7, np.uint8))[0] == 0
