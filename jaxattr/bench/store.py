"""Where benchmarks of maps keep what they have computed: a killed run resumes from there.

`run.json` says which model, images, methods and guide; `maps/` holds every method's maps,
`curves/<protocol>/` what the model says of the masked images, and `scores/<metric>/` those of
`bench methods`. All are runs of `SHARD` images in index order, written under a temporary name and
renamed: a shard is whole or not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from jaxattr.bench.perturbation.passes import Masked, Unmasked
from jaxattr.bench.perturbation.protocols import Protocol
from jaxattr.data.writing import clean, replacing, write_new
from jaxattr.errors import LedgerError

FORMAT = 1
SHARD = 16
_MAPS = "maps/"


@dataclass(frozen=True)
class Receipt:
    """What identifies the maps: two runs with equal receipts have equal maps."""

    format: int
    version: str
    model: str
    parameters: str
    """SHA-256 over all parameters."""
    preprocessing: dict[str, Any]
    images: str
    index: str
    """SHA-256 over file names, contents and labels: images that change are another run's."""
    count: int
    methods: list[str]
    seed: int
    guide: dict[str, Any] | None
    """The guide's name, class, layout and SHA-256."""
    target: str | None = None
    """What `bench methods` explains where it is not the label."""
    own_methods: dict[str, str] | None = None
    """Digests of methods that are not built in, and of maps made elsewhere, by name: a changed one
    is another run's."""


@dataclass(frozen=True)
class Store:
    """A run's folder."""

    folder: Path
    receipt: Receipt

    @property
    def shards(self) -> list[range]:
        """The images of each shard."""
        count = self.receipt.count
        return [range(start, min(start + SHARD, count)) for start in range(0, count, SHARD)]

    def has_curves(self, protocol: Protocol, number: int) -> bool:
        """Whether a shard of a protocol is finished."""
        return self._curves(protocol, number).exists() and self._maps(number).exists()

    def maps(self, number: int) -> tuple[list[str], Unmasked] | None:
        """The error of each image of a shard (empty: none), and the readable ones' maps."""
        if not self._maps(number).exists():
            return None
        found = _read(self._maps(number))
        maps = {name: found[_MAPS + name] for name in self.receipt.methods}
        return list(found["error"]), Unmasked(found["prediction"], found["probability"], maps)

    def write_maps(self, number: int, errors: list[str], unmasked: Unmasked) -> None:
        """Write the maps of one shard."""
        maps = {_MAPS + name: one for name, one in unmasked.maps.items()}
        _write(
            self._maps(number),
            error=np.array(errors, np.str_),
            prediction=unmasked.prediction,
            probability=unmasked.probability,
            **maps,
        )

    def curves(self, protocol: Protocol, number: int) -> Masked:
        """What the model says of a shard's masked images; readable ones only."""
        found = _read(self._curves(protocol, number))
        return Masked(found["top"], found["probability"])

    def write_curves(self, protocol: Protocol, number: int, masked: Masked) -> None:
        """Write one shard of a protocol."""
        _write(self._curves(protocol, number), **masked._asdict())

    def has_scores(self, name: str, number: int) -> bool:
        """Whether a shard of a metric, or of anything else with a name, is finished."""
        return self._scores(name, number).exists()

    def scores(self, name: str, number: int) -> dict[str, np.ndarray]:
        """One shard of a metric."""
        return _read(self._scores(name, number))

    def write_scores(self, name: str, number: int, **arrays: Any) -> None:
        """Write one shard of a metric."""
        _write(self._scores(name, number), **arrays)

    def _scores(self, name: str, number: int) -> Path:
        return self.folder / "scores" / name / f"shard-{number:06d}.npz"

    def _maps(self, number: int) -> Path:
        return self.folder / "maps" / f"shard-{number:06d}.npz"

    def _curves(self, protocol: Protocol, number: int) -> Path:
        name = f"{protocol.name}@{','.join(protocol.explained)}"
        return self.folder / "curves" / name / f"shard-{number:06d}.npz"


class Parts(NamedTuple):
    """Arrays computed in numbered parts; what a store holds of them is not computed again."""

    store: Store
    name: str

    def get(
        self, number: int, compute: Callable[[], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """One part, read or else computed and written."""
        if self.store.has_scores(self.name, number):
            return self.store.scores(self.name, number)
        found = compute()
        self.store.write_scores(self.name, number, **found)
        return found


def open_store(folder: Path, receipt: Receipt) -> Store:
    """Open this run's folder, begun by an earlier call or not.

    Raises:
        LedgerError: the folder holds another run, or what cannot be read.
    """
    path, wanted = folder / "run.json", json.loads(json.dumps(asdict(receipt)))
    for part in (folder, *(one.parent for one in folder.glob("*/**/.*.part"))):
        clean(part)
    if path.exists():
        try:
            earlier = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            earlier = None
        if not isinstance(earlier, dict):
            raise LedgerError(f"{path} cannot be read; delete {folder}.")
        changed = [name for name in {**wanted, **earlier} if earlier.get(name) != wanted.get(name)]
        if changed:
            raise LedgerError(
                f"{folder} holds another run (different: {', '.join(changed)}); choose another "
                "--output, or delete that folder."
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_new(path, json.dumps(wanted, indent=1, ensure_ascii=False) + "\n")
    return Store(folder, receipt)


def _write(path: Path, **arrays: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here, because numpy leaves a file open that is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise LedgerError(
            f"{path} cannot be read ({reason}); delete that file and run the same command again."
        ) from None
