"""The benchmark of methods: every metric of every method's maps on a labelled folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxattr import metrics, registry
from jaxattr.audit.evidence.freshness import content_hash
from jaxattr.audit.evidence.gather import make_receipt
from jaxattr.bench import timing
from jaxattr.bench.methods import scoring as scoring
from jaxattr.bench.methods.given import MapsByFile, digest, on_grid
from jaxattr.bench.methods.maps import Explainer, Row, batched, rows
from jaxattr.bench.methods.shards import (
    Run,
    Target,
    decode,
    fellows,
    kept,
    mask_path,
    recognised,
    shard,
)
from jaxattr.bench.methods.table import Score, table
from jaxattr.bench.perturbation.passes import Unmasked
from jaxattr.bench.store import FORMAT, SHARD, Receipt, open_store
from jaxattr.data.dataset import Dataset
from jaxattr.errors import DatasetError, ImageError, JaxattrError
from jaxattr.gradients import over_images
from jaxattr.heads import probabilities
from jaxattr.methods import CHEAP, MethodLike, checked, own, resolve_all
from jaxattr.metrics import Metric, MetricLike
from jaxattr.vit import Model, initialize, predict

FELLOWS = 64
"""Classes whose best recognised image may stand in a mosaic."""
_SECONDS = "warm-seconds"


class Result(NamedTuple):
    """What a run found."""

    rows: tuple[Row, ...]
    scores: list[Score]
    seconds: dict[str, float]
    """Of one map by row, in a batch of `SHARD`, compiled and warm: the median over batches; NaN
    where maps were made elsewhere."""
    images: int
    recognised: int
    """Images whose explained class the model gives at least `CONFIDENT`, as its top class."""
    skipped: list[tuple[str, str]]
    """File and reason of each image that could not be read."""


def run(
    model: Model,
    dataset: Dataset,
    folder: Path,
    *,
    methods: Sequence[MethodLike] = CHEAP,
    untrained: Sequence[MethodLike] | None = None,
    maps: Mapping[str, MapsByFile] | None = None,
    measured: Sequence[MetricLike] | None = None,
    masks: Path | None = None,
    target: Target = "label",
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Result:
    """Explain one class of every image by every method and score the maps.

    What `folder` already holds is not computed again; other metrics take the maps that are there.

    Args:
        methods: names or functions, see `methods.resolve`; what `folder` holds of a function of
            one's own belongs to its name and its source file, see `registry.digest`.
        untrained: methods that are also run on random weights; by default all of `methods`.
        maps: made elsewhere for the same classes, by the name of their row and the image's file,
            see `given`; metrics that ask for further maps are not defined for them.
        measured: names of `metrics.METRICS`, or functions, see `metrics.resolve`; by default
            `metrics.CHEAP`, without masks those of it that need none.
        masks: folder with a PNG for each image, named like it; what is not 0 is the object.
        target: the class explained, asked of in faithfulness and recognised in mosaics: the image's
            label, or what the model predicts.
        seed: of the random weights, the random map, all noise, and the intervals.
        progress: called with a number of images whenever so many are done with one metric; maps
            count as one.

    Raises:
        JaxattrError: an unknown method or metric, or one that needs masks where there are none.
        DatasetError: a label that is to be explained, a mask, or a map is missing, or does not fit.
        ImageError: no image can be read.
        LedgerError: the folder belongs to another run.
    """
    elsewhere = {
        name: on_grid(name, one, dataset.files, model.config) for name, one in (maps or {}).items()
    }
    every = _checked(model, methods, methods if untrained is None else untrained, elsewhere)
    _check_labels(dataset, target)
    chosen = _metrics(measured, masks)
    made = initialize(
        model.config, jax.random.key(seed), labels=model.labels, preprocessing=model.preprocessing
    )
    explainer = Explainer(model, replace(made, name=model.name), seed, elsewhere)
    store = open_store(folder, _receipt(explainer, dataset, every, target))
    this = Run(dataset, explainer, store, every, masks, workers, target)
    names = {one: _stored_name(this, one) for one in chosen}
    _explain_all(this, progress)
    errors = [error for number in range(len(store.shards)) for error in kept(store, number)[0]]
    good = np.array([not error for error in errors])
    if not good.any():
        raise ImageError(f"none of the {len(good)} images can be read; the first: {errors[0]}")
    _score_all(this, names, progress)
    found = {
        one: np.concatenate(
            [store.scores(stored, number)["scores"] for number in range(len(store.shards))]
        )
        for one, stored in names.items()
    }
    return Result(
        every,
        table(every, found, seed=seed),
        _seconds(this),
        int(good.sum()),
        int(recognised(this).sum()),
        [(file, error) for file, error in zip(dataset.files, errors, strict=True) if error],
    )


def _checked(
    model: Model,
    methods: Sequence[MethodLike],
    untrained: Sequence[MethodLike],
    maps: Collection[str],
) -> tuple[Row, ...]:
    checked([*methods, *untrained], model)  # no two may have the same name
    if not methods and not maps:
        raise JaxattrError("no method to score; name at least one.")
    found = rows(resolve_all(methods), resolve_all(untrained), list(maps))
    names = [row.name for row in found]
    if twice := [name for name in maps if names.count(name) > 1]:
        raise JaxattrError(f"{', '.join(twice)}: maps and a method of one name; rename the maps.")
    return found


def _check_labels(dataset: Dataset, target: Target) -> None:
    if target not in get_args(Target):
        raise JaxattrError(f"target is {target!r}; choose label or prediction.")
    missing = int((dataset.targets < 0).sum())
    if missing and target == "label":
        raise DatasetError(
            f"{missing} of {len(dataset.files)} images have no label, which is what is explained; "
            "label them, or explain the prediction."
        )


def _metrics(measured: Sequence[MetricLike] | None, masks: Path | None) -> tuple[Metric, ...]:
    if measured is None:
        measured = [name for name in metrics.CHEAP if masks or not metrics.METRICS[name].masks]
    chosen = metrics.resolve_all(measured)
    if not masks and (blind := [one.name for one in chosen if one.masks]):
        raise JaxattrError(f"{', '.join(blind)}: compares maps with masks; give --masks FOLDER.")
    return chosen


def _receipt(
    explainer: Explainer, dataset: Dataset, every: Sequence[Row], target: Target
) -> Receipt:
    made = make_receipt(explainer.model, dataset, total=len(dataset.files))
    theirs = {name: digest(one) for name, one in explainer.given.items()}
    return Receipt(
        format=FORMAT,
        version=made.version,
        model=made.model,
        parameters=made.parameters,
        preprocessing=made.preprocessing,
        images=made.images,
        index=content_hash(dataset),
        count=made.count,
        methods=[row.name for row in every],
        seed=explainer.seed,
        guide=None,
        target=None if target == "label" else target,
        own_methods=(own(row.method for row in every if row.method) or {}) | theirs or None,
    )


def _explain_all(this: Run, progress: Callable[[int], None]) -> None:
    """Write the maps of every shard that lacks them, what the model says, and the times."""
    store = this.store
    missing = [i for i in range(len(store.shards)) if store.maps(i) is None]
    progress(sum(map(len, store.shards)) - sum(len(store.shards[i]) for i in missing))
    stream = decode(this, [index for number in missing for index in store.shards[number]])
    warm: set[str] = set()
    for number in missing:
        members = store.shards[number]
        decoded = list(islice(stream, len(members)))
        errors = [str(one) if isinstance(one, ImageError) else "" for one in decoded]
        good = [one for one in decoded if not isinstance(one, ImageError)]
        readable = [i for i, e in zip(members, errors, strict=True) if not e]
        names = [this.dataset.files[i] for i in readable]
        c = this.explainer.model.config
        pictures = np.stack(good) if good else np.zeros((0, *c.image_size, c.channels), np.float32)
        answers = _probabilities(this.explainer.model, pictures)
        top = answers.argmax(axis=1).astype(np.int32)
        labels = this.explained(readable, top)
        maps, seconds = {}, []
        for row in this.rows:
            found, second = this.explainer.timed(row, pictures, labels, names)
            maps[row.name] = found[:, None]
            compiled = row.shown
            short = second * batched(row, len(readable)) <= timing.LONG
            seconds.append(np.nan if short and compiled not in warm else second)
            warm.add(compiled)
        chance = answers[np.arange(len(labels)), labels][:, None]
        store.write_scores(_SECONDS, number, seconds=np.array(seconds))
        store.write_maps(number, errors, Unmasked(top, chance, maps))
        progress(len(members))


def _score_all(this: Run, names: dict[Metric, str], progress: Callable[[int], None]) -> None:
    """Write every shard of every metric that the store lacks."""
    store = this.store
    lacking = {
        number: [one for one, stored in names.items() if not store.has_scores(stored, number)]
        for number in range(len(store.shards))
    }
    progress(sum((len(names) - len(lacking[i])) * len(m) for i, m in enumerate(store.shards)))
    missing = [number for number, asked in lacking.items() if asked]
    others = cache(partial(fellows, this, FELLOWS))
    stream = decode(this, [index for number in missing for index in store.shards[number]])
    for number in missing:
        members = store.shards[number]
        part = shard(this, number, list(islice(stream, len(members))))
        for one in lacking[number]:
            scores = scoring.score(one, this.explainer, this.rows, part, others)
            store.write_scores(names[one], number, scores=scores)
            progress(len(members))


def _stored_name(this: Run, metric: Metric) -> str:
    """Under which a metric is kept: its id, of one's own its digest, and what the masks are."""
    name = metric.id
    if metric.name not in metrics.METRICS:
        name = re.sub(r"[^\w.@-]", "_", f"{name}@{registry.digest(metric.score)}", flags=re.ASCII)
    if not metric.masks:
        return name
    digest = hashlib.sha256()
    for file in this.dataset.files:
        digest.update(mask_path(this, file).read_bytes())
    return f"{name}@{digest.hexdigest()[:12]}"


def _seconds(this: Run) -> dict[str, float]:
    """Medians over the warm batches; what has none is measured on the first batch again."""
    store, numbers = this.store, range(len(this.store.shards))
    found = np.full((len(numbers), len(this.rows)), np.nan)
    for number in numbers:
        if store.has_scores(_SECONDS, number):
            found[number] = store.scores(_SECONDS, number)["seconds"]
    timed = np.array([row.model != "given" for row in this.rows])
    cold = np.isnan(found).all(axis=0) & timed
    if cold.any():
        first = next(i for i in numbers if not all(kept(store, i)[0]))
        part = shard(this, first, list(decode(this, store.shards[first])))
        for k in np.flatnonzero(cold).tolist():
            row = this.rows[k]
            if row.method:
                this.explainer.compile(row.method)
            given = row, part.images, part.labels, part.names
            again = timing.timed([partial(this.explainer.explain, *given)])
            found[first, k] = again.seconds / batched(row, len(part.images))
        store.write_scores(_SECONDS, first, seconds=found[first])
    return {
        row.name: float(np.nanmedian(found[:, k])) if timed[k] else np.nan
        for k, row in enumerate(this.rows)
    }


def _probabilities(model: Model, pictures: np.ndarray) -> np.ndarray:
    """Filled up to a shard, so that it is compiled once."""
    if not len(pictures):
        return np.zeros((0, model.config.classes), np.float32)
    chosen = np.minimum(np.arange(SHARD), len(pictures) - 1)
    return np.asarray(_classify(model, jnp.asarray(pictures[chosen])))[: len(pictures)]


@jax.jit
def _classify(model: Model, pictures: jax.Array) -> jax.Array:
    return over_images(lambda one: probabilities(model.config, predict(model, one)), pictures)
