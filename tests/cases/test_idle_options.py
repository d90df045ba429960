"""Options that would change nothing are refused, in one line, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from jaxattr import scenes as drawn
from jaxattr.cli import scenes
from jaxattr.cli.main import main
from jaxattr.errors import DatasetError


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("audit --images photos --seed 1", "--seed"),
        ("bench audit --plant uniform --rates 5%", "--rates"),
        ("bench audit --plant twin --pairs 3", "--pairs"),
        ("bench audit --plant confusable --noise 5%", "--noise"),
        ("bench methods --metrics deletion --masks photos --images photos", "--masks"),
        ("bench perturbation --side top", "--side"),
        ("bench perturbation --resize pad", "--resize"),
        ("bench perturbation --measure agreement", "--measure"),
        ("bench perturbation --measure agreement --figure x.png --class label", "--measure"),
        ("compare photos -f npz --colors paper", "--colors"),
        ("compare photos -f json --patches", "--patches"),
        ("explain photos -f json --together", "--together"),
        ("explain photos -f json --alpha 0.5", "--alpha"),
        ("explain photos --guide auto --together", "--together"),
        ("explain photos --details 3 --together", "--together"),
        ("explain photos --details 3 -f npz --guide-images photos", "--guide-images"),
        ("explain photos --guide photos/cat/x.png --guide-images photos", "--guide-images"),
        ("explain photos --guides 3", "--guides"),
        ("explain photos --guide-images photos", "--guide-images"),
        ("rewrite x.png --to cat --largest 9", "--largest"),
        ("rewrite x.png --to cat --linf 9 --budget-search", "--linf"),
        ("explain photos --revision main", "revision"),
    ],
)
def test_an_option_without_effect_is_refused(words, option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    Path("photos/cat/x.png").write_bytes(b"")
    Path("photos/x.png").write_bytes(b"")
    done = CliRunner().invoke(main, words.split())
    assert done.exit_code == 2
    assert option in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_scenes_of_another_seed_are_not_taken_for_these(tmp_path):
    images = scenes.drawn(tmp_path / "scenes", 1, seed=0)
    before = {path: path.stat().st_mtime_ns for path in images.rglob("*.png")}
    assert scenes.drawn(tmp_path / "scenes", 1, seed=0) == images
    assert {path: path.stat().st_mtime_ns for path in images.rglob("*.png")} == before
    for seed, masks in ((1, False), (0, True)):
        with pytest.raises(DatasetError, match=r"holds other scenes .*choose another --output"):
            scenes.drawn(tmp_path / "scenes", 1, seed=seed, masks=masks)
    (tmp_path / "mine" / "kept").mkdir(parents=True)
    with pytest.raises(DatasetError, match="is not an empty folder"):
        scenes.drawn(tmp_path / "mine", 1, seed=0)


@pytest.mark.parametrize("folder", [True, False])
def test_a_folder_named_scenes_is_meant_where_it_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if folder:
        Path("scenes").mkdir()
    asked = []

    def stop(images):
        asked.append(scenes.is_drawn(images))
        raise DatasetError("enough")

    monkeypatch.setattr("jaxattr.cli.audit.command.is_drawn", stop)
    for words in (["audit"], ["audit", "--images", "scenes"]):
        CliRunner().invoke(main, words)
    assert asked == [True, not folder]


def test_facts_are_those_of_the_file(tmp_path):
    assert drawn.read_facts(tmp_path / "none") == {}
    (tmp_path / "bad").write_bytes(b"PAR1")
    assert drawn.read_facts(tmp_path / "bad") == {}
