"""From a labelled folder to a ledger: decode ahead, explain in batches, write shard by shard."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxattr.audit.evidence.compute import Evidence, Glance, evidence_batch, glance_batch
from jaxattr.audit.evidence.freshness import (
    Kept,
    Marks,
    forget,
    marks,
    note_seen,
    refresh,
    rows_at,
    take_back,
)
from jaxattr.audit.evidence.views import NAMES
from jaxattr.audit.ledger import FORMAT, MAPS, Ledger, Receipt, pack, pack_classes
from jaxattr.audit.ledger.hashing import packed_hash
from jaxattr.data import images
from jaxattr.data.dataset import Dataset
from jaxattr.errors import ImageError, printable
from jaxattr.heads import check_classifier
from jaxattr.vit import Model, Preprocessing
from jaxattr.vit.provenance import fingerprint

Row = dict[str, Any]
_Look = Callable[[jax.Array, jax.Array], Evidence | Glance]


class Decoded(NamedTuple):
    """One image, normalised for the device, and what the ledger keeps of its file."""

    image: np.ndarray
    sha256: str
    thumbnail: bytes
    hash: bytes


def make_receipt(model: Model, dataset: Dataset, *, total: int, **settings: Any) -> Receipt:
    """Say what identifies the run: model, folder, settings; nothing of the machine.

    Raises:
        JaxattrError: the model does not give each image one class, see `heads.classifier`.
    """
    from importlib.metadata import version

    check_classifier(model, "comparing labelled images with a model")
    count = len(dataset.files)
    return Receipt(
        format=FORMAT,
        version=version("jaxattr"),
        model=model.name,
        parameters=fingerprint(model),
        labels=model.labels or tuple(str(i) for i in range(model.config.classes)),
        grid=model.config.grid,
        feature_size=model.config.hidden_size,
        preprocessing=model.preprocessing.record(),
        images=str(dataset.root).encode("utf-8", "backslashreplace").decode(),
        index=_index_hash(dataset),
        count=count,
        total=total,
        # At most 4,096 files in the ledger, at least 64 images in each.
        shard_size=max(64, 1 << (max(count, 1) - 1).bit_length() >> 12),
        settings={**settings, "views": list(NAMES)},
        sizes=dataset.sizes,
        unlooked=dataset.unlooked,
    )


def gather(
    model: Model,
    dataset: Dataset,
    ledger: Ledger,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    strict: bool = False,
    maps: bool = True,
    kept: Kept | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Write every shard that the ledger lacks, or whose files have changed since.

    Args:
        batch_size: images handed to the device at once; the ledger does not depend on it.
        workers: decoding threads.
        strict: raise on the first unreadable image, instead of noting it in the ledger.
        maps: explain, too; else the maps stay null and no image is walked back. Say so in the
            receipt's settings, for this changes the ledger.
        kept: what `freshness.refresh` has found already; default: it is asked here.
        progress: called with the number of images of each finished batch.

    Raises:
        ImageError: an image is unreadable and `strict` is set.
    """
    size = batch_size or default_batch_size()
    places = (refresh(ledger, dataset, workers=workers) if kept is None else kept).places
    missing = ledger.missing()
    seen: dict[int, Marks] = {index: place.marks for index, place in places.items()}

    def look(batch: jax.Array, labels: jax.Array) -> Evidence | Glance:
        return (evidence_batch if maps else glance_batch)(model, batch, labels)

    def decode(index: int) -> Decoded:
        seen[index] = marks(dataset.root / dataset.files[index])  # before it is read
        return read(dataset.root, dataset.files[index], model.preprocessing)

    new = [index for index in _indices(ledger, missing) if index not in places]
    # Twice a batch ahead: one on the device, one being filled.
    stream: Any = images.read_ahead(new, decode, workers=workers, ahead=2 * size)
    with contextlib.closing(stream):  # whatever happens, no thread goes on reading
        rows = _seen(look, dataset, new, stream, size, strict, progress)
        for number in missing:
            members = _members(ledger, number)
            if not take_back(ledger, number, [places.get(index) for index in members]):
                stay = rows_at({index: places[index] for index in members if index in places})
                ledger.write(number, [stay.get(index) or next(rows) for index in members])
            note_seen(ledger, number, {dataset.files[index]: seen.pop(index) for index in members})
    forget(ledger)
    # An earlier run without `strict` may have noted some.
    if strict and (skipped := ledger.skipped()):
        raise ImageError(skipped[0][1])


def default_batch_size() -> int:
    """Images at once: few where they are explained one by one, many on an accelerator."""
    return 8 if jax.default_backend() == "cpu" else 64


def _members(ledger: Ledger, number: int) -> range:
    size = ledger.receipt.shard_size
    return range(number * size, min((number + 1) * size, ledger.receipt.count))


def _indices(ledger: Ledger, missing: list[int]) -> list[int]:
    return [index for number in missing for index in _members(ledger, number)]


def _seen(
    look: _Look,
    dataset: Dataset,
    indices: list[int],
    stream: Iterator[Decoded | ImageError],
    size: int,
    strict: bool,
    progress: Callable[[int], None],
) -> Iterator[Row]:
    """Rows in the order of `indices`; one batch is on the device while the next is decoded."""
    rows: list[tuple[Row, Decoded | None]] = []
    pending: tuple[list[tuple[Row, Decoded | None]], Evidence | Glance | None] | None = None
    waiting = 0
    for index, result in zip(indices, stream, strict=True):
        row: Row = {"index": index, "file": dataset.files[index], "error": ""}
        row["label"] = int(dataset.targets[index])
        if isinstance(result, ImageError):
            if strict:
                raise result
            rows.append((row | {"error": str(result)}, None))
        else:
            rows.append((row, result))
            waiting += 1
        if waiting == size or index == indices[-1]:
            launched = rows, _launch(look, rows, size)
            if pending is not None:
                yield from _finish(*pending, progress)
            pending, rows, waiting = launched, [], 0
    if pending is not None:
        yield from _finish(*pending, progress)


def _launch(
    look: _Look, rows: list[tuple[Row, Decoded | None]], size: int
) -> Evidence | Glance | None:
    """Start a batch on the device, filled up to its compiled size with its own first image."""
    good = [(row, decoded) for row, decoded in rows if decoded is not None]
    if not good:
        return None
    batch = np.stack([decoded.image for _, decoded in good])
    labels = np.asarray([row["label"] for row, _ in good], np.int32)
    fill = size - len(good)
    batch = np.concatenate([batch, np.repeat(batch[:1], fill, axis=0)])
    labels = np.concatenate([labels, np.repeat(labels[:1], fill)])
    return look(jax.numpy.asarray(batch), jax.numpy.asarray(labels))


def _finish(
    rows: list[tuple[Row, Decoded | None]],
    evidence: Evidence | Glance | None,
    progress: Callable[[int], None],
) -> Iterator[Row]:
    values = jax.tree.map(np.asarray, evidence)  # waits for the device
    progress(len(rows))
    position = 0
    for row, decoded in rows:
        if decoded is None:
            yield row
            continue
        one = jax.tree.map(lambda leaf, at=position: leaf[at], values)
        yield row | _columns(one, decoded)
        position += 1


def _columns(one: Evidence | Glance, decoded: Decoded) -> Row:
    columns: Row = {
        "sha256": decoded.sha256,
        "thumbnail": decoded.thumbnail,
        "hash": decoded.hash,
        "prediction": int(one.logits.argmax()),
        "rival": int(one.rival),
        "logits": one.logits.astype(np.float32),
        "feature": one.feature.astype(np.float32),
        "mean_logits": one.mean_logits.astype(np.float32),
        "mean_feature": one.mean_feature.astype(np.float32),
    }
    return columns | (_maps(one) if isinstance(one, Evidence) else {})


def _maps(one: Evidence) -> Row:
    columns: Row = {"classes": one.classes, "weight_class": one.weight_class.astype(np.float32)}
    for name in MAPS:
        values, scale = pack(np.asarray(getattr(one, name), np.float64).ravel())
        columns[name], columns[name.replace("map", "scale")] = values, scale
    maps = np.asarray(one.map_class, np.float64)
    columns["map_class"], columns["scale_class"] = pack_classes(maps)
    return columns


def read(root: Path, file: str, preprocessing: Preprocessing) -> Decoded:
    """Read, hash, decode, fit and normalise one file; runs in the decoding threads.

    Raises:
        ImageError: the file cannot be read or decoded; names it relative to the root, so that the
            ledger does not depend on where the folder lies.
    """
    content = images.read_bytes(root / file, name=file)
    try:
        image = images.decode(content, name=file, max_pixels=preprocessing.max_pixels)
        pixels = images.fit(image, preprocessing)
    except ImageError as error:
        text, shown = str(error), printable(file)
        raise ImageError(text if text.startswith(shown) else f"{shown}: {text}") from None
    normalized = images.normalize(pixels, preprocessing)
    digest = hashlib.sha256(content).hexdigest()
    thumbnail = images.thumbnail(pixels)
    return Decoded(normalized, digest, thumbnail, packed_hash(thumbnail))


def _index_hash(dataset: Dataset) -> str:
    digest = hashlib.sha256()
    for file, target in zip(dataset.files, dataset.targets, strict=True):
        path = dataset.root / file
        length = path.stat().st_size if path.exists() else -1
        digest.update(f"{file}\0{length}\0{int(target)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
