"""The ledger: what was seen of every image, in Parquet shards that are written once.

A shard is a fixed run of the index, written under a temporary name and renamed, so that a ledger
holds whole shards only, whatever moment the process was killed at. `run.json` beside them says
which run they belong to. Nothing in either depends on time, speed, batch size or machine load.
Whether the files are still those that were seen: `jaxattr.audit.evidence.freshness`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jaxattr.data.threads import map_ahead
from jaxattr.data.writing import clean, replacing, write_new
from jaxattr.errors import LedgerError

Columns = dict[str, np.ndarray]
Result = TypeVar("Result")

FORMAT = 3
_READ = 512
_FINITE = frozenset(("logits", "feature", "mean_logits", "mean_feature"))
MAPS = ("map_label", "map_rival", "map_pair", "map_positive")
OF_CLASSES = "map_class"
"""The column of the maps of several classes; see `schema`."""
EXPLAINED = 4
"""Classes at most that each image is explained for."""
ASKED = ("labels_file", "classes", "exclude", "limit", "seed")
"""Settings that say which images were asked for; a row depends on none of them."""
_OF_FOLDER = ("images", "index", "count", "total", "shard_size", "sizes", "unlooked")
"""Fields of a receipt that change with the folder."""
_RUN = b"jaxattr.run"


@dataclass(frozen=True)
class Receipt:
    """What identifies a run: two runs with equal receipts have equal ledgers."""

    format: int
    version: str
    model: str
    parameters: str
    """SHA-256 over all parameters."""
    labels: tuple[str, ...]
    grid: tuple[int, int]
    feature_size: int
    preprocessing: dict[str, Any]
    images: str
    """The folder, as it was given."""
    index: str
    """SHA-256 over file names, sizes and labels."""
    count: int
    total: int
    """Images in the folder; more than `count` when a limit was set."""
    shard_size: int
    settings: dict[str, Any]
    """Of the computation (`method`, `dtype`, `views`), and which images were asked for: `classes`,
    `exclude`, `limit`, `seed`, `labels`, each only where it was given."""
    sizes: tuple[tuple[int, int], ...] = ()
    """`Dataset.sizes`: class, and how many images the whole folder has of it, with those that
    `classes`, `exclude` and `limit` left out; empty in ledgers that were made without."""
    unlooked: tuple[tuple[str, int], ...] = ()
    """`Dataset.unlooked`: kind, and how many files of it were not looked at."""

    @property
    def shards(self) -> int:
        """How many shards a complete ledger has."""
        return -(-self.count // self.shard_size)

    @property
    def run(self) -> str:
        """SHA-256 over what a row depends on, besides its image and label; shards carry it."""
        fields = {k: v for k, v in asdict(self).items() if k not in _OF_FOLDER}
        fields["settings"] = {k: v for k, v in self.settings.items() if k not in ASKED}
        text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def schema(receipt: Receipt) -> pa.Schema:
    """The columns of a shard, one row an image; all but the first four are null on an error.

    - `index` position in the sorted folder, `file`, `label` (class index), `error` (empty if none);
    - `sha256` of the file, `prediction`, `rival` (the strongest class but the label);
    - `logits`, `feature` (what the head read, the normalised class token), and `mean_logits`,
      `mean_feature` over the image and its `views`; null in ledgers that were made without;
    - `map_label`, `map_rival` (conservative maps of the two log-odds), `map_pair` (conservative map
      of label minus rival), `map_positive` (positive map of the label): int8 of the flat grid, to
      be multiplied by `scale_...`;
    - `classes`: the label and the likeliest other classes in falling logit, `explained` of them;
      `map_class`: the additive map (`token_relevance`) of the log-odds of each, int16 of class
      after class, to be multiplied by `scale_class` of each. With `weight_class` they give the map
      of any of them against any other: `weight_class[x] * map[x] - weight_class[y] * map[y]`;
    - `thumbnail`: WebP of what the model saw;
    - `hash`: 63 bits that copies are looked for by (`hashing.packed_hash`), empty where there are
      none; null in ledgers that were made without.
    """
    places, asked = receipt.grid[0] * receipt.grid[1], explained(len(receipt.labels))
    grid = pa.list_(pa.int8(), places)
    columns: list[tuple[str, pa.DataType]] = [
        ("index", pa.int32()),
        ("file", pa.string()),
        ("label", pa.int32()),
        ("error", pa.string()),
        ("sha256", pa.string()),
        ("prediction", pa.int32()),
        ("rival", pa.int32()),
        ("logits", pa.list_(pa.float32(), len(receipt.labels))),
        ("feature", pa.list_(pa.float32(), receipt.feature_size)),
        ("mean_logits", pa.list_(pa.float32(), len(receipt.labels))),
        ("mean_feature", pa.list_(pa.float32(), receipt.feature_size)),
        *((name, grid) for name in MAPS),
        *((_scale(name), pa.float32()) for name in MAPS),
        ("classes", pa.list_(pa.int32(), asked)),
        (OF_CLASSES, pa.list_(pa.int16(), asked * places)),
        (_scale(OF_CLASSES), pa.list_(pa.float32(), asked)),
        ("weight_class", pa.list_(pa.float32(), asked)),
        ("thumbnail", pa.binary()),
        ("hash", pa.binary()),
    ]
    return pa.schema(columns, metadata={_RUN: receipt.run})


def explained(classes: int) -> int:
    """How many classes each image is explained for, by a model of so many."""
    return min(EXPLAINED, classes)


class LedgerView(ABC):
    """What can be read as a ledger: columns of the readable images, in index order.

    `Ledger` reads them from disk, `training.Joined` from two ledgers; benchmarks hold them in
    memory. `receipt.count` is how many images there are, readable or not.
    """

    folder: Path
    """Where answers of probes are kept, and results written."""
    receipt: Receipt
    training: LedgerView | None
    """Of the images that the model was trained on, fit for it by `training.check_training`."""

    @abstractmethod
    def parts(self, *columns: str, rows: int = 1) -> Iterator[Callable[[], Columns]]:
        """The readers of what `iterate` gives, one a part."""

    @abstractmethod
    def rows(self, indices: Sequence[int], *columns: str) -> dict[int, dict[str, Any]]:
        """The named columns of some images, by `index`; maps come scaled, as `[row, column]`, and
        those of several classes as `[class, row, column]`."""

    @abstractmethod
    def skipped(self) -> list[tuple[str, str]]:
        """File and reason of every image that could not be read."""

    def iterate(self, *columns: str, rows: int = 1) -> Iterator[Columns]:
        """The named columns of the readable images, in index order, some shards at a time.

        As many shards as hold `rows` images: where each of them is multiplied by something large,
        many at once cost less.
        """
        return (read() for read in self.parts(*columns, rows=rows))

    def each(
        self, function: Callable[[Columns], Result], *columns: str, rows: int = 1
    ) -> Iterator[Result]:
        """`function` of what `iterate` gives, in its order; read and worked on in threads."""
        return map_ahead(lambda read: function(read()), self.parts(*columns, rows=rows))

    def read(self, *columns: str) -> Columns:
        """The named columns of all readable images; keep to small columns."""
        shards = list(self.each(lambda shard: shard, *columns, rows=_READ))
        return {name: np.concatenate([shard[name] for shard in shards]) for name in columns}


@dataclass(frozen=True)
class Ledger(LedgerView):
    """A ledger on disk, read shard by shard."""

    folder: Path
    receipt: Receipt
    training: LedgerView | None = field(default=None, kw_only=True)

    def shard(self, number: int) -> Path:
        """The file of one shard."""
        return self.folder / "ledger" / f"shard-{number:06d}.parquet"

    def missing(self) -> list[int]:
        """Shards that are not written yet."""
        return [i for i in range(self.receipt.shards) if not self.shard(i).exists()]

    def check_run(self, path: Path, schema: pa.Schema) -> None:
        """Refuse a shard of another run.

        Raises:
            LedgerError: names it.
        """
        if (schema.metadata or {}).get(_RUN, run := self.receipt.run.encode()) != run:
            raise LedgerError(
                f"{path.name} in {self.folder} is of another run than its run.json; choose "
                f"another --output, or delete that folder."
            )

    def write(self, number: int, rows: Sequence[dict[str, Any]]) -> None:
        """Write one shard: whole or not at all."""
        columns = schema(self.receipt)
        arrays = [_column(rows, field) for field in columns]
        table = pa.Table.from_arrays(arrays, names=columns.names, metadata=columns.metadata)
        target = self.shard(number)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            pq.write_table(
                table,
                temporary,
                compression="zstd",
                use_dictionary=False,
                write_page_checksum=True,  # without them nine of ten flipped bits go unseen
            )

    def parts(self, *columns: str, rows: int = 1) -> Iterator[Callable[[], Columns]]:
        """The readers of what `iterate` gives, one a part."""
        size = max(1, -(-rows // self.receipt.shard_size))
        for start in range(0, self.receipt.shards, size):
            numbers = range(start, min(start + size, self.receipt.shards))
            yield partial(self._part, numbers, columns)

    def rows(self, indices: Sequence[int], *columns: str) -> dict[int, dict[str, Any]]:
        """The named columns of some images, by `index`; maps come scaled, as `[row, column]`, and
        those of several classes as `[class, row, column]`."""
        wanted: dict[int, list[int]] = {}
        for index in sorted(set(indices)):
            wanted.setdefault(index // self.receipt.shard_size, []).append(index)
        scales = [_scale(name) for name in columns if name in (*MAPS, OF_CLASSES)]
        found, kinds = {}, schema(self.receipt)
        for number, members in wanted.items():
            table = self._read(number, [*columns, *scales])
            for index in members:
                row = table.slice(index % self.receipt.shard_size, 1).to_pylist()[0]
                found[index] = {name: self._value(row, kinds.field(name)) for name in columns}
        return found

    def skipped(self) -> list[tuple[str, str]]:
        """File and reason of every image that could not be read."""
        pairs = []
        for number in range(self.receipt.shards):
            table = self._read(number, ["file", "error"])
            table = table.filter(pc.field("error") != "")
            pairs += zip(table["file"].to_pylist(), table["error"].to_pylist(), strict=True)
        return pairs

    def _part(self, numbers: Iterable[int], columns: Sequence[str]) -> Columns:
        tables = []
        for number in numbers:
            table = self._read(number, [*dict.fromkeys((*columns, "error"))])
            whole = set(table["error"].unique().to_pylist()) <= {""}
            tables.append(table if whole else table.filter(pc.field("error") == ""))
        kinds = schema(self.receipt)
        found = {
            name: np.concatenate([_to_numpy(one[name], kinds.field(name).type) for one in tables])
            for name in columns
        }
        for name in _FINITE & found.keys():
            if not np.isfinite(found[name]).all():
                raise LedgerError(
                    f"the ledger in {self.folder} holds {name} that are not finite numbers, so it "
                    f"was changed since it was written; delete that folder and run the same "
                    f"command again."
                )
        return found

    def _value(self, row: dict[str, Any], field: pa.Field) -> Any:
        value = row[field.name]
        if not isinstance(value, list):
            return value
        array = np.asarray(value, _dtype(field.type.value_type))
        if field.name not in (*MAPS, OF_CLASSES):
            return array
        scale = np.asarray(row[_scale(field.name)], np.float32)
        return unpack(array.reshape(*scale.shape, *self.receipt.grid), scale[..., None, None])

    def _read(self, number: int, columns: list[str]) -> pa.Table:
        table, kinds = read_shard(self.shard(number), columns), schema(self.receipt)
        for name, column in zip(columns, table.columns, strict=True):
            if not _alike(column.type, kinds.field(name).type):
                raise LedgerError(
                    f"{self.shard(number).name} of the ledger in {self.folder} holds {name} as "
                    f"{column.type}; delete that file and run the same command again."
                )
        return table


def read_shard(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Some columns of a shard, or all.

    Raises:
        LedgerError: it cannot be read.
    """
    try:
        # A third of the time of pq.read_table.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(columns=None if columns is None else [*columns], use_threads=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise LedgerError(
            f"{path.name} of the ledger in {path.parent.parent} cannot be read ({_line(error)}); "
            f"delete that file and run the same command again."
        ) from error
    if columns is None:
        return table
    if "hash" in columns and "hash" not in table.column_names:  # an older shard
        table = table.append_column("hash", pa.nulls(len(table), pa.binary()))
    lacking = [name for name in columns if name not in table.column_names]
    if lacking:
        raise LedgerError(
            f"{path.name} of the ledger in {path.parent.parent} has no column {lacking[0]}; delete "
            f"that file and run the same command again."
        )
    return table.select([*columns])


def _alike(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column is of the schema's type; lists may be of a fixed size or not."""
    if pa.types.is_fixed_size_list(wanted) and (
        pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    ):
        return kind.value_type == wanted.value_type
    return kind == wanted


def earlier_folder(folder: Path) -> Path:
    """Where shards lie that were set aside, with what was seen of their files."""
    return folder / "earlier"


def seen_folder(folder: Path) -> Path:
    """Where the sizes and times of the files lie, as they were when they were read."""
    return folder / "seen"


def set_aside(folder: Path, names: Sequence[str]) -> None:
    """Move shards out of a ledger, and remove answers of probes, which may rest on them."""
    shutil.rmtree(folder / "probes", ignore_errors=True)
    earlier = earlier_folder(folder)
    for name in names:
        earlier.mkdir(parents=True, exist_ok=True)
        seen_folder(earlier).mkdir(exist_ok=True)
        number, free = 0, name
        while (earlier / free).exists():
            number += 1
            free = name.replace(".parquet", f".{number}.parquet")
        with contextlib.suppress(FileNotFoundError):
            os.replace(seen_folder(folder) / name, seen_folder(earlier) / free)
        with contextlib.suppress(FileNotFoundError):
            os.replace(folder / "ledger" / name, earlier / free)


def open_ledger(folder: Path, receipt: Receipt) -> Ledger:
    """Open the ledger of this run in `folder`, begun by an earlier call or not.

    Where the folder of images has changed since, all shards are set aside: `freshness.refresh` says
    what of them stays.

    Raises:
        LedgerError: the folder holds another run's ledger.
    """
    path = folder / "run.json"
    text = json.dumps(asdict(receipt), indent=1, ensure_ascii=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for part in (folder, folder / "ledger", folder / "probes", seen_folder(folder)):
        clean(part)
    if not path.exists():
        write_new(path, text)
    earlier, wanted = _entries(path), json.loads(text)
    changed = {name for name in wanted if earlier.get(name) != wanted[name]}
    if not changed:
        return Ledger(folder, receipt)
    if "format" in changed:
        raise LedgerError(f"{path}: {_old(earlier)}")
    if not changed.issubset(_OF_FOLDER) or not _same_images(earlier, wanted):
        settings = earlier.get("settings")
        said = sorted(changed - {"settings"})
        if "settings" in changed:
            said += _changed_settings(settings if isinstance(settings, dict) else {}, receipt)
        raise LedgerError(
            f"{folder} holds another run's ledger (different: {', '.join(said)}); choose "
            f"another --output, or delete that folder."
        )
    if changed & {"index", "count", "shard_size"}:
        set_aside(folder, sorted(one.name for one in (folder / "ledger").glob("shard-*.parquet")))
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Ledger(folder, receipt)


def _same_images(earlier: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether two receipts are of one folder: in one place, or with the same files."""
    if earlier.get("index") == wanted["index"]:
        return True
    return os.path.realpath(str(earlier.get("images"))) == os.path.realpath(wanted["images"])


def _changed_settings(earlier: dict[str, Any], receipt: Receipt) -> list[str]:
    names = sorted({*earlier, *receipt.settings})
    changed = [one for one in names if earlier.get(one) != receipt.settings.get(one)]
    return [f"--{one.removesuffix('_file')}" if one in ASKED else one for one in changed]


def read_ledger(folder: Path) -> Ledger:
    """Open a finished ledger, without the model.

    Raises:
        LedgerError: there is none, its receipt cannot be understood, or shards are missing.
    """
    path = folder / "run.json"
    if not path.exists():
        raise LedgerError(f"{folder} holds no ledger (no run.json); run `jaxattr audit` first.")
    ledger = Ledger(folder, _receipt(path))
    if missing := ledger.missing():
        raise LedgerError(
            f"{len(missing)} of {ledger.receipt.shards} shards of {folder} are missing; "
            f"run the same `jaxattr audit` again to finish it."
        )
    return ledger


def _entries(path: Path) -> dict[str, Any]:
    """A `run.json`, as an object of JSON."""
    advice = "delete that file and run the same command again; the shards beside it are kept"
    try:
        entries = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = _line(error) if not isinstance(error, RecursionError) else "nested too deeply"
        raise LedgerError(f"{path} cannot be read ({reason}); {advice}.") from None
    if not isinstance(entries, dict):
        raise LedgerError(f"{path} holds no JSON object, wanted a run's receipt; {advice}.")
    return entries


def _old(entries: dict[str, Any]) -> str:
    found = entries.get("format")
    whose = "no ledger of jaxattr's"
    if type(found) is int:
        age = "an earlier" if found < FORMAT else "a later"
        whose = f"a ledger of {age} version of jaxattr, which holds other maps"
    return (
        f"format is {found!r}, wanted {FORMAT}: {whose}; run `jaxattr audit` again, with another "
        f"--output."
    )


def _receipt(path: Path) -> Receipt:
    """What `open_ledger` has written.

    Raises:
        LedgerError: names the file, and the key that is not as it should be.
    """
    entries = _entries(path)
    if entries.get("format") != FORMAT:
        raise LedgerError(f"{path}: {_old(entries)}")
    known = {one.name: entries.get(one.name, one.default) for one in fields(Receipt)}
    tuples = {"labels": str, "grid": int, "sizes": list, "unlooked": list}
    wanted = dict.fromkeys(("format", "feature_size", "count", "total", "shard_size"), int)
    wanted |= dict.fromkeys(("version", "model", "parameters", "images", "index"), str)
    wanted |= dict.fromkeys(("preprocessing", "settings"), dict)
    for name, value in known.items():
        if name in tuples and isinstance(value, list | tuple):
            good = all(isinstance(one, tuples[name]) for one in value)
        else:
            good = name in wanted and isinstance(value, wanted[name])
        if not good or isinstance(value, bool):
            raise LedgerError(
                f"{path}: {name!r} is missing, or not what a ledger has there; run `jaxattr audit` "
                f"again, with another --output."
            )
    known |= {name: tuple(known[name]) for name in ("labels", "grid")}
    known |= {name: tuple(map(tuple, known[name])) for name in ("sizes", "unlooked")}
    receipt = Receipt(**known)
    if receipt.count < 1 or receipt.shard_size < 1 or len(receipt.grid) != 2:
        raise LedgerError(f"{path}: count, shard_size or grid is out of range; delete that folder.")
    return receipt


def pack(values: np.ndarray, kind: type[np.signedinteger] = np.int8) -> tuple[np.ndarray, float]:
    """A map as whole numbers and their scale: `value ≈ whole * scale`, `scale = max|value| / 127`
    of int8, and as much of any other kind."""
    most = np.iinfo(kind).max
    scale = float(np.abs(values).max(initial=0)) / most
    if scale == 0:
        return np.zeros(values.shape, kind), 0.0
    return np.round(values / scale).astype(kind), scale


def pack_classes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps of several classes, `[class, ...]`, as `map_class` and `scale_class`.

    In int16, for what tells two classes apart may be a small part of what the maps of both show.
    """
    packed = [pack(np.ravel(one), np.int16) for one in values]
    whole, scales = zip(*packed, strict=True)
    return np.concatenate(whole), np.asarray(scales, np.float32)


def unpack(packed: np.ndarray, scale: float | np.floating | np.ndarray) -> np.ndarray:
    """The inverse of `pack`, float32."""
    return packed.astype(np.float32) * np.asarray(scale, np.float32)


def _scale(name: str) -> str:
    """The column of the scales of a column of maps."""
    return name.replace("map", "scale")


def _column(rows: Sequence[dict[str, Any]], field: pa.Field) -> pa.Array:
    """One column of a shard; arrays are copied whole, not number by number."""
    values = [row.get(field.name) for row in rows]
    if not pa.types.is_fixed_size_list(field.type):
        return pa.array(values, field.type)
    # As lists of any size: most releases of pyarrow cannot write or read null ones of a fixed size.
    there = [value for value in values if value is not None]
    flat = np.zeros((len(there), field.type.list_size), _dtype(field.type.value_type))
    for at, value in enumerate(there):
        flat[at] = value
    known = np.array([value is not None for value in values], bool)
    ends = np.append(0, np.cumsum(known) * field.type.list_size).astype(np.int32)
    mask = None if known.all() else pa.array(~known)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(flat.ravel()), mask=mask)


def _dtype(kind: pa.DataType) -> np.dtype:
    """NumPy's type of a column's numbers; `to_pandas_dtype` of older releases needs pandas."""
    return pa.array([], kind).to_numpy(zero_copy_only=False).dtype


def _to_numpy(column: pa.ChunkedArray, kind: pa.DataType) -> np.ndarray:
    """A column as it is in the schema; rows that are null are left out of lists."""
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(kind):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(-1, kind.list_size)
    if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        return np.asarray(array.to_pylist(), dtype=object)
    return array.to_numpy(zero_copy_only=False)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
