"""The training folder beside the audited one: copies across both, what was learned, refusals."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from ledgers import make_ledger, make_rows
from PIL import Image
from test_learned_contamination import CLASSES, EACH, make

from jaxattr.audit.findings.duplicate_image import duplicate_image
from jaxattr.audit.findings.learned_contamination import learned_contamination
from jaxattr.audit.inference.analysis import Analysis
from jaxattr.audit.inference.learned import adaptive
from jaxattr.audit.ledger.training import check_training, joined, read_training
from jaxattr.audit.report import render
from jaxattr.audit.report.export import findings_json
from jaxattr.audit.report.limits import limits
from jaxattr.audit.report.limits_text import sentences
from jaxattr.audit.report.summary import summarize
from jaxattr.bench.audit.labelled import Labelled
from jaxattr.data.images import thumbnail
from jaxattr.errors import LedgerError

COPIES = {2: 5, 3: 8, 6: 1}
"""Audited images and their copies in training: equal files, brightened, of another class."""


@dataclass(frozen=True, eq=False)
class Filed(Labelled):
    """Images in memory that have names."""

    def rows(self, indices, *columns):
        assert columns == ("file",)
        return {index: {"file": f"2/{index}.png"} for index in indices}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """An audited folder of 8 and a training folder of 14 pictures, with copies planted."""
    rng = np.random.default_rng(0)

    def picture():
        small = Image.fromarray(rng.integers(0, 256, (7, 7, 3), np.uint8))
        return np.asarray(small.resize((64, 64), Image.Resampling.BICUBIC))

    rows, pictures = make_rows(8), [picture() for _ in range(8)]
    pictures[7] = pictures[0]  # copies in the audited folder alone
    others, further = make_rows(14, seed=1), [picture() for _ in range(14)]
    further[12] = further[10]  # in the training folder alone
    for own, copy in COPIES.items():
        change = 1.1 if copy == 8 else 1
        further[copy] = np.clip(pictures[own] * change, 0, 255).astype(np.uint8)
    further[13] = np.clip(further[5] * 1.1 + 8, 0, 255).astype(np.uint8)
    for some, shown, name in ((rows, pictures, "val"), (others, further, "train")):
        for row, pixels in zip(some, shown, strict=True):
            grey = Image.fromarray(pixels).convert("L").resize((4, 4))
            small = np.asarray(grey, np.float32).ravel()
            row |= {"thumbnail": thumbnail(pixels), "feature": small - small.mean()}
            row |= {"file": f"{row['label']}/{name}-{row['index']}.png"}
            row |= {"sha256": f"{name} {row['index']}"}
    others[5]["sha256"], others[1]["sha256"] = rows[2]["sha256"], rows[6]["sha256"]
    others[5]["label"] = rows[2]["label"]
    folder = tmp_path_factory.mktemp("both")
    shorter = [row | {"feature": row["feature"][:9]} for row in others]
    make_ledger(folder / "shorter", shorter, shard_size=4)
    training = make_ledger(folder / "training", others, shard_size=4)
    return replace(make_ledger(folder / "audited", rows, shard_size=3), training=training)


def test_two_ledgers_are_read_as_one(both) -> None:
    one, training = joined(both), both.training
    whole = one.read("index", "file", "logits")
    assert whole["index"].tolist() == list(range(22))
    parts = [both.read("file", "logits"), training.read("file", "logits")]
    for name in ("file", "logits"):
        np.testing.assert_array_equal(whole[name], np.concatenate([part[name] for part in parts]))
    rows = one.rows([20, 3, 8], "file")
    assert [rows[i]["file"] for i in (3, 8, 20)] == [whole["file"][i] for i in (3, 8, 20)]
    assert joined(training) is training


def test_copies_in_training_are_found_and_named(both) -> None:
    found = {one.images: one for one in duplicate_image(Analysis(both))}
    (alone,) = duplicate_image(Analysis(replace(both, training=None)))
    assert set(found) == {(0, 7), (2,), (3,), (6,)}  # 10 and 12 of training: its own audit's
    assert found[0, 7].title == alone.title
    assert "training" not in found[0, 7].extra
    for own, copy in COPIES.items():
        one = found[own,]
        assert copy in [image["index"] for image in one.extra["training"]]
        assert f"val-{own}.png is a copy of" in one.detail
        assert one.severity == ("medium" if own == 3 or own == 2 else "high")
    assert [one["index"] for one in found[2,].extra["training"]] == [5, 13]
    assert "and 1 more" in found[2,].detail
    assert found[3,].extra["across_classes"]
    other = found[6,]
    assert other.extra["training"] == [{"index": 1, "file": "1/train-1.png", "label": 1}]
    assert other.classes == (1, 2)
    assert other.title == ("The same file in the training folder, labelled cat here and bee there")
    assert "The labels disagree: cat here, bee there." in other.detail
    assert "too high" in other.action


def test_it_is_noted_and_shown(both) -> None:
    found = duplicate_image(Analysis(both))
    content = json.loads(findings_json(found, Analysis(both)))
    assert content["training"] == {
        "model": both.training.receipt.model,
        "images": "photos",
        "index": "i" * 64,
        "count": 14,
        "total": 14,
    }
    assert json.loads(findings_json([], Analysis(replace(both, training=None))))["training"] is None
    html = render(Analysis(both), summarize(both), found)
    assert "Training folder" in html
    data = json.loads(re.findall(r'id="data">(.*?)</script>', html, re.DOTALL)[0])
    (leak,) = (one for one in data["findings"].values() if one["images"] == [6])
    ((file, label, photo),) = leak["training"]
    assert (file, label, leak["trainingCount"]) == ("1/train-1.png", 1, 1)
    assert len(photo) > 100
    assert "Training folder" not in render(
        Analysis(replace(both, training=None)), summarize(both), []
    )


def test_limits_say_that_none_was_given(both) -> None:
    alone = replace(both, training=None)
    said = " ".join(sentences(limits(Analysis(alone)), Analysis(alone)))
    assert "Not looked for: copies of training images" in said
    assert "--training" in said
    said = " ".join(sentences(limits(Analysis(both)), Analysis(both)))
    assert "--training" not in said
    assert "copies across splits" not in said
    receipt = replace(both.training.receipt, total=99)
    part = replace(both, training=replace(both.training, receipt=receipt))
    assert "limited to 14 of 99 images" in " ".join(
        sentences(limits(Analysis(part)), Analysis(part))
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"labels": ("a", "b")}, "other class names"),
        ({}, "audited images themselves"),
    ],
)
def test_what_cannot_be_the_training_folder(both, changes, word) -> None:
    training = replace(both.training, receipt=replace(both.training.receipt, **changes))
    with pytest.raises(LedgerError, match=word) as caught:
        check_training(training, both.receipt)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_whole_ledger(both, tmp_path) -> None:
    with pytest.raises(LedgerError, match="holds no ledger"):
        read_training(tmp_path, both.receipt)
    ledger = make_ledger(tmp_path / "cut", make_rows(9), shard_size=3)
    audited = replace(ledger.receipt, index="another", preprocessing={"mean": (0.5,)})
    assert read_training(tmp_path / "cut", audited).receipt == ledger.receipt
    ledger.shard(1).unlink()
    with pytest.raises(LedgerError, match="1 of 3 shards"):
        read_training(tmp_path / "cut", audited)


def held(seed: int, mixed: float = 0.0, moved: int = 0) -> Filed:
    one = make(seed, mixed, moved)
    return Filed(Path("nowhere"), one.receipt, one.columns)


def test_what_both_folders_bear_out_is_certified() -> None:
    audited, training = make(1, mixed=0.08), held(2, mixed=0.08, moved=12)
    assert (
        learned_contamination(Analysis(audited)) == []
    )  # too little for a ranking among all pairs
    (one,) = learned_contamination(Analysis(replace(audited, training=training)))
    assert one.classes == (2, 5)
    assert one.severity == "high"
    assert one.q_value is not None
    assert one.q_value <= 0.05
    assert one.interval is not None
    assert one.interval[0] < one.score < one.interval[1]
    assert one.effect == one.score
    ((pair),) = Analysis(training).pairs.accepted
    assert f"holds {pair.rate:.1%} of the images of class 5 under class 2" in one.detail
    assert one.extra["training_q"] == pair.q_value
    moved = {image["index"] for image in one.extra["training"]}
    assert len(moved & set(range(5 * EACH, 5 * EACH + 12))) >= 6
    assert "training folder" in one.action


def test_one_folder_is_not_enough() -> None:
    dirty, clean = held(2, moved=12), held(2)
    assert Analysis(dirty).pairs.accepted
    given = replace(make(0), training=dirty)  # wrong labels there, and the model did not learn them
    assert learned_contamination(Analysis(given)) == []
    assert len(Analysis(given).learned) == 1
    (one,) = learned_contamination(Analysis(replace(make(1, mixed=0.25), training=clean)))
    assert one.severity == "medium"
    assert one.q_value is None
    assert "training folder does not confirm it at this sample size" in one.detail
    assert "--training" not in one.action
    few = replace(make(1, mixed=0.25), training=held(2).pick(np.arange(5 * EACH)))
    (one,) = learned_contamination(Analysis(few))
    assert "the audit of the training folder left out one of them" in one.detail
    assert CLASSES > 5


def test_another_model_may_see_the_wrong_labels() -> None:
    audited = make(1, mixed=0.25)
    (one,) = learned_contamination(Analysis(replace(audited, training=held(2))))
    assert (one.severity, one.q_value) == ("medium", None)
    assert "an audit of that folder by another model" in one.detail
    other = held(2, moved=25)
    receipt = replace(other.receipt, parameters="another", model="models/clean-vit", grid=(7, 7))
    other = replace(other, receipt=receipt)
    check_training(other, replace(audited.receipt, index="of other images"))
    (one,) = learned_contamination(Analysis(replace(audited, training=other)))
    assert one.severity == "high"
    assert one.detail.startswith("The training folder, as clean-vit sees it, holds")
    assert "an audit of that folder by another model" not in one.detail


CHANGED = {"parameters": "q", "preprocessing": {"mean": [0.4]}, "grid": (6, 6), "feature_size": 9}


@pytest.mark.parametrize("name", CHANGED)
def test_copies_are_not_looked_for_by_the_features_of_another_model(both, name) -> None:
    training = both.training
    if name == "feature_size":  # what its shards hold, too
        training = replace(training, folder=training.folder.with_name("shorter"))
    receipt = replace(training.receipt, **{name: CHANGED[name]})
    check_training(replace(training, receipt=replace(receipt, index="other")), both.receipt)
    given = replace(both, training=replace(training, receipt=receipt))
    assert duplicate_image(Analysis(given)) == duplicate_image(
        Analysis(replace(both, training=None))
    )
    assert duplicate_image(Analysis(given)) != duplicate_image(Analysis(both))
    if name != "feature_size":  # its shards hold features of the size that they were written with
        assert "another model, or another image size, made its audit" in " ".join(
            sentences(limits(Analysis(given)), Analysis(given))
        )


def test_the_page_names_the_other_model(both) -> None:
    receipt = replace(both.training.receipt, parameters="q", model="clean-vit")
    given = replace(both, training=replace(both.training, receipt=receipt))
    assert "audited before with clean-vit" in render(Analysis(given), summarize(given), [])
    assert "audited before with the same model" in render(Analysis(both), summarize(both), [])


def test_q_values_know_the_share_of_true_nulls() -> None:
    np.testing.assert_allclose(adaptive(np.array([0.04, 0.01, 0.02, 0.03])), 0.02)
    np.testing.assert_allclose(adaptive(np.array([0.03, 0.8, 0.9])), [0.09, 0.9, 0.9])
    np.testing.assert_allclose(adaptive(np.array([0.03])), 0.03)
    assert len(adaptive(np.zeros(0))) == 0
    rng = np.random.default_rng(0)
    false = []
    for _ in range(500):  # a third are true nulls
        p = np.concatenate([rng.random(3), rng.random(6) ** 8])
        taken = adaptive(p) <= 0.05
        false.append(taken[:3].sum() / max(taken.sum(), 1))
    assert np.mean(false) <= 0.06
