"""The second fit of a posterior's temperature, against grids, exact powers and drawn labels."""

from __future__ import annotations

import numpy as np
import pytest
from test_findings import gaussians, write

from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.sharpening import folder_rates, sharpen
from jaxattr.bench.audit.labelled import hold
from jaxattr.bench.audit.moving import Condition, confusion, plant
from jaxattr.bench.audit.scores import average_precision


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    truth, logits, feature = gaussians(12, 60, seed=9, distance=3.4)
    return hold(write(tmp_path_factory.mktemp("held"), truth, logits, feature))


@pytest.fixture(scope="module")
def moved(held):
    """A fifth of all labels moved to classes that look alike."""
    row = Condition("similar", 0, 0.2)
    return plant(held, row, 0, pairs=1, similarity=confusion(held))


def test_the_exponent_is_the_optimum_of_the_likelihood_written_out(moved):
    of = Analysis(moved.given).posterior
    found = sharpen(of)
    assert found.sharpness > 1.05
    rates, kept = folder_rates(found)  # those of the last round differ by little

    def likelihood(power):
        p = np.concatenate([of.label_probability[:, None], of.rival_probability], axis=1)
        p = p.astype(np.float64) ** power
        p /= p.sum(axis=1, keepdims=True)  # all 11 rivals are kept
        e = of.final.noise
        terms = (1 - e) * kept * p[:, 0] + (rates * p[:, 1:]).sum(axis=1) + e / 12
        return np.log(terms).sum()

    grid = np.linspace(1, 3, 401)
    best = grid[np.argmax([likelihood(power) for power in grid])]
    assert found.sharpness == pytest.approx(best, abs=0.03)
    p = of.label_probability.astype(np.float64) ** found.sharpness
    whole = p + (of.rival_probability.astype(np.float64) ** found.sharpness).sum(axis=1)
    np.testing.assert_allclose(found.label_probability, p / whole, rtol=1e-4, atol=1e-9)


def test_what_is_not_kept_makes_probabilities_smaller_never_larger(moved):
    of = Analysis(moved.given).posterior
    few = of._replace(rival=of.rival[:, :3], rival_probability=of.rival_probability[:, :3])
    cut = sharpen(few)
    p = np.concatenate([of.label_probability[:, None], of.rival_probability], axis=1)
    p = p.astype(np.float64) ** cut.sharpness
    p /= p.sum(axis=1, keepdims=True)
    assert cut.sharpness > 1.05
    assert (cut.label_probability <= p[:, 0] + 1e-6).all()
    assert (cut.rival_probability <= p[:, 1:4] + 1e-6).all()


def test_drawn_labels_leave_it_nearly_as_it_is(held):
    for kind in ("twin", "as given"):
        given = plant(held, Condition(kind, 0), 1, pairs=1, similarity=confusion(held)).given
        assert Analysis(given).posterior.sharpness == 1
        assert 1 <= Analysis(given).sharpened.sharpness < 1.08


def test_it_ranks_moved_images_better(moved):
    wrong = moved.given.label != moved.truth

    def precision(of):
        moving = (folder_rates(of)[0] * of.rival_probability).sum(axis=1)
        return average_precision(moving / of.label_probability, wrong)

    assert (
        precision(Analysis(moved.given).sharpened)
        > precision(Analysis(moved.given).posterior) + 0.003
    )


def test_expected_rates_reach_every_image_of_a_folder(moved):
    of = Analysis(moved.given).sharpened
    rates, kept = folder_rates(of)
    assert rates.shape == of.rival.shape
    one = np.flatnonzero(of.label == 3)
    # The rate belongs to folder and source, not to the image.
    for source in range(12):
        values = rates[one][of.rival[one] == source]
        assert len(set(values.tolist())) <= 1
    assert (kept >= 0.2).all()
    assert (kept <= 1).all()
    assert kept[one[0]] < 1


def test_one_class_has_nothing_to_sharpen(held):
    alone = held.pick(np.flatnonzero(held.label == 0))
    assert Analysis(alone).sharpened.sharpness == 1
