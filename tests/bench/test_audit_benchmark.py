"""`jaxattr bench audit` against sets whose wrong labels are known, and against peers."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from jaxattr.audit.findings.mislabelled_image import suspects, suspicion
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.posterior import Recipe, fit_posterior
from jaxattr.audit.ledger import FORMAT, Receipt, open_ledger, read_ledger
from jaxattr.bench.audit import moving, rankings
from jaxattr.bench.audit import run as audit
from jaxattr.bench.audit import scores as audit_scores
from jaxattr.bench.audit.figure import draw
from jaxattr.bench.audit.labelled import Labelled, hold
from jaxattr.bench.audit.moving import Condition
from jaxattr.cli.bench import audit as bench_audit
from jaxattr.cli.bench import audit_table as audit_text
from jaxattr.cli.main import main
from jaxattr.errors import DatasetError, JaxattrError
from jaxattr.plot.figures import encode

CLASSES, EACH, SIZE = 12, 40, 16


@pytest.fixture(scope="module")
def held(tmp_path_factory) -> Labelled:
    """Twelve Gaussian classes of which 0 and 1 lie close together; output 5 has no images."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(CLASSES + 1, SIZE))
    means *= 2.8 / np.linalg.norm(means, axis=1, keepdims=True)
    means[1] = means[0] + 0.5 * means[1]
    truth = np.delete(np.repeat(np.arange(CLASSES + 1), EACH), slice(5 * EACH, 6 * EACH))
    feature = means[truth] + rng.normal(size=(len(truth), SIZE))
    logits = 1.5 * (feature @ means.T - 0.5 * (means**2).sum(axis=1))
    names = tuple(f"class {i}" for i in range(CLASSES + 1))
    count = len(truth)
    receipt = Receipt(
        FORMAT, "0", "m", "x", names, (2, 2), SIZE, {}, "d", "h", count, count, 100, {}
    )
    ledger = open_ledger(tmp_path_factory.mktemp("held"), receipt)
    for number in range(receipt.shards):
        rows = range(number * 100, min(count, number * 100 + 100))
        columns = {"logits": logits.astype(np.float32), "feature": feature.astype(np.float32)}
        ledger.write(
            number,
            [
                {"index": i, "file": f"{i}", "label": int(truth[i]), "error": ""}
                | ({"error": "cut off"} if i == 3 else {k: v[i] for k, v in columns.items()})
                for i in rows
            ],
        )
    return hold(read_ledger(ledger.folder))


@pytest.fixture(scope="module")
def similarity(held) -> np.ndarray:
    return moving.confusion(held)


def test_evidence_is_held_and_only_labels_move(held):
    assert len(held.label) == CLASSES * EACH - 1
    assert held.receipt.count == CLASSES * EACH  # the unreadable one counts in the folder
    label = np.roll(held.label, 1)
    moved = held.move(label)
    assert (moved.label == label).all()
    assert moved.columns["logits"] is held.columns["logits"]
    logits = held.columns["logits"].copy()
    logits[np.arange(len(label)), label] = -np.inf
    assert (moved.columns["rival"] == logits.argmax(axis=1)).all()
    part = held.pick(np.array([5, 2]))
    assert part.columns["index"].tolist() == [6, 2]
    assert (part.read("logits")["logits"] == held.columns["logits"][[5, 2]]).all()
    assert part.skipped() == []


@pytest.mark.parametrize("kind", moving.PAIRS)
def test_pairs_are_one_directional_disjoint_and_of_the_asked_rate(kind, held, similarity):
    for seed in range(5):
        planted = moving.plant(held, Condition(kind, 30, 0.05), seed, similarity=similarity)
        given, truth = planted.given.label, planted.truth
        assert np.unique(truth, return_counts=True)[1].tolist() == [30] * CLASSES
        named = [one for pair in planted.pairs for one in pair]
        assert len(set(named)) == len(named) == 12
        counts = [int(((given == a) & (truth == b)).sum()) for a, b in planted.pairs]
        assert (given != truth).sum() == sum(counts)
        assert set(counts) <= {1, 2}  # 5 % of 30 is one and two in turn
        assert abs(sum(counts) - 0.05 * 30 * 6) <= 1
    first, again = (
        moving.plant(held, Condition(kind, 30, 0.05), 4, similarity=similarity).given
        for _ in range(2)
    )
    assert (again.label == first.label).all()
    assert (again.columns["index"] == first.columns["index"]).all()


def test_confusable_pairs_are_the_near_ones(held, similarity):
    assert similarity.shape == (CLASSES, CLASSES)
    assert set(divmod(int((similarity + similarity.T).argmax()), CLASSES)) == {0, 1}
    near = [
        moving.draw_pairs("confusable", held.classes, similarity, 1, np.random.default_rng(i))[0]
        for i in range(30)
    ]
    both = similarity + similarity.T
    best = np.sort(both[np.triu_indices(CLASSES, 1)])[-6:]
    place = {int(one): i for i, one in enumerate(held.classes)}
    assert all(both[place[a], place[b]] >= best[0] for a, b in near)
    assert len(set(near)) > 6  # both directions


def test_noise_moves_its_share_and_similar_noise_goes_to_similar_classes(held, similarity):
    goals = {}
    for kind in moving.NOISE:
        planted = moving.plant(held, Condition(kind, 0, 0.2), 0, similarity=similarity)
        wrong = planted.given.label != planted.truth
        assert wrong.sum() == round(0.2 * len(wrong))
        assert 5 not in planted.given.label
        place = np.searchsorted(held.classes, np.stack([planted.given.label, planted.truth]))
        goals[kind] = similarity[place[0][wrong], place[1][wrong]].mean()
    assert goals["similar"] > 2 * goals["uniform"]


def test_nulls_have_nothing_planted(held, similarity):
    sets = {
        kind: moving.plant(held, Condition(kind, 30), 0, similarity=similarity)
        for kind in moving.NULLS
    }
    assert all(one.pairs == () for one in sets.values())
    assert (sets["as given"].given.label == sets["as given"].truth).all()
    changed = (sets["twin"].given.label != sets["twin"].truth).mean()
    assert changed == pytest.approx(1 - Analysis(held).posterior.label_probability.mean(), abs=0.06)
    assert (sets["permuted"].given.label != sets["permuted"].truth).mean() > 0.8
    head = sets["random head"].given
    assert not np.allclose(head.columns["logits"], sets["as given"].given.columns["logits"])
    for kind in ("permuted", "random head"):
        assert rankings.audit(sets[kind].given).accepted == ()
    assert rankings.audit(sets["permuted"].given).refused


def test_what_cannot_be_planted(held, similarity):
    with pytest.raises(DatasetError, match="nothing of this name is planted; choose from conf"):
        moving.plant(held, Condition("typo", 10, 0.1), 0, similarity=similarity)
    with pytest.raises(DatasetError, match=r"41 images per class: class 0 has 39; give a sma"):
        moving.plant(held, Condition("random", 41, 0.1), 0, similarity=similarity)
    with pytest.raises(DatasetError, match="moves no image of 30 per class; give a higher"):
        moving.plant(held, Condition("random", 30, 1e-6), 0, pairs=1, similarity=similarity)


def test_average_precision_is_scikit_learns():
    peer = pytest.importorskip("sklearn.metrics", reason="needs the extra `bench`")
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.integers(0, 6, 50).astype(float)  # many equal ones
        relevant = rng.random(50) < 0.2
        relevant[0] = True
        ours = audit_scores.average_precision(scores, relevant)
        assert ours == pytest.approx(peer.average_precision_score(relevant, scores))


def test_precision_at_k_averages_over_equal_scores():
    scores, relevant = np.array([3.0, 2, 2, 2, 1]), np.array([True, False, True, False, True])
    assert audit_scores.precision_at(scores, relevant, 1) == 1
    assert audit_scores.precision_at(scores, relevant, 2) == pytest.approx((1 + 1 / 3) / 2)
    assert audit_scores.precision_at(scores, relevant, 5) == pytest.approx(3 / 5)
    assert np.isnan(audit_scores.precision_at(scores, relevant, 0))
    assert np.isnan(audit_scores.average_precision(scores, np.zeros(5, bool)))


def test_outcomes_count_hits_and_alarms(held, similarity):
    planted = moving.plant(held, Condition("random", 0, 0.2), 0, pairs=2, similarity=similarity)
    places = [tuple(np.searchsorted(held.classes, pair).tolist()) for pair in planted.pairs]
    pairs = np.zeros((CLASSES, CLASSES))
    pairs[places[0]], pairs[places[0][::-1]], pairs[places[1]] = 3, 2, 1
    wrong = np.flatnonzero(planted.given.label != planted.truth)
    ranking = rankings.Ranking(
        pairs,
        (planted.given.label != planted.truth).astype(float),
        (places[0], places[0][::-1]),
        np.array([wrong[0], *np.flatnonzero(planted.given.label == planted.truth)[:3]]),
    )
    found = audit_scores.score(planted, "random", ranking, 7)
    assert found.pair_ap == pytest.approx((1 + 2 / 3) / 2)
    assert found.precision_at_k == found.power == found.false_discoveries == 0.5
    assert (found.alarms, found.flags, found.right_flags, found.image_ap) == (1, 4, 1, 1)
    beside = audit_scores.score(planted, "random", ranking._replace(flagged=None), 7)
    assert (beside.flags, beside.right_flags) == (7, 7)
    noisy = audit_scores.score(planted, "uniform", ranking, 7)
    assert noisy.alarms == 2
    assert np.isnan(noisy.power)


def test_counts_and_margins_are_what_they_say(held):
    given = held.pick(np.arange(0, len(held.label), 7))
    logits = given.columns["logits"][:, given.classes].astype(np.float64)
    place = np.searchsorted(given.classes, given.label)
    counts, margins = np.zeros((2, CLASSES, CLASSES))
    for row, label in zip(logits, place, strict=True):
        counts[label, row.argmax()] += row.argmax() != label
        margins[label] += np.maximum(row - row[label], 0)
    np.testing.assert_array_equal(rankings.confusion_counts(given).pairs, counts)
    np.testing.assert_allclose(rankings.summed_margin(given).pairs, margins, rtol=1e-5)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    doubt = 1 - p[np.arange(len(p)), place]
    np.testing.assert_allclose(rankings.self_confidence(given).images, doubt, atol=1e-5)


def test_parts_can_be_left_out_of_the_posterior(held):
    whole = Analysis(held).posterior
    assert whole.discriminant
    bare = fit_posterior(held, Recipe(discriminant=False))
    assert not bare.discriminant
    assert bare.final == bare.model == whole.model
    fixed = fit_posterior(held, Recipe(noise=False)).final
    assert fixed.estimated_noise == fixed.noise == 0.01
    raw = fit_posterior(held, Recipe(temperature=False))
    assert raw.final.temperature == raw.model.temperature == 1
    assert fit_posterior(held, Recipe(reweighted=False)).final != whole.final
    linear = fit_posterior(held, Recipe(model=False))
    both = np.stack([bare.label_probability, linear.label_probability])
    middle = (whole.label_probability > both.min(axis=0) - 0.1).mean()
    assert middle > 0.9
    assert not np.allclose(linear.label_probability, whole.label_probability)


def test_the_audit_finds_what_is_planted_and_cleanlab_is_asked_the_right_way(held):
    rows = [Condition("random", 0, 0.2)]
    scores = audit.run(held, rows=rows, seeds=(0, 1, 2), pairs=3)
    value = {(one.method, one.measure): one.value for one in scores}
    assert value["audit", "pair_ap"] > 0.95
    assert value["audit", "power"] > 0.8
    assert value["audit", "flag_precision"] > 0.85
    assert all(one.sets == 3 for one in scores)
    assert all(one.low <= one.value <= one.high for one in scores)
    # The rates of the folder say more than an image's own probabilities.
    assert value["audit", "image_ap"] > value["self-confidence", "image_ap"]
    names = set(rankings.available())
    assert {one.method for one in scores} == names
    for name in names & set(rankings.CLEANLAB):  # were its axes exchanged, it would find nothing
        assert value[name, "pair_ap"] > 0.5
        assert value[name, "image_ap"] > 0.5
    assert ("confusion counts", "power") not in value


def test_an_image_of_a_class_that_the_folder_lacks_comes_first(held):
    label = held.label.copy()
    strange = int(np.flatnonzero(label == 7)[0])
    label[strange] = 3
    given = held.move(label).pick(np.flatnonzero(label != 7))
    position = int(np.flatnonzero(given.columns["index"] == held.columns["index"][strange])[0])
    seen, first = suspicion(Analysis(given)), suspects(Analysis(given))[0]
    assert seen.log_odds.argmax() == first.position == position
    assert first.rival == 7
    assert first.known != 7
    assert seen.outside[position] > 0.5


def test_clean_sets_raise_no_alarm(held):
    rows = [Condition("as given", 0), Condition("twin", 0), Condition("uniform", 0, 0.1)]
    scores = audit.run(held, rows=rows, seeds=range(4), methods=["audit"])
    alarms = {one.kind: one.value for one in scores if one.measure == "alarms"}
    assert alarms.pop("uniform") <= 0.5
    assert alarms == {"as given": 0, "twin": 0}


def test_rows_by_default(held):
    rows = audit.conditions(held, rates=(0.02, 0.1))
    assert {row.size for row in rows} == {39}  # one image of class 0 cannot be read
    assert {row.kind for row in rows} == set(moving.KINDS)
    # 2 % of 39 is less than one image.
    assert [row.rate for row in rows if row.kind == "random"] == [0.1]


def test_methods_that_do_not_exist_or_are_not_installed(held, monkeypatch):
    with pytest.raises(DatasetError, match="magic: no such method; choose from audit, one view, "):
        audit.run(held, methods=["magic"])
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.setattr(rankings, "find_spec", lambda name: None)
    assert set(rankings.METHODS) - set(rankings.available()) == set(rankings.CLEANLAB)
    with pytest.raises(DatasetError, match="cleanlab is not installed; install the extra `ben"):
        audit.run(held, methods=["cleanlab"])


def test_the_commands_names_are_the_librarys():
    assert bench_audit.KINDS == moving.KINDS
    assert tuple(rankings.METHODS) == bench_audit.METHODS
    assert set(audit_text.HEADS) == set(audit_scores.MEASURES)


def test_the_figure(held):
    rows = [Condition("random", size, rate) for size in (20, 30) for rate in (0.1, 0.2)]
    scores = audit.run(held, rows=rows, seeds=(0,), methods=["confusion counts"])
    figure = draw(scores, "a note with a $ sign")
    assert [len(axis.lines) for axis in figure.axes] == [2, 2]
    assert encode(figure, "png").startswith(b"\x89PNG")
    with pytest.raises(JaxattrError, match="none were; plant confusable or random"):
        draw([one._replace(kind="twin") for one in scores])


def bench(*arguments: str):
    return CliRunner().invoke(main, ["bench", "audit", *arguments])


def test_the_command_on_scenes(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(bench_audit, "SCENES_PER_CLASS", 12)
    common = ("--output", str(tmp_path / "out"), "--seeds", "2", "--plant", "random", "-m", "audit")
    first = bench(*common, "--rates", "25%", "-f", "json", "--figure", str(tmp_path / "a.png"))
    assert first.exit_code == 0, first.output
    content = json.loads(first.stdout)
    assert content["sets"] == 2
    ap = [one for one in content["scores"] if one["measure"] == "pair_ap"]
    assert ap[0]["method"] == "audit"
    assert ap[0]["value"] > 0.8
    assert "144 in " in first.stderr
    assert (tmp_path / "a.png").stat().st_size > 10_000
    # The ledger is there: nothing is computed again, and the numbers are the same.
    monkeypatch.setattr(
        "jaxattr.audit.evidence.gather.glance_batch", lambda *_: pytest.fail("again")
    )
    again = bench(*common, "--rates", "0.25", "-f", "csv", "--quiet")
    rows = list(csv.DictReader(io.StringIO(again.stdout)))
    assert again.stderr == ""
    assert [float(row["value"]) for row in rows] == [one["value"] for one in content["scores"]]
    table = bench(*common, "--rates", "25%")
    assert table.stdout.startswith("RANDOM\nn   rate  method  ")
    wrong = bench(*common, "--rates", "80%")
    assert wrong.exit_code == 2
    assert "is not a list of shares up to a half; write 2%,5%" in wrong.output
    large = bench(*common, "-n", "99")
    assert large.exit_code == 2
    assert "99 images per class: class 0 has 12; give a smaller size." in large.output
