"""What JSON says of where a result comes from: enough to cite it and to make it again."""

from __future__ import annotations

import json
from importlib.metadata import version

import jax
import numpy as np
from click.testing import CliRunner
from PIL import Image

import jaxattr
from jaxattr.cli.main import main
from jaxattr.vit.provenance import fingerprint


def test_the_weights_are_told_by_their_bytes(tiny_model) -> None:
    same = jax.tree.map(lambda leaf: np.array(leaf), tiny_model)
    other = jax.tree.map(lambda leaf: leaf * (1 + 1e-6), tiny_model)
    assert len(fingerprint(tiny_model)) == 64
    assert fingerprint(same) == fingerprint(tiny_model) != fingerprint(other)


def test_explain_and_bench_say_their_origin(tmp_path) -> None:
    photo = tmp_path / "a photo.png"
    Image.new("RGB", (96, 96), (90, 120, 60)).save(photo)
    words = ["explain", str(photo), "--model", "scenes", "--method", "rollout", "-f", "json"]
    words += ["-o", str(tmp_path / "out")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.stderr
    (path,) = (tmp_path / "out").glob("*.json")
    said = json.loads(path.read_text(encoding="utf-8"))["origin"]
    model = jaxattr.load("scenes")
    assert said["parameters"] == fingerprint(model)
    assert (said["model"], said["dtype"]) == ("scenes", "float32")
    assert {name: said[name] for name in ("jaxattr", "jax", "jaxlib")} == {
        name: version(name) for name in ("jaxattr", "jax", "jaxlib")
    }
    assert said["device"].startswith(jax.devices()[0].platform)
    assert said["command"].startswith("jaxattr explain '")
    assert "a photo.png'" in said["command"]

    done = CliRunner().invoke(
        main, ["bench", "explanations", "-n", "1", "-m", "rollout", "-q", "-f", "json"]
    )
    assert done.exit_code == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["origin"] == {
        **said,
        "command": "jaxattr bench explanations -n 1 -m rollout -q -f json",
    }
    assert content["seed"] == 0
