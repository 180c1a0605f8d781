"""The latency table: what was measured, on what, under which conditions; one SQLite file.

Format (also `docs/table.md`): `measurements` holds one row for each kernel, chain of a kernel or
network under one `provenance`, raw samples included. The file is written in WAL mode, one
transaction for each batch, so that a kill loses at most the batch in flight. `user_version` is the
format's version and `application_id` marks the file as ours.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from android_runner.files import write_atomically
from profiler.errors import MissingLatencyError, TableError

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 2
_APPLICATION_ID = 0x6E61_6C74  # "nalt": netadapt latency table

Quality = Literal["ok", "unstable", "drifted", "throttled"]
"""`ok`: two runs agreed. `unstable`: no two did. `drifted`: the sentinel kernel ran off course.
`throttled`: the device's clock fell and could not be kept up."""

Rounds = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What rows must share to be compared: device, runner, runtime, precision, cores, threads."""

    device_id: str
    device_kind: str
    model: str
    soc: str
    os: str
    abi: str
    fingerprint: str
    runtime_version: str
    runner_sha256: str
    build_options: str
    precision: str
    threads: int
    cpus: str

    def __str__(self) -> str:
        return (
            f"{self.model} ({self.device_id}), cpus {self.cpus}, {self.threads} thread(s), "
            f"{self.precision}, runtime {self.runtime_version}, runner {self.runner_sha256[:8]}"
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One measured kernel, chain or network.

    Parameters
    ----------
    key: the kernel's key, or a network's name.
    copies: length of the chain; 1 for a kernel by itself and for networks.
    kernels: the keys of a network's kernels in execution order; None for a kernel.
    rounds_us: raw samples of the agreeing runs, a tuple a round, microseconds a call.
    latency_us: `android_runner.Measurement.latency_us` of those samples.
    repeat_dev: the second of the two runs against the first, as a share (0.01: 1 % slower).
    spread: interquartile range of the rounds, as a share of the latency.
    attempts: runs it took, at least 2.
    sentinel_us: the sentinel kernel's latency in the same runs; None where there was none.
    freq_khz_lowest: clock of the slowest pinned core, the lowest at any round's end.
    performance, battery_pct, charging, screen_on, thermal_status: as in
        `android_runner.Conditions`; None on this machine, and in rows of format 1.
    """

    key: str
    copies: int
    kernels: tuple[str, ...] | None
    latency_us: float
    repeat_dev: float
    spread: float
    quality: Quality
    attempts: int
    rounds_us: Rounds
    calls_per_sample: int
    program_sha256: str
    sentinel_us: float | None
    freq_khz_before: int | None
    freq_khz_after: int | None
    temperature_c_before: float | None
    temperature_c_after: float | None
    load_avg_before: float | None
    load_avg_after: float | None
    measured_at: str
    provenance: Provenance
    freq_khz_lowest: int | None = None
    performance: str | None = None
    battery_pct: int | None = None
    charging: bool | None = None
    screen_on: bool | None = None
    thermal_status: int | None = None

    def __post_init__(self) -> None:
        if not self.latency_us > 0:
            raise TableError(
                f"a latency is above 0 us, got {self.latency_us} for {self.key}; measure it again"
            )
        if self.quality not in get_args(Quality):
            raise TableError(
                f"a row's quality is one of {get_args(Quality)}, got {self.quality!r} "
                f"for {self.key}; measure it again"
            )

    @property
    def type(self) -> str:
        """The kernel's type, or "network"."""
        return self.key.partition("(")[0] if self.kernels is None else "network"


_PROVENANCE = tuple(f.name for f in dataclasses.fields(Provenance))
_VALUES = tuple(f.name for f in dataclasses.fields(Row) if f.name not in ("provenance",))
_SINCE_2 = tuple(f.name for f in dataclasses.fields(Row) if f.default is not dataclasses.MISSING)
_SQL_TYPES = {
    "copies": "INTEGER",
    "attempts": "INTEGER",
    "calls_per_sample": "INTEGER",
    "threads": "INTEGER",
    "freq_khz_before": "INTEGER",
    "freq_khz_after": "INTEGER",
    "latency_us": "REAL",
    "repeat_dev": "REAL",
    "spread": "REAL",
    "sentinel_us": "REAL",
    "temperature_c_before": "REAL",
    "temperature_c_after": "REAL",
    "load_avg_before": "REAL",
    "load_avg_after": "REAL",
    "rounds_us": "BLOB",
    "freq_khz_lowest": "INTEGER",
    "battery_pct": "INTEGER",
    "thermal_status": "INTEGER",
    "charging": "BOOLEAN",
    "screen_on": "BOOLEAN",
}
_NULLABLE = {
    *("kernels", "sentinel_us"),
    *_SINCE_2,
    *(n for n in _VALUES if n.endswith(("_before", "_after"))),
}


def _columns(names: Iterable[str]) -> str:
    return ", ".join(
        f"{name} {_SQL_TYPES.get(name, 'TEXT')}{'' if name in _NULLABLE else ' NOT NULL'}"
        for name in names
    )


_SCHEMA = f"""
CREATE TABLE provenance (
    id INTEGER PRIMARY KEY, {_columns(_PROVENANCE)}, UNIQUE ({", ".join(_PROVENANCE)})
);
CREATE TABLE measurements (
    id INTEGER PRIMARY KEY,
    provenance_id INTEGER NOT NULL REFERENCES provenance (id),
    {_columns(_VALUES)},
    UNIQUE (key, copies, provenance_id)
);
"""


class LatencyTable:
    """A latency table in a file, or in memory for `path=None`.

    Raises `TableError` for a file that is no latency table, is corrupt or of a newer format.
    Usable as a context manager; several processes may read while one writes.
    """

    def __init__(self, path: Path | str | None = None, *, must_exist: bool = False) -> None:
        self.path = None if path is None else Path(path)
        if self.path is not None:
            if must_exist and not self.path.is_file():
                raise TableError(
                    f"a latency table must exist to be read, found none at {self.path}; "
                    "make one with `netadapt profile`"
                )
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._guard():
            self._db = sqlite3.connect(self.path or ":memory:", isolation_level=None, timeout=30)
            self._db.row_factory = sqlite3.Row
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        with self._guard():
            count: int = self._db.execute("SELECT count(*) FROM measurements").fetchone()[0]
            return count

    def close(self) -> None:
        self._db.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Write a batch in one transaction; a row measured again replaces the one before."""
        with self._guard(), self._transaction():
            for row in rows:
                values = (self._provenance_id(row.provenance), *_encode(row))
                marks = ", ".join("?" * len(values))
                self._db.execute(
                    "INSERT OR REPLACE INTO measurements "
                    f"(provenance_id, {', '.join(_VALUES)}) VALUES ({marks})",
                    values,
                )

    def rows(self, provenance: Provenance | None = None) -> list[Row]:
        """Every row, in the order measured; of one provenance where given."""
        columns = "m.*, " + ", ".join(f"p.{name} AS p_{name}" for name in _PROVENANCE)
        return [_decode(record) for record in self._select(columns, provenance)]

    def keys(self, provenance: Provenance) -> set[tuple[str, int]]:
        """(key, copies) of the rows of one provenance."""
        return {(key, copies) for key, copies in self._select("m.key, m.copies", provenance)}

    def sentinels_us(self, provenance: Provenance) -> list[float]:
        """The sentinel kernel's latencies in the rows of one provenance that have one."""
        found = self._select("m.sentinel_us", provenance, "m.sentinel_us IS NOT NULL")
        return [sentinel_us for (sentinel_us,) in found]

    def latency_us(self, key: str, provenance: Provenance) -> float:
        """The kernel's or network's own latency. Raises `MissingLatencyError`."""
        wanted = "m.key = ? AND m.copies = 1"
        for (latency_us,) in self._select("m.latency_us", provenance, wanted, (key,)):
            return float(latency_us)
        raise MissingLatencyError(
            f"a latency must be measured before it is used, the table has none of {key} on "
            f"{provenance}; profile it, or fit a predictor"
        )

    def _select(
        self,
        columns: str,
        provenance: Provenance | None,
        condition: str = "",
        values: tuple[object, ...] = (),
    ) -> list[Any]:
        """Columns of the rows of a provenance, in the order measured, that meet a condition."""
        conditions = [condition] if condition else []
        if provenance is not None:
            conditions += [f"p.{name} = ?" for name in _PROVENANCE]
            values = (*values, *dataclasses.astuple(provenance))
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        with self._guard():
            return self._db.execute(
                f"SELECT {columns} FROM measurements m JOIN provenance p ON p.id = m.provenance_id "
                f"{where} ORDER BY m.id",
                values,
            ).fetchall()

    def provenances(self) -> list[Provenance]:
        """The distinct provenances, in the order they came."""
        with self._guard():
            records = self._db.execute("SELECT * FROM provenance ORDER BY id").fetchall()
        return [Provenance(**{name: record[name] for name in _PROVENANCE}) for record in records]

    def to_frame(self) -> pd.DataFrame:
        """One line for each row, provenance in every one; `kernels` and `rounds_us` as lists.

        `from_frame` makes the same table of it again.
        """
        import pandas as pd

        names = [*_VALUES, *_PROVENANCE]
        records = []
        for row in self.rows():
            record = {name: getattr(row, name) for name in _VALUES}
            record["kernels"] = None if row.kernels is None else list(row.kernels)
            record["rounds_us"] = [list(samples) for samples in row.rounds_us]
            records.append(record | dataclasses.asdict(row.provenance) | {"type": row.type})
        frame = pd.DataFrame(records, columns=[*names, "type"])
        integers = [name for name, kind in _SQL_TYPES.items() if kind == "INTEGER"]
        truths = [name for name, kind in _SQL_TYPES.items() if kind == "BOOLEAN"]
        return frame.astype(dict.fromkeys(integers, "Int64") | dict.fromkeys(truths, "boolean"))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, path: Path | str | None = None) -> Self:
        """The table of a frame with the columns of `to_frame`. Raises `TableError`.

        Columns that came with a later format may be missing.
        """
        wanted = (name for name in (*_VALUES, *_PROVENANCE) if name not in _SINCE_2)
        missing = [name for name in wanted if name not in frame.columns]
        if missing:
            raise TableError(
                f"a frame of a latency table has the columns of to_frame(), {missing} missing; "
                "export the table again"
            )
        table = cls(path)
        table.add([_row_of_record(record) for record in frame.to_dict("records")])
        return table

    def export(self, path: Path) -> None:
        """Write the frame to `path`, CSV or Parquet by its ending, whole or not at all.

        In CSV, lists are JSON text. Raises `TableError` for another ending.
        """
        frame = self.to_frame()
        if path.suffix not in (".csv", ".parquet"):
            raise TableError(
                f"a table is exported to .csv or .parquet, got {path.name!r}; choose one of them"
            )
        buffer = io.BytesIO()
        if path.suffix == ".csv":
            for name in ("kernels", "rounds_us"):
                frame[name] = [None if v is None else json.dumps(v) for v in frame[name]]
            frame.to_csv(buffer, index=False)
        else:
            frame.to_parquet(buffer, index=False)
        write_atomically(path, buffer.getvalue())

    def _open(self) -> None:
        empty = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if empty:
            self._db.execute("PRAGMA journal_mode = WAL")
            with self._transaction():
                # Another process may have made the tables between the look and the lock.
                if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    for statement in filter(str.strip, _SCHEMA.split(";")):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                    self._db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        if self._db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            raise TableError(f"{self.path} is a database but no latency table; name another file")
        if self._version() == 1:
            self._upgrade()
        found = self._version()
        if found != FORMAT_VERSION:
            raise TableError(
                f"this version reads latency tables of format {FORMAT_VERSION}, {self.path} has "
                f"{found}; use the netadapt version that wrote it, or profile anew"
            )

    def _version(self) -> int:
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        return version

    def _upgrade(self) -> None:
        """From format 1, which lacked some columns, to this one."""
        with self._transaction():
            if self._version() == 1:  # else another process was faster
                for name in _SINCE_2:
                    self._db.execute(f"ALTER TABLE measurements ADD COLUMN {_columns([name])}")
                self._db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn SQLite's errors into one line that names the file."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise TableError(
                f"the latency table {self.path or 'in memory'} cannot be used: {error}; "
                "restore it from a copy, free disk space, or profile anew into another file"
            ) from error

    def _provenance_id(self, provenance: Provenance) -> int:
        values = dataclasses.astuple(provenance)
        marks = ", ".join("?" * len(values))
        self._db.execute(
            f"INSERT OR IGNORE INTO provenance ({', '.join(_PROVENANCE)}) VALUES ({marks})", values
        )
        where = " AND ".join(f"{name} = ?" for name in _PROVENANCE)
        found: int = self._db.execute(
            f"SELECT id FROM provenance WHERE {where}", values
        ).fetchone()[0]
        return found


def _encode(row: Row) -> tuple[object, ...]:
    record = {name: getattr(row, name) for name in _VALUES}
    record["kernels"] = None if row.kernels is None else json.dumps(row.kernels)
    record["rounds_us"] = zlib.compress(json.dumps(row.rounds_us).encode())
    return tuple(record.values())


def _decode(record: sqlite3.Row) -> Row:
    values: dict[str, Any] = {name: record[name] for name in _VALUES}
    try:
        rounds = json.loads(zlib.decompress(values["rounds_us"]))
        kernels = None if values["kernels"] is None else tuple(json.loads(values["kernels"]))
    except (ValueError, TypeError, zlib.error) as error:
        raise TableError(
            f"row {values['key']!r} of the latency table is damaged ({error}); "
            "delete it and profile again"
        ) from error
    values |= {"rounds_us": _freeze(rounds), "kernels": kernels}
    for name, kind in _SQL_TYPES.items():
        if kind == "BOOLEAN" and values[name] is not None:
            values[name] = bool(values[name])
    return Row(**values, provenance=_provenance(tuple(record[f"p_{n}"] for n in _PROVENANCE)))


@functools.lru_cache(maxsize=64)
def _provenance(values: tuple[Any, ...]) -> Provenance:
    return Provenance(*values)


def _row_of_record(record: dict[Any, Any]) -> Row:
    """A line of a frame (also one read back from CSV, where lists are text) as a row."""
    values: dict[str, Any] = {}
    for name in (*_VALUES, *_PROVENANCE):
        value = record.get(name)
        if name in ("kernels", "rounds_us") and isinstance(value, str):
            value = json.loads(value)
        values[name] = value
    try:
        for name in (*_VALUES, *_PROVENANCE):
            kind = _SQL_TYPES.get(name, "TEXT")
            if name == "rounds_us":
                values[name] = _freeze(values[name])
            elif _is_missing(values[name]):
                if name not in _NULLABLE:
                    raise ValueError(f"{name} is empty")
                values[name] = None
            elif name == "kernels":
                values[name] = tuple(str(key) for key in values[name])
            else:
                values[name] = _READERS[kind](values[name])
    except (TypeError, ValueError) as error:
        raise TableError(
            f"a line of the frame is no row of a latency table ({error}, key "
            f"{record['key']!r}); export the table again"
        ) from error
    provenance = Provenance(**{name: values.pop(name) for name in _PROVENANCE})
    return Row(**values, provenance=provenance)


def _truth(value: object) -> bool:
    text = str(value)
    if text not in ("True", "False"):
        raise ValueError(f"{text!r} is neither True nor False")
    return text == "True"


_READERS: dict[str, Callable[[Any], object]] = {
    "INTEGER": int,
    "REAL": float,
    "TEXT": str,
    "BOOLEAN": _truth,
}


def _is_missing(value: object) -> bool:
    if value is None or isinstance(value, str):
        return value is None
    return (not hasattr(value, "__len__") and value != value) or str(value) == "<NA>"


def _freeze(rounds: Iterable[Iterable[float]]) -> Rounds:
    return tuple(tuple(float(us) for us in samples) for samples in rounds)
