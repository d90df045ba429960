"""Write scenes as a labelled image folder, with defects planted and their truth beside it."""

from __future__ import annotations

import contextlib
import io
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxattr.data.unfinished import is_unfinished, sweep, unfinished
from jaxattr.errors import DatasetError
from jaxattr.scenes.classes import CLASSES
from jaxattr.scenes.defects import DEFAULT, Defect
from jaxattr.scenes.planting import Decision, assign, image_seed
from jaxattr.scenes.scene import SIZE
from jaxattr.scenes.showing import change_copy, show
from jaxattr.scenes.truth import (
    WATERMARK,
    Truth,
    mask_png,
    pack_masks,
    parquet,
    part_names,
    read_facts,
)

IMAGES, MASKS, TRUTH = "images", "masks", "truth.parquet"
PATCH = 8
"""Side of the embedded model's patches."""
_SMALLEST = 16
_MOVING = 5.0
"""Seconds that another process may take from its first move to its last."""


class _Drawn(NamedTuple):
    image: np.ndarray
    bits: np.ndarray | None
    background: str
    seed: tuple[int, ...]


def write_folder(
    path: str | Path,
    images_per_class: int = 40,
    *,
    seed: int = 0,
    size: int = SIZE,
    defects: Sequence[Defect] = DEFAULT,
    classes: Sequence[str] = CLASSES,
    masks: bool = True,
    suffix: str = ".png",
    progress: Callable[[int], None] = lambda count: None,
) -> list[Truth]:
    """Write one-object scenes to `images/<class>/<number>.png`, `masks/...`, and `truth.parquet`.

    Spaces of class names become underscores. `defects=()` writes the clean twin of the same seed:
    it differs in the images that have a `defect` only. All is written under a name of its own and
    moved to its place at the end: what cannot be finished is removed, what a killed process left
    is removed by the next call, and two calls for the same scenes at once both succeed.

    Args:
        path: made if it is not there; must be empty.
        masks: write a mask for each image, see `pack_masks`.
        suffix: `.png`, or `.jpg` (quality 92).
        progress: called with a number of images whenever so many more are written.

    Returns:
        The rows of `truth.parquet`, in its order.

    Raises:
        DatasetError: the folder is not empty, or holds other files by the time that these are
            drawn, or a number is out of range.
        LabelError: a class that does not exist.
    """
    path = Path(path)
    decisions = assign(defects, images_per_class, seed, classes)
    _check(path, size, suffix)
    digits = max(4, len(str(images_per_class - 1)))
    facts = facts_of(images_per_class, seed=seed, size=size, defects=defects)
    rows = []
    with _all_or_nothing(path, facts) as folder:
        for label in classes:
            for kind in (IMAGES, MASKS) if masks else (IMAGES,):
                (folder / kind / _slug(label)).mkdir(parents=True)
            for number, decision in enumerate(decisions[label]):
                name = f"{_slug(label)}/{number:0{digits}d}"
                drawn = _draw(decisions, (label, number), seed, size, masks)
                row = _truth(decision, drawn, name, suffix, digits)
                (folder / row.file).write_bytes(_encode(drawn.image, suffix))
                if drawn.bits is not None:
                    (folder / row.mask).write_bytes(mask_png(drawn.bits))
                rows.append(row)
                progress(1)
        (folder / TRUTH).write_bytes(parquet(rows, facts))
    return rows


def facts_of(
    images_per_class: int, *, seed: int, size: int = SIZE, defects: Sequence[Defect] = DEFAULT
) -> dict[str, str]:
    """What the truth of such a folder says of the whole, see `read_facts`."""
    return {
        "scenes": f"seed {seed}, {images_per_class} images per class, size {size}",
        "defects": ",".join(map(str, defects)) or "none",
    }


def _draw(
    decisions: dict[str, list[Decision]], at: tuple[str, int], seed: int, size: int, masks: bool
) -> _Drawn:
    """Draw the image in one place of the folder; a copy by drawing its source again."""
    decision = decisions[at[0]][at[1]]
    if decision.copy_of is not None:
        source = _draw(decisions, decision.copy_of, seed, size, masks)
        own = (*image_seed(seed, *at), 1)
        image = change_copy(source.image, decision.change, own)
        bits = source.bits
        if bits is not None:
            bits = change_copy(bits, decision.change, own, colours=False)
        return _Drawn(image, bits, source.background, source.seed)
    own = image_seed(seed, *at)
    shown = show(decision, own, size=size, masks=masks)
    bits = pack_masks(shown.scene, 0, shown.watermark) if masks else None
    return _Drawn(shown.image, bits, shown.scene.background, own)


def _truth(decision: Decision, drawn: _Drawn, name: str, suffix: str, digits: int) -> Truth:
    source = ""
    if decision.copy_of is not None:
        label, number = decision.copy_of
        source = f"{IMAGES}/{_slug(label)}/{number:0{digits}d}{suffix}"
    return Truth(
        file=f"{IMAGES}/{name}{suffix}",
        label=decision.label,
        true_label=decision.shown,
        defect="+".join(dict.fromkeys(one.kind for one in decision.defects)),
        background=drawn.background,
        missing_part=decision.without or "",
        watermark=decision.watermark,
        copy_of=source,
        change=decision.change,
        seed=drawn.seed,
        mask="" if drawn.bits is None else f"{MASKS}/{name}.png",
        parts=part_names(decision.shown),
    )


def hidden_bits(path: Path) -> int:
    """The bits of a folder's masks that are no object: the watermark's where scenes were drawn."""
    return 1 << WATERMARK if (path / TRUTH).is_file() else 0


def _slug(label: str) -> str:
    return label.replace(" ", "_")


def _encode(image: np.ndarray, suffix: str) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG" if suffix == ".png" else "JPEG", quality=92)
    return data.getvalue()


def _check(path: Path, size: int, suffix: str) -> None:
    if size < _SMALLEST:
        raise DatasetError(
            f"size {size}: too small to recognise anything; give {_SMALLEST} or more pixels."
        )
    if size % PATCH:
        low = size // PATCH * PATCH
        raise DatasetError(
            f"size {size}: does not divide into the model's patches of {PATCH} x {PATCH}; "
            f"give {low} or {low + PATCH}."
        )
    if suffix not in (".png", ".jpg"):
        raise DatasetError(f"suffix {suffix}: cannot be written; choose .png or .jpg.")
    if path.is_dir():
        sweep(path)
    if path.exists() and not (path.is_dir() and all(map(is_unfinished, path.iterdir()))):
        raise DatasetError(f"{path}: is not an empty folder; name a new one.")


@contextlib.contextmanager
def _all_or_nothing(path: Path, facts: dict[str, str]) -> Iterator[Path]:
    """A folder to write into; what it holds moves into `path`, or is removed where that fails."""
    new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    temporary = unfinished(path)
    temporary.mkdir()
    try:
        yield temporary
        _move(temporary, path, facts)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if new:
            with contextlib.suppress(OSError):  # another command works there
                path.rmdir()
        raise
    shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, path: Path, facts: dict[str, str]) -> None:
    """Move images, masks and, last, the truth to their place, unless the same is there already."""
    try:
        (temporary / IMAGES).rename(path / IMAGES)
    except OSError:
        if not (path / IMAGES).exists():
            raise
        deadline = time.monotonic() + _MOVING
        while not (path / TRUTH).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        if read_facts(path / TRUTH) != facts:
            raise DatasetError(f"{path}: now holds other files; name a new one.") from None
        return
    for name in (MASKS, TRUTH):
        if (temporary / name).exists():
            (temporary / name).rename(path / name)
