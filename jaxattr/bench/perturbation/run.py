"""The perturbation benchmark (paper, Fig. 12): every method's maps, masked from both ends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxattr.audit.evidence.freshness import content_hash
from jaxattr.audit.evidence.gather import make_receipt
from jaxattr.bench.perturbation.passes import RANDOM, Masked, explain, mask
from jaxattr.bench.perturbation.protocols import Protocol, steps
from jaxattr.bench.perturbation.table import Curve, Score, score
from jaxattr.bench.store import FORMAT, SHARD, Receipt, Store, open_store
from jaxattr.data import images
from jaxattr.data.dataset import Dataset
from jaxattr.errors import DatasetError, ImageError, JaxattrError
from jaxattr.experiments.guidance import Layout, stitch
from jaxattr.gradients import over_images
from jaxattr.heads import probabilities
from jaxattr.methods import Method, MethodLike, checked, own
from jaxattr.vit import Model, predict

BASELINES = ("raw_attention", RANDOM)
"""In every run, beside the methods that are asked for."""
CANDIDATES = 50
"""Images among which the guide of a class is chosen."""


class Guide(NamedTuple):
    """The image that every image is stitched with, see `jaxattr.guidance`."""

    name: str
    image: Float[np.ndarray, "height width channel"]
    """Normalised, at the model's input size."""
    class_: int
    layout: Layout = Layout()


class Result(NamedTuple):
    """What a run found."""

    protocol: Protocol
    methods: tuple[str, ...]
    scores: list[Score]
    curves: list[Curve]
    images: int
    left_out: int
    """Images of the guide's class."""
    skipped: list[tuple[str, str]]
    """File and reason of each image that could not be read."""


def run(
    model: Model,
    dataset: Dataset,
    folder: Path,
    protocol: Protocol,
    *,
    methods: Sequence[MethodLike] = ("complete", "positive"),
    guide: Guide | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Result:
    """Test methods and `BASELINES` on every image; what `folder` already holds is not redone.

    Args:
        dataset: labels may be -1 (unknown) where only predictions are explained.
        folder: of this model, images, methods and guide; protocols share it, and the maps in it.
        guide: wanted where the protocol is guided, and only there; its class is left out.
        seed: of the random map, the order of equal scores, and the intervals.
        progress: called with the number of images of each shard that is done.

    Raises:
        JaxattrError: an unknown method, fractions that do not fit, a guide missing or in the way.
        DatasetError: labels are missing, or no image is left.
        ImageError: no image can be read.
        LedgerError: the folder belongs to another run.
    """
    chosen_methods = _checked(model, methods, guide, protocol)
    steps(protocol, model.config)
    chosen = dataset if guide is None else without(dataset, guide.class_)
    if "label" in protocol.explained and (missing := int((chosen.targets < 0).sum())):
        raise DatasetError(
            f"{missing} of {len(chosen.files)} images have no label, which {protocol.name} needs; "
            "label them, or explain predictions only."
        )
    store = open_store(folder, _receipt(model, chosen, chosen_methods, guide, seed))
    _gather(model, chosen, chosen_methods, store, protocol, guide, workers, progress)
    errors, prediction, masked = _gathered(store, protocol)
    good = np.array([not error for error in errors])
    if not good.any():
        raise ImageError(f"none of the {len(good)} images can be read; the first: {errors[0]}")
    names = tuple(store.receipt.methods)
    found = score(protocol, names, masked, chosen.targets[good], prediction, seed=seed)
    skipped = [(file, error) for file, error in zip(chosen.files, errors, strict=True) if error]
    left_out = len(dataset.files) - len(chosen.files)
    return Result(protocol, names, *found, int(good.sum()), left_out, skipped)


def without(dataset: Dataset, class_: int) -> Dataset:
    """The images of all other classes: the guide must not be of an image's own class.

    Raises:
        DatasetError: there is no other.
    """
    keep = dataset.targets != class_
    if not keep.any():
        raise DatasetError(
            f"all {len(keep)} images are of the guide's own class; take a guide of another class."
        )
    files = tuple(file for file, one in zip(dataset.files, keep, strict=True) if one)
    return dataset._replace(files=files, targets=dataset.targets[keep])


def guide_from_file(model: Model, path: Path, dataset: Dataset, layout: Layout) -> Guide:
    """An image file as the guide; its class is its label in the dataset, else the prediction."""
    image = images.preprocess(path, model.preprocessing)
    known = {(dataset.root / file).resolve(): i for i, file in enumerate(dataset.files)}
    at = known.get(path.resolve())
    class_ = -1 if at is None else int(dataset.targets[at])
    if class_ < 0:
        class_ = int(_probabilities(model, jnp.asarray(image)[None])[0].argmax())
    return Guide(path.name, image, class_, layout)


def guide_of_class(model: Model, dataset: Dataset, class_: int, layout: Layout) -> Guide:
    """The image of a class that the model recognises best, among its first `CANDIDATES`.

    Raises:
        DatasetError: the dataset holds no readable image of that class.
    """
    members = [i for i, one in enumerate(dataset.targets) if one == class_][:CANDIDATES]
    best: tuple[float, Guide] | None = None
    for index in members:
        file = dataset.files[index]
        try:
            image = images.preprocess(dataset.root / file, model.preprocessing, name=file)
        except ImageError:
            continue
        chance = float(_probabilities(model, jnp.asarray(image)[None])[0, class_])
        if best is None or chance > best[0]:
            best = chance, Guide(file, image, class_, layout)
    if best is None:
        raise DatasetError(
            f"{dataset.root}: holds no readable image of class {class_} to take as the guide; name "
            "an image file."
        )
    return best[1]


def _checked(
    model: Model, methods: Sequence[MethodLike], guide: Guide | None, protocol: Protocol
) -> tuple[Method, ...]:
    chosen = checked([*methods, BASELINES[0]], model)
    if protocol.guided and guide is None:
        raise JaxattrError(
            f"{protocol.name} stitches every image with a guide of another class; name one."
        )
    if guide is not None and not protocol.guided:
        raise JaxattrError(f"{protocol.name} uses no guide; leave it out.")
    return chosen


def _receipt(
    model: Model,
    dataset: Dataset,
    methods: tuple[Method, ...],
    guide: Guide | None,
    seed: int,
) -> Receipt:
    made = make_receipt(model, dataset, total=len(dataset.files))
    described = None
    if guide is not None:
        digest = hashlib.sha256(np.ascontiguousarray(guide.image).tobytes()).hexdigest()
        described = {"name": guide.name, "class": guide.class_, **asdict(guide.layout)}
        described["sha256"] = digest
    return Receipt(
        format=FORMAT,
        version=made.version,
        model=made.model,
        parameters=made.parameters,
        preprocessing=made.preprocessing,
        images=made.images,
        index=content_hash(dataset),
        count=made.count,
        methods=[*(one.name for one in methods), RANDOM],
        seed=seed,
        guide=described,
        own_methods=own(methods),
    )


def _gather(
    model: Model,
    dataset: Dataset,
    methods: tuple[Method, ...],
    store: Store,
    protocol: Protocol,
    guide: Guide | None,
    workers: int | None,
    progress: Callable[[int], None],
) -> None:
    """Compute and write every shard that the store lacks."""
    missing = [i for i in range(len(store.shards)) if not store.has_curves(protocol, i)]
    progress(sum(len(members) for members in store.shards) - _count(store, missing))
    wanted = [index for number in missing for index in store.shards[number]]

    def decode(index: int) -> np.ndarray:
        file = dataset.files[index]
        return images.preprocess(dataset.root / file, model.preprocessing, name=file)

    stream = images.read_ahead(wanted, decode, workers=workers, ahead=2 * SHARD)
    for number in missing:
        members = store.shards[number]
        some = islice(stream, len(members))
        _shard(model, dataset, methods, store, protocol, guide, number, some)
        progress(len(members))


def _shard(
    model: Model,
    dataset: Dataset,
    methods: tuple[Method, ...],
    store: Store,
    protocol: Protocol,
    guide: Guide | None,
    number: int,
    decoded: Iterator[np.ndarray | ImageError],
) -> None:
    """Compute one shard: its maps, unless another protocol has left them, and its curves."""
    members, shown, errors = store.shards[number], [], []
    for one in decoded:
        errors.append(str(one) if isinstance(one, ImageError) else "")
        if not isinstance(one, ImageError):
            shown.append(one)
    good = [index for index, error in zip(members, errors, strict=True) if not error]
    c = model.config
    pictures = np.stack(shown) if shown else np.zeros((0, *c.image_size, c.channels), np.float32)
    if guide is not None and shown:
        pictures = _stitched(pictures, guide)
    labels, names = dataset.targets[good], [dataset.files[index] for index in good]
    seed, kept = store.receipt.seed, store.maps(number)
    if kept is not None and kept[0] == errors:
        unmasked = kept[1]
    else:
        unmasked = explain(model, pictures, labels, names, methods, seed)
        store.write_maps(number, errors, unmasked)
    masked = mask(model, pictures, unmasked, labels, names, protocol, seed)
    store.write_curves(protocol, number, masked)


def _gathered(store: Store, protocol: Protocol) -> tuple[list[str], np.ndarray, Masked]:
    """Errors of all images; the readable ones' predictions, and answers when masked."""
    errors, predictions, masked = [], [], []
    for number in range(len(store.shards)):
        kept = store.maps(number)
        assert kept is not None  # written before the curves
        errors += kept[0]
        predictions.append(kept[1].prediction)
        masked.append(store.curves(protocol, number))
    joined = Masked(*(np.concatenate(parts) for parts in zip(*masked, strict=True)))
    return errors, np.concatenate(predictions), joined


def _count(store: Store, numbers: Sequence[int]) -> int:
    return sum(len(store.shards[number]) for number in numbers)


def _stitched(pictures: np.ndarray, guide: Guide) -> np.ndarray:
    """Every image with the guide beside it; filled up to a shard, so that it compiles once."""
    fill = np.minimum(np.arange(SHARD), len(pictures) - 1)
    stitched = _stitch(jnp.asarray(pictures[fill]), jnp.asarray(guide.image), guide.layout)
    return np.asarray(stitched)[: len(pictures)]


@partial(jax.jit, static_argnames="layout")
def _stitch(
    pictures: Float[Array, "image height width channel"],
    guide: Float[Array, "height width channel"],
    layout: Layout,
) -> Float[Array, "image height width channel"]:
    return jax.vmap(lambda one: stitch(one, guide, layout=layout))(pictures)


@jax.jit
def _probabilities(
    model: Model, pictures: Float[Array, "image height width channel"]
) -> Float[Array, "image class"]:
    return over_images(lambda one: probabilities(model.config, predict(model, one)), pictures)
