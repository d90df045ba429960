"""What `jaxattr compare` computes: each method's maps of each photo and class, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxattr.cli.common import targets
from jaxattr.cli.common.interrupt import interruptible
from jaxattr.cli.explain import run as explaining

if TYPE_CHECKING:
    import numpy as np

    from jaxattr.data.labels import LabelTable
    from jaxattr.data.photos import Photo
    from jaxattr.methods import Method
    from jaxattr.plot.grid import Row
    from jaxattr.vit import Model


class Case(NamedTuple):
    """A photo and what is asked of it: one row of the picture."""

    photo: Photo
    logits: np.ndarray
    probability: float | None
    """`None` for a regression, whose logit is the value."""
    asked: targets.Asked

    def title(self, table: LabelTable) -> str:
        """The photo's name, the class with its probability, and the class it is set against.

        Of a regression, the output with its value.
        """
        target, against = self.asked
        number = self.logits[target] if self.probability is None else self.probability
        other = "" if against is None else f" against {table.short(against)}"
        return f"{self.photo.path.name}: {table.short(target)} ({number:.2f}){other}"


class Answer(NamedTuple):
    """One method's maps of all cases."""

    method: Method
    maps: np.ndarray
    """`[case, row, column]`."""
    compiling: float
    seconds: float
    """Of one map, compiled and warm: the median of several executions."""
    executions: int
    """How many these are: see `jaxattr.bench.timing`."""

    def constant(self) -> list[int]:
        """The cases whose map is the same everywhere: it says nothing."""
        from jaxattr.plot import heatmap

        return [i for i, one in enumerate(self.maps) if heatmap.constant(one)]


def cases(
    model: Model, question: targets.Question, paths: list[Path], bad: list[Exception]
) -> list[Case]:
    """All photos that can be decoded, with their classes; `bad` takes the errors of the others."""
    import jax
    import numpy as np

    from jaxattr.explanation import classify, probabilities

    forward, found = jax.jit(classify), []
    for photos in explaining.chunks(model, paths, 1, bad):
        (photo,) = photos
        logits = np.asarray(forward(model, photo.array[None]))[0].astype(np.float64)
        chances = probabilities(model, logits)
        for asked in targets.ask(question, logits):
            chance = None if chances is None else float(chances[asked.target])
            found.append(Case(photo, logits, chance, asked))
    return found


def compare(
    model: Model,
    given: Sequence[Case],
    methods: Sequence[Method],
    views: int,
    loss: str,
    report: Callable[[str, int], None],
) -> Iterator[Answer]:
    """Every method's maps; `report` is told the name and number of each before it starts."""
    for number, method in enumerate(methods):
        report(method.name, number)
        yield interruptible(lambda method=method: _answer(model, given, method, views, loss))


def _answer(model: Model, given: Sequence[Case], method: Method, views: int, loss: str) -> Answer:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxattr import losses
    from jaxattr.bench.timing import timed
    from jaxattr.explanation import viewed

    build, function = losses.named(loss), viewed(method.function, model.config, views)

    def one(model: Model, image: Any, first: Any, second: Any) -> Any:
        return function(model, image, build(first, second))

    def arguments(case: Case) -> tuple[Any, ...]:
        target, against = case.asked
        classes = jnp.int32(target), jnp.int32(0 if against is None else against)
        return model, jnp.asarray(case.photo.array), *classes

    asked = [arguments(case) for case in given]
    began = time.perf_counter()
    run = jax.jit(one).lower(*asked[0]).compile()
    compiling = time.perf_counter() - began
    found = timed([partial(run, *each) for each in asked])
    return Answer(method, np.stack(found.results), compiling, found.seconds, found.executions)


def forward_seconds(model: Model, case: Case) -> float:
    """What one forward pass costs, for the ratio: compiled and warm, the median of several."""
    import jax
    import jax.numpy as jnp

    from jaxattr.bench.timing import timed

    image = jnp.asarray(case.photo.array)
    run = jax.jit(lambda model, image: model.forward(image)[0])
    return timed([lambda: run(model, image)]).seconds


def rows(given: Sequence[Case], table: LabelTable) -> list[Row]:
    """The rows of the picture."""
    from jaxattr.plot.grid import Row

    return [Row(case.photo.picture, case.title(table)) for case in given]
