"""Printed times: the first execution is discarded, the median of the warm ones is shown."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from jaxattr.bench.methods import run as benchmark
from jaxattr.bench.timing import timed
from jaxattr.checkpoints import native
from jaxattr.cli.common import options
from jaxattr.cli.main import main
from jaxattr.data.dataset import index
from jaxattr.methods import METHODS
from jaxattr.vit import Model, Preprocessing

LABELS = ("cat", "dog", "bird", "fish", "horse")
COLD, QUICK, SLOW = 0.3, 0.01, 0.04


class Clock:
    """A clock that calls move on by what they cost."""

    def __init__(self, *costs):
        self.now, self.costs, self.made = 0.0, list(costs), []

    def __call__(self):
        return self.now

    def call(self, name):
        def run():
            self.now += self.costs[min(len(self.made), len(self.costs) - 1)]
            self.made.append(name)
            return name

        return run


def test_the_first_execution_is_discarded_and_the_median_taken():
    clock = Clock(217e-3, 36e-3, 90e-3, 35e-3, 37e-3, 36e-3, 34e-3)
    found = timed([clock.call("a")], repeats=6, clock=clock)
    assert found.seconds == pytest.approx(36e-3)
    assert (found.results, found.executions, len(clock.made)) == (["a"], 6, 7)


def test_every_call_returns_its_own_result_once_and_calls_take_turns():
    clock = Clock(5.0, 1.0, 2.0)
    found = timed([clock.call(name) for name in "abc"], repeats=5, budget=100.0, clock=clock)
    assert found.results == ["a", "b", "c"]
    assert clock.made == list("abcabc")
    assert (found.seconds, found.executions) == (2.0, 5)


@pytest.mark.parametrize(
    ("costs", "made", "seconds", "executions"),
    [
        ((3.0, 2.9), 2, 2.9, 1),  # over the budget: repeated once, for the first does not count
        ((0.9, 0.8), 3, 0.8, 2),  # 0.9 + 0.8 are within 2 s, another one is begun
        ((60.0, 59.0), 1, 60.0, 0),  # so long that its warm-up is nothing
    ],
)
def test_slow_calls_are_repeated_less(costs, made, seconds, executions):
    clock = Clock(*costs)
    found = timed([clock.call("a")], clock=clock)
    assert (len(clock.made), found.executions) == (made, executions)
    assert found.seconds == pytest.approx(seconds)


@pytest.fixture
def sleepers(monkeypatch):
    """Two methods whose first execution takes half a second, and the later ones 10 and 40 ms."""

    def method(seconds):
        calls = []

        def sleep(pixel):
            time.sleep(seconds if calls else COLD)
            calls.append(seconds)
            return np.asarray(pixel)

        def function(model, image, loss):
            shape = jax.ShapeDtypeStruct((), image.dtype)
            waited = jax.pure_callback(sleep, shape, image[0, 0, 0], vmap_method="sequential")
            return jax.numpy.arange(6.0).reshape(2, 3) + waited

        return function

    for name, seconds in (("rollout", QUICK), ("complete", SLOW)):
        replaced = replace(METHODS[name], function=method(seconds))
        monkeypatch.setitem(METHODS, name, replaced)


@pytest.fixture
def photo(tmp_path):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "cat" / "a.png")
    return tmp_path / "photos" / "cat" / "a.png"


@pytest.fixture
def model(tiny_model):
    return Model(tiny_model.parameters, tiny_model.config, LABELS, Preprocessing((8, 12)), "tiny")


def test_compare_prints_what_a_map_costs_once_warm(model, photo, sleepers, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "prepare_jax", lambda dtype="float32": None)
    native.save(model, tmp_path / "model.safetensors")
    out = tmp_path / "out"
    words = ["compare", str(photo), "--model", str(tmp_path / "model.safetensors"), "-f", "json"]
    done = CliRunner().invoke(main, [*words, "-m", "rollout", "-m", "complete", "-o", str(out)])
    assert done.exit_code == 0, done.stderr
    content = json.loads((out / "compare.json").read_text())
    quick, slow = content["seconds"]
    assert QUICK <= quick < SLOW <= slow < COLD
    assert 2 < slow / quick < 6  # 4, but for what is not sleep
    assert min(content["timed_executions"]) > 3
    printed = [float(line.split()[-4]) for line in done.stdout.splitlines()[1:3]]
    assert printed == [round(1000 * one, 1) for one in (quick, slow)]


def test_bench_methods_has_the_time_of_warm_batches(model, photo, sleepers, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "initialize", lambda *_, **__: model)  # asked of no row here
    for module in ("methods.run", "methods.maps", "methods.shards", "store"):
        monkeypatch.setattr(f"jaxattr.bench.{module}.SHARD", 2)
    dataset = index(tmp_path / "photos", LABELS)
    arguments = {"methods": ["rollout"], "untrained": [], "measured": ["sparseness"]}
    found = benchmark.run(model, dataset, tmp_path / "bench", **arguments)
    assert QUICK <= found.seconds["rollout"] < SLOW
    again = benchmark.run(model, dataset, tmp_path / "bench", **arguments)
    assert again.seconds == found.seconds
