"""The scripts of the paper's figures on drawn scenes, and the grid of methods that they draw."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT
from PIL import Image

import jaxattr
from jaxattr import losses
from jaxattr.cli.common import options
from jaxattr.data import images
from jaxattr.data.labels import LabelTable
from jaxattr.errors import JaxattrError
from jaxattr.methods import METHODS
from jaxattr.plot import figures
from jaxattr.plot.grid import Column, Row, grid
from jaxattr.vit import predict

# Behind everything installed: what is tested is the installed library.
sys.path.append(str(ROOT))

KINDS = "complete", "positive", "conservative"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """One scene of a kind, three methods, few steps."""
    from benchmarks.paper.lab import Lab

    model = jaxattr.load("scenes")
    folder = tmp_path_factory.mktemp("paper")
    table = LabelTable(model.labels, model.config.classes)
    return Lab("scenes", model, table, None, None, folder, 2, KINDS, 4, 1)


@pytest.fixture(scope="module")
def drawn(lab):
    """`drawn(name)`: what a figure's script hands back; each is run once."""
    known: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options, "prepare_jax", lambda dtype="float32": None)

        def one(name: str) -> Any:
            if name not in known:
                known[name] = import_module(f"benchmarks.paper.{name}").draw(lab)
            return known[name]

        yield one


@pytest.fixture(scope="module")
def scene(lab):
    """The two-class scene that the figures show, and `maps(method, loss)` of both classes, by a
    plain call of the method."""
    from benchmarks.paper import subjects

    (subject,) = subjects.two(lab)

    def maps(method: str, loss: Any = losses.target_logit) -> list[np.ndarray]:
        explain = jax.jit(METHODS[method].function)
        array = subject.photo.array
        found = [explain(lab.model, array, loss(one)) for one in subject.classes]
        return [np.asarray(one, np.float64) for one in found]

    return subject, maps


def width(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.width


def test_absolute_maps_of_two_classes_are_alike(drawn, scene) -> None:
    first = next(one for one in drawn("fig3").rows if one["part"] == "a")
    a, b = (one.ravel() for one in scene[1]("absolute"))
    assert first["absolute_likeness"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=2e-3)
    assert first["absolute_likeness"] > first["complete_likeness"]
    (row,) = drawn("fig4").rows
    assert row["absolute_likeness"] > row["positive_likeness"]


def test_shares_of_evidence_add_up(drawn, scene) -> None:
    subject, maps = scene
    for row, one in zip(drawn("fig5").rows, maps("positive"), strict=True):
        # Masks of the two objects are disjoint, and positive maps have no other sign.
        shares = [row[f"positive_{key}"] for key in ("target", "rival", "background")]
        assert sum(shares) == pytest.approx(100, abs=0.2)
        place = subject.classes.index(
            LabelTable(jaxattr.load("scenes").labels).resolve(row["target"])
        )
        inside = (one * subject.regions[place]).sum() / one.sum()
        assert row["positive_target"] == pytest.approx(100 * inside, abs=0.1)


def test_ours_is_asked_for_the_log_odds_and_the_difference(drawn, scene) -> None:
    """Signs of a drawn scene of two objects, which the conservative correction has right."""
    subject, maps = scene
    a, b = subject.classes
    plain = maps("conservative", losses.log_odds)
    pairs = maps("conservative", lambda one: losses.difference(one, b if one == a else a))
    for place, row in enumerate(drawn("fig5").rows):
        regions = [subject.regions[place], subject.regions[1 - place]]
        for loss, found in (("log-odds", plain), ("difference", pairs)):
            for where, region in zip(("target", "rival"), regions, strict=True):
                one = found[place]
                expected = (one * region).sum() / (np.abs(one) * region).sum()
                key = f"conservative, {loss}_{where}"
                assert row[f"{key}_balance"] == pytest.approx(expected, abs=2e-3)
                assert row[f"{key}_right"] == 1.0
    summary = drawn("fig5").summary
    assert summary["conservative, log-odds, sign right on the other class, of 2"] == 2
    assert drawn("fig3").summary["likeness of two classes' maps, conservative, log-odds"] < 0


def test_transfer_raises_the_logit(drawn) -> None:
    for row in drawn("fig6").rows:
        assert row["logit_after"] > row["logit_before"]
        assert 0 < row["moved"] < 1
        assert row["first_likeness"] > 0.7
    assert set(drawn("fig6").figures) == {"-two-0"}


def test_guides_change_the_map_of_the_same_photo(drawn) -> None:
    (alone,) = (one for one in drawn("fig7").rows if one["method"] == "complete")
    (ours,) = (one for one in drawn("fig7").rows if one["method"] == "conservative, log-odds")
    rows = {one["method"]: one for one in drawn("fig8").rows}
    for key in ("balance", "positive_patches", "positive_on_object"):
        assert rows["complete alone, logit"][key] == pytest.approx(alone[key], abs=0.11)
        assert rows["conservative alone, log-odds"][key] == pytest.approx(ours[key], abs=0.11)
    asked = [f"{kind} guided, {loss}" for kind, loss in (
        ("complete", "logit"), ("complete", "difference"),
        ("conservative", "log-odds"), ("conservative", "difference"),
    )]  # fmt: skip
    assert list(rows)[2:] == asked
    # Ours of both losses may be one: beside the guide its class holds nearly all of the odds.
    assert len({one["balance"] for one in rows.values()}) >= 5
    assert ours["balance"] > 0.5


def test_the_part_that_differs_speaks_for_its_class(drawn) -> None:
    """A drawn bald eagle, which differs from the kite by its white head alone."""
    forth, back = drawn("fig9").rows
    assert (forth["first"], forth["second"]) == ("bald eagle", "kite")
    assert forth["parts"][0] > 0.5
    assert back["parts"][0] < -0.5
    assert forth["likeness_of_orders"] < 0
    complete = drawn("fig10").rows[0]
    assert complete["balance_difference"] == pytest.approx(
        forth["parts_of_difference"][0], abs=2e-3
    )
    positive, conservative = drawn("fig10").rows[1:]
    assert "balance_difference" not in positive
    for key in ("difference", "log_odds"):
        (balance,) = forth[f"our_parts_of_{key}"]
        assert conservative[f"balance_{key}"] == pytest.approx(balance, abs=2e-3)
        assert balance > 0.5
    assert forth["our_likeness_of_orders"] < 0


def test_the_written_picture_has_the_new_class(drawn, lab) -> None:
    (row,) = drawn("fig11").rows
    array = images.preprocess(lab.output / row["picture"], lab.model.preprocessing)
    logits = jax.jit(predict)(lab.model, array)
    assert lab.short(int(logits.argmax())) == row["to"] != row["from"]
    assert drawn("fig11").summary["top class of the decoded PNG is the one asked for"]
    assert (
        drawn("fig11").summary["linf"]
        <= drawn("fig11").summary["smallest L-infinity budget, of 255"]
    )
    assert drawn("fig11").figures[""].get_size_inches()[0] > 5


def test_differences_of_areas(drawn, lab) -> None:
    rows = {
        (one["order"], one["method"], one["against"]): one["value"]
        for one in drawn("fig12").rows
        if one["measure"] == "accuracy"
    }
    for order in ("positive", "negative"):
        apart = rows[order, "complete", ""] - rows[order, "positive", ""]
        assert rows[order, "complete", "positive"] == pytest.approx(apart)
    assert 0 < drawn("fig12").summary["images"] <= lab.limit
    assert (lab.output / "fig12.png").exists()


def test_every_method_is_measured_as_in_figure_5(drawn) -> None:
    complete, positive, conservative = drawn("fig13").rows
    for one in (complete, positive, conservative):
        assert one["milliseconds"] > 0
    for one in (complete, positive):
        expected = np.mean([row[f"{one['method']}_target"] for row in drawn("fig5").rows])
        assert one["positive_on_target"] == pytest.approx(expected, abs=0.11)
    assert "both_signs_right" in complete
    assert "both_signs_right" not in positive
    assert "log-odds" not in positive
    for loss in ("log-odds", "difference"):
        found = [row[f"conservative, {loss}_rival"] for row in drawn("fig5").rows]
        assert conservative[loss]["positive_on_rival"] == pytest.approx(np.mean(found), abs=0.11)
        assert conservative[loss]["both_signs_right"] == 100


def test_the_command_writes_pictures_and_numbers(drawn, tmp_path, monkeypatch) -> None:
    from benchmarks.paper.__main__ import main

    monkeypatch.setattr(options, "prepare_jax", lambda dtype="float32": None)
    arguments = ["fig5", "--scenes", "1", "--output", str(tmp_path)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "fig5.json").read_text(encoding="utf-8"))
    assert content["rows"] == drawn("fig5").rows
    assert content["images"] == "drawn scenes"
    for method in ("complete", "conservative, log-odds"):
        assert f"  {method}, evidence on the background, %: " in done.output
    assert width(tmp_path / "fig5.png") > 1000
    (tmp_path / "none").mkdir()
    done = CliRunner().invoke(main, [*arguments, "--images", str(tmp_path / "none")])
    assert done.exit_code == 2
    assert "holds no el1.png" in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_the_grid_draws_signs_in_two_palettes() -> None:
    photo = np.full((40, 60, 3), 200, np.uint8)
    one = np.array([[1.0, -1.0], [0.0, 0.0]])
    columns = [Column("signed", [one, one], True, "3 ms"), Column("plain", [abs(one)] * 2, False)]
    rows = [Row(photo, "wide"), Row(photo.transpose(1, 0, 2), "tall")]
    figure = grid(rows, columns, per_band=1, title="$t$", footer="a model")
    # Two bands of a photo and a map for each row, and a colour bar for each palette.
    assert len(figure.axes) == 2 * 2 * 2 + 2
    pictures = [axis.images[0].get_array() for axis in figure.axes[:8]]
    (left, right), (low, high) = (
        np.asarray(one)[10, [5, -5]] for one in (pictures[1], pictures[5])
    )
    assert left[0] > left[2]  # orange for
    assert right[2] > right[0]  # blue against
    np.testing.assert_allclose(low, high)
    assert figures.encode(figure, "png") == figures.encode(
        grid(rows, columns, per_band=1, title="$t$", footer="a model"), "png"
    )


def test_the_grid_refuses_what_does_not_fit() -> None:
    row = Row(np.zeros((4, 4, 3), np.uint8), "")
    with pytest.raises(JaxattrError, match="0 photos"):
        grid([], [Column("a", [], True)])
    with pytest.raises(JaxattrError, match="a has 0 maps for 1 photos"):
        grid([row], [Column("a", [], True)])
    with pytest.raises(ValueError, match="NaN or infinity"):
        grid([row], [Column("a", [np.full((2, 2), np.nan)], True)])
