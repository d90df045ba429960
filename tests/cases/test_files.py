"""Names of files for any class and photo, and what a killed, full or shared folder does to them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from jaxattr import scenes
from jaxattr.cli.common import output
from jaxattr.cli.main import main
from jaxattr.data.labels import LabelTable
from jaxattr.data.unfinished import is_unfinished, sweep, unfinished
from jaxattr.errors import DatasetError
from jaxattr.vit import Preprocessing

LONG = "Animalia Chordata Aves Passeriformes Thraupidae Geospiza fortis and its relatives "
LABELS = (
    *(LONG + "one", LONG + "two", "a/b", "a:b", "Cat", "cat", "con", "nul.x"),
    *("caf\u00e9", "...", "", "cat-5", "猫" * 90, "猫" * 91),
)


def different(names):
    """Names that are different files also where case and the form of accents do not count."""
    return len({unicodedata.normalize("NFD", name.casefold()) for name in names}) == len(names)


def test_every_class_has_a_file_name_of_its_own():
    names = output.class_names(LabelTable(LABELS))
    assert different(names)
    assert all(len(name.encode()) <= output.CLASS + len("-13-2") for name in names)
    assert not any(set(name) & set('/\\:*?"<>| ') for name in names)
    assert not {"con", "nul"} & {name.partition(".")[0].casefold() for name in names}
    assert names[:2] == [f"{output.slug(LONG, output.CLASS)}-{i}" for i in range(2)]
    # It is the same whichever classes are asked for, and short where it is the only one.
    assert output.class_names(LabelTable(("zebra", "a/b"))) == ["zebra", "a_b"]


def test_every_photo_has_a_file_name_of_its_own():
    paths = ["a/x.jpg", "b/x.jpg", "b/X.png", "c/" + "y" * 250 + ".jpg", "d/" + "y" * 251 + ".jpg"]
    paths += ["caf\u00e9.jpg", "cafe\u0301.jpg", "con.jpg", "é" * 120 + ".jpg", "x.jpg-2.png"]
    names = output.unique_names([Path(path) for path in paths])
    assert different(names)
    assert all(len(name.encode()) <= output.PHOTO + 2 for name in names)
    assert "con" not in names


def test_the_longest_names_fit_on_a_disk():
    photo, name = "猫" * 90, "犬" * 90
    parts = output.slug(photo), output.slug(name, output.CLASS), output.slug(name, output.CLASS)
    whole = "{}-99-{}-20999-against-{}-20998-guided-99.json".format(*parts)
    assert len(whole.encode()) < 255
    assert len(unfinished(Path()).name) < 60


def test_five_classes_of_two_photos_are_ten_pictures(tiny_model, monkeypatch, tmp_path):
    """`a-x` of class `cat` and `a` of class `x-cat` want one name, too."""
    labels = ("cat", "x-cat", "dog", "emu", "fox")
    given = replace(tiny_model, labels=labels, preprocessing=Preprocessing((8, 12)), name="tiny")
    monkeypatch.setattr("jaxattr.checkpoints.load", lambda *args, **kwargs: given)
    for name in ("a", "a-x"):
        Image.fromarray(np.full((96, 96, 3), 99, np.uint8)).save(tmp_path / f"{name}.png")
    classes = [word for index in range(5) for word in ("-t", str(index))]
    photos = [str(tmp_path / "a.png"), str(tmp_path / "a-x.png")]
    arguments = ["explain", *photos, *classes, "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(main, [*arguments, "--method", "raw_attention", "-q"])
    assert done.exit_code == 0, done.stderr
    written = [line.strip() for line in done.stdout.splitlines() if line.endswith(".png")]
    written = [path for path in written if "/out/" in path]
    assert len(written) == 10
    assert different([Path(path).name for path in written])
    assert all(Path(path).is_file() for path in written)


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    body = (
        "from pathlib import Path; from jaxattr.data.unfinished import unfinished\n"
        "unfinished(Path('.')).write_text('half'); (p := unfinished(Path('.'))).mkdir()\n"
        "(p / 'x').write_text('half'); import os; os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", body], cwd=tmp_path, check=False)
    assert len([path for path in tmp_path.iterdir() if is_unfinished(path)]) == 2
    own = unfinished(tmp_path)
    own.write_text("being written")
    for name in (".scenes.part", ".a.png.12345.part", ".jaxattr-mine.part", ".jaxattr"):
        (tmp_path / name).write_text("precious")
    kept = {path.name for path in tmp_path.iterdir() if not is_unfinished(path)} | {own.name}
    output.make_folder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept
    os.utime(own, (0, 0))  # whoever it was, it is long ago
    sweep(tmp_path)
    assert not own.exists()


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    output.write(tmp_path / ("x" * 250), b"data")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        output.write(tmp_path / "taken", b"data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken", "x" * 250]


def test_two_drawings_into_one_folder_at_once_both_finish(tmp_path):
    meet, results = threading.Barrier(2), []

    def draw(seed):
        met = []

        def progress(count):
            if not met:
                met.append(meet.wait(60))

        try:
            given = {"size": 16, "defects": (), "classes": ("cat", "kite"), "masks": False}
            results.append(
                scenes.write_folder(tmp_path / "out", 2, seed=seed, progress=progress, **given)
            )
        except DatasetError as error:
            results.append(error)

    for seeds in ((0, 0), (1, 2)):
        results.clear()
        threads = [threading.Thread(target=draw, args=(seed,)) for seed in seeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if seeds == (0, 0):
            assert results[0] == results[1]
        else:
            assert sum(isinstance(one, DatasetError) for one in results) == 1
            assert any("now holds other files" in str(one) for one in results)
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == ["images", "truth.parquet"]
        (tmp_path / "out").rename(tmp_path / str(seeds))


def test_a_drawing_that_was_killed_can_be_run_again(tmp_path):
    body = (
        "import os; from jaxattr.scenes import write_folder\n"
        "write_folder('out', 2, size=16, progress=lambda count: os._exit(9))\n"
    )
    subprocess.run([sys.executable, "-c", body], cwd=tmp_path, check=False)
    assert all(map(is_unfinished, (tmp_path / "out").iterdir()))
    rows = scenes.write_folder(tmp_path / "out", 2, size=16)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("images", "masks", "truth.parquet")
    ]
    assert scenes.read_truth((tmp_path / "out" / "truth.parquet").read_bytes()) == rows
