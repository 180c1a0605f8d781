"""The latency table: what was measured, on what, under which conditions; one SQLite file.

Format (also `docs/table.md`): `measurements` holds one row for each kernel, chain of a kernel or
network under one `provenance`, `samples` the raw samples of each; the view `latencies` shows all of
it in columns. The file is written in WAL mode, one transaction for each batch, so that a kill loses
at most the batch in flight.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sqlite3
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from netadapt.android_runner.device import Conditions, DeviceInfo
from netadapt.android_runner.text import printable
from netadapt.profiler import frame, migrations, schema
from netadapt.profiler.checking import checked, damaged
from netadapt.profiler.columns import EFFORT_COLUMNS
from netadapt.profiler.errors import MissingLatencyError, RecipeError, TableError
from netadapt.profiler.keys import key_fields
from netadapt.profiler.lowering.recipe import Recipe
from netadapt.profiler.row import Effort, Provenance, Quality, Rounds, Row, Standing

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Effort",
    "LatencyTable",
    "Order",
    "Provenance",
    "Quality",
    "Rounds",
    "Row",
    "Standing",
    "TypeSummary",
]

Order = Literal["measured", "type"]
"""Of rows: as they were measured, or by provenance, type and latency."""

_MAX_SAMPLES_BYTES = 64 << 20
"""Of one row, unpacked: a hundred thousand times what a usual one has."""

_FETCHED = 1000
_ORDERS: dict[Order, str] = {
    "measured": "m.measurement_id",
    "type": "m.provenance_id, m.type, m.latency_us, m.measurement_id",
}
_JSON: dict[str, Any] = {
    "kernels": tuple[str, ...],
    "input_shape": tuple[int, ...],
    "conditions": Conditions,
}
_PLAIN = tuple(
    field.name
    for field in dataclasses.fields(Row)
    if field.name not in (*_JSON, "provenance", "rounds_us", "effort")
)
"""Fields of a row that have a column of their own, as they are."""
_COLUMNS = [f"m.{name}" for name in ("provenance_id", *_PLAIN, *_JSON, *EFFORT_COLUMNS)]
"""What a row is read from, but for its samples."""


@dataclass(frozen=True, slots=True)
class TypeSummary:
    """The rows of one type under one provenance: how many, how many not "ok", how fast."""

    provenance: Provenance
    type: str
    rows: int
    flagged: int
    fastest_us: float
    slowest_us: float


_SUMMARY = tuple(field.name for field in dataclasses.fields(TypeSummary))


class LatencyTable:
    """A latency table in a file, or in memory for `path=None`.

    A table of an older format is brought up to date when it is opened; a reader does that in a
    copy. Raises `TableError` for a file that is no latency table, is corrupt or of a newer format.
    Usable as a context manager; several processes may read while one writes.

    Parameters
    ----------
    must_exist: the file must be there, and is only read: it is left as it is, and may lie where
        nothing can be written.
    """

    def __init__(self, path: Path | str | None = None, *, must_exist: bool = False) -> None:
        self.path = None if path is None else Path(path)
        self._shown: set[str] | None = None
        with self._guard():
            self._db = self._connect_to_read() if must_exist else self._connect()
            try:
                self._open(read_only=must_exist)
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.count()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Write a batch in one transaction; a row measured again replaces the one before."""
        fields = {
            field: row.key for row in rows if row.kernels is None for field in key_fields(row.key)
        }
        with self._guard(), schema.transaction(self._db):
            if self._shown is None or not fields.keys() <= self._shown:
                schema.show_fields(self._db, fields.values())
            provenances = dict.fromkeys(row.provenance for row in rows)
            numbers = {provenance: self._make_provenance(provenance) for provenance in provenances}
            for row in rows:
                values = {"provenance_id": numbers[row.provenance], **_encode(row)}
                packed = zlib.compress(json.dumps(row.rounds_us).encode())
                schema.insert(self._db, values, packed if row.rounds_us else None)
        self._shown = (self._shown or set()) | fields.keys()

    def rows(self, provenance: Provenance | None = None, *, samples: bool = True) -> list[Row]:
        """Every row, in the order measured; of one provenance where given.

        Parameters
        ----------
        samples: without them, which most readers do not need, it takes a fraction of time and
            memory.
        """
        return list(self.stream(provenance, samples=samples))

    def stream(
        self,
        provenance: Provenance | None = None,
        *,
        type_name: str | None = None,
        order: Order = "measured",
        limit: int | None = None,
        samples: bool = False,
    ) -> Iterator[Row]:
        """Rows as they are read, of one provenance or type where given, the first `limit`.

        Raises `TableError` for a row whose values are no row's.
        """
        columns = [*_COLUMNS, "s.rounds_us"] if samples else _COLUMNS
        by_id = self._provenances()
        for record in self._select(
            columns, provenance, type_name=type_name, order=order, limit=limit
        ):
            yield _decode(record, by_id)

    def row(self, key: str, provenance: Provenance, copies: int = 1) -> Row | None:
        """The row of a key, without its samples, or None."""
        condition = "m.key = ? AND m.copies = ?"
        records = list(self._select(_COLUMNS, provenance, condition, (key, copies)))
        return _decode(records[0], self._provenances()) if records else None

    def count(self, provenance: Provenance | None = None, type_name: str | None = None) -> int:
        """How many rows there are, of one provenance or type where given."""
        found: int = next(self._select(["count(*)"], provenance, type_name=type_name))[0]
        return found

    def summaries(self, provenance: Provenance | None = None) -> list[TypeSummary]:
        """What there is of each type, by provenance and type."""
        columns = ["m.provenance_id", "m.type", "count(*)", "sum(m.quality != 'ok')"]
        columns += ["min(m.latency_us)", "max(m.latency_us)"]
        by_id = self._provenances()
        found = self._select(columns, provenance, order="type", group_by="m.provenance_id, m.type")
        return [
            checked(
                TypeSummary, dict(zip(_SUMMARY, (_of(by_id, number), *rest), strict=True)), "a row"
            )
            for number, *rest in found
        ]

    def keys(self, provenance: Provenance) -> set[tuple[str, int]]:
        """(key, copies) of the rows of one provenance."""
        found = self._select(["m.key", "m.copies"], provenance)
        return {checked(tuple[str, int], tuple(record), "a row") for record in found}

    def standings(self, provenance: Provenance) -> dict[tuple[str, int], Standing]:
        """By (key, copies), what decides whether a row of one provenance stays."""
        columns = ["m.key", "m.copies", "m.quality", "m.repeat_dev"]
        found = self._select([*columns, *(f"m.{name}" for name in EFFORT_COLUMNS)], provenance)
        standings = {}
        for key, copies, quality, repeat_dev, *effort in found:
            what = f"row {key!r}"
            values = {"quality": quality, "repeat_dev": repeat_dev, "effort": _effort(effort)}
            name = checked(tuple[str, int], (key, copies), what)
            standings[name] = checked(Standing, values, what)
        return standings

    def settled(self, provenance: Provenance, effort: Effort) -> Collection[tuple[str, int]]:
        """(key, copies) of the rows to which measuring with this effort has nothing to add.

        The others are not there, or flagged, or were measured with less.
        """
        standings = self.standings(provenance)
        return {name for name, standing in standings.items() if standing.settles(effort)}

    def flag_drifted(self, provenance: Provenance, sentinel_us: float) -> int:
        """Flag rows of one provenance whose sentinel took longer than this; how many there were.

        A row is judged by what was known when it was measured, and the first ones know least.
        """
        provenance_id = self._provenance_id(provenance)
        with self._guard(), schema.transaction(self._db):
            return self._db.execute(
                "UPDATE measurements SET quality = 'drifted'"
                " WHERE provenance_id = ? AND quality = 'ok' AND sentinel_us > ?",
                (provenance_id, sentinel_us),
            ).rowcount

    def sentinels_us(self, provenance: Provenance) -> list[float]:
        """The sentinel kernel's latencies in the rows of one provenance that have one."""
        found = self._select(["m.sentinel_us"], provenance, "m.sentinel_us IS NOT NULL")
        return [_latency(sentinel_us, "a sentinel's latency") for (sentinel_us,) in found]

    def latency_us(self, key: str, provenance: Provenance) -> float:
        """The kernel's or network's own latency. Raises `MissingLatencyError`."""
        wanted = "m.key = ? AND m.copies = 1"
        for (latency_us,) in self._select(["m.latency_us"], provenance, wanted, (key,)):
            return _latency(latency_us, f"row {key!r}")
        raise MissingLatencyError(
            f"a latency must be measured before it is used, the table has none of {key} on "
            f"{provenance}; profile it, or fit a predictor"
        )

    def provenances(self) -> list[Provenance]:
        """The distinct provenances, in the order they came."""
        return list(self._provenances().values())

    def to_frame(self, *, samples: bool = True) -> pd.DataFrame:
        """One line for each row: its kernel's fields, conditions and provenance in every one.

        `from_frame` makes the same table of it again. samples: whether with the columns of figures
        by round: `rounds_us`, a list of lists, and its like.
        """
        return frame.to_frame(self.stream(samples=samples), self._frame_columns(samples))

    @classmethod
    def from_frame(cls, data: pd.DataFrame, path: Path | str | None = None) -> Self:
        """The table of a frame with the columns of `to_frame`. Raises `TableError`.

        Columns that came with a later format, and those of samples, may be missing.
        """
        rows = frame.from_frame(data)
        table = cls(path)
        table.add(rows)
        return table

    def export(
        self, path: Path, provenance: Provenance | None = None, *, samples: bool = True
    ) -> int:
        """Write the frame to `path`, CSV or Parquet by its ending, whole or not at all.

        In CSV, lists are JSON text. The number of rows written. Raises `TableError` for another
        ending.
        """
        return frame.export(
            self.stream(provenance, samples=samples), self._frame_columns(samples), path
        )

    def _frame_columns(self, samples: bool) -> frame.Columns:
        """Of each type the fields that its keys have, by two of them."""
        ends = self._select(
            ["min(m.key)", "max(m.key)"], None, "m.type != 'network'", group_by="m.type"
        )
        return frame.columns([key for pair in ends for key in pair], samples=samples)

    def _connect(self) -> sqlite3.Connection:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        return _connection(self.path or ":memory:")

    def _connect_to_read(self) -> sqlite3.Connection:
        """A connection that leaves the file as it is.

        SQLite's own read-only mode leaves files of its own beside a table, and fails where it can
        write none. So where they can be written the connection may, but not to the table; elsewhere
        a table that no writer has open is read as what never changes.
        """
        if self.path is None or not self.path.is_file():
            raise TableError(
                f"a latency table must exist to be read, found none at {self.path}; "
                "make one with `netadapt profile`"
            )
        uri = self.path.absolute().as_uri()
        if _writable(self.path) and _writable(self.path.parent):
            db = _connection(f"{uri}?mode=rw", uri=True)
            db.execute("PRAGMA query_only = ON")
            return db
        written = self.path.with_name(f"{self.path.name}-wal").exists()
        return _connection(f"{uri}?mode=ro{'' if written else '&immutable=1'}", uri=True)

    def _open(self, *, read_only: bool) -> None:
        if schema.is_empty(self._db) and not read_only:
            schema.make(self._db)
        schema.check(self._db, self.path)
        if schema.version(self._db) == schema.FORMAT_VERSION:
            return
        if read_only:
            old, self._db = self._db, _connection("")  # a file of SQLite's own, gone when closed
            old.backup(self._db)
            old.close()
        migrations.upgrade(self._db)

    def _select(
        self,
        columns: Sequence[str],
        provenance: Provenance | None,
        condition: str = "",
        values: tuple[object, ...] = (),
        *,
        type_name: str | None = None,
        order: Order = "measured",
        group_by: str = "",
        limit: int | None = None,
    ) -> Iterator[Any]:
        """Columns of the rows of a provenance and type that meet a condition, as they are read."""
        conditions = [condition] if condition else []
        if provenance is not None:
            conditions.append("m.provenance_id = ?")
            values = (*values, self._provenance_id(provenance))
        if type_name is not None:
            conditions.append("m.type = ?")
            values = (*values, type_name)
        query = f"SELECT {', '.join(columns)} FROM measurements m"
        if "s.rounds_us" in columns:
            query += " LEFT JOIN samples s ON s.measurement_id = m.measurement_id"
        if conditions:
            query += f" WHERE {' AND '.join(conditions)}"
        if group_by:
            query += f" GROUP BY {group_by}"
        query += f" ORDER BY {_ORDERS[order]}"
        if limit is not None:
            query += f" LIMIT {int(limit)}"
        with self._guard():
            cursor = self._db.execute(query, values)
        while True:
            with self._guard():
                records = cursor.fetchmany(_FETCHED)
            if not records:
                return
            yield from records

    def _provenances(self) -> dict[int, Provenance]:
        with self._guard():
            records = self._db.execute(
                "SELECT provenance_id, device, recipe, lowering, threads, cpus FROM provenance "
                "ORDER BY provenance_id"
            ).fetchall()
        return {int(record["provenance_id"]): _provenance(record) for record in records}

    def _provenance_id(self, provenance: Provenance) -> int | None:
        numbers = {found: number for number, found in self._provenances().items()}
        return numbers.get(provenance)

    def _make_provenance(self, provenance: Provenance) -> int:
        number = self._provenance_id(provenance)
        if number is not None:
            return number
        values = {
            "device": json.dumps(dataclasses.asdict(provenance.device)),
            "fingerprint": provenance.device.fingerprint,
            "recipe": str(provenance.recipe),
            **{name: getattr(provenance, name) for name in ("lowering", "threads", "cpus")},
        }
        made = self._db.execute(
            f"INSERT INTO provenance ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
            tuple(values.values()),
        ).lastrowid
        assert made is not None  # it was just made
        return made

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn SQLite's errors into one line that names the file."""
        try:
            yield
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            why = printable(error)  # SQLite quotes statements and values, whatever is in them
            raise TableError(
                f"the latency table {self.path or 'in memory'} cannot be used: {why}; "
                "restore it from a copy, free disk space, or profile anew into another file"
            ) from error


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _connection(name: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    db = sqlite3.connect(name, isolation_level=None, timeout=30, uri=uri)
    db.row_factory = sqlite3.Row
    return db


def _encode(row: Row) -> dict[str, object]:
    record: dict[str, object] = {name: getattr(row, name) for name in _PLAIN}
    if row.effort is not None:
        record |= dataclasses.asdict(row.effort)
    return record | {
        "type": row.type,
        "fields": json.dumps(key_fields(row.key)) if row.kernels is None else None,
        "kernels": None if row.kernels is None else json.dumps(row.kernels),
        "input_shape": None if row.input_shape is None else json.dumps(row.input_shape),
        "sentinel_us": row.sentinel_us,
        "conditions": json.dumps(dataclasses.asdict(row.conditions)),
    }


def _decode(record: sqlite3.Row, provenances: dict[int, Provenance]) -> Row:
    """A row of what was read, every value checked."""
    what = f"row {record['key']!r}"
    values: dict[str, Any] = {name: record[name] for name in _PLAIN}
    for name, kind in _JSON.items():
        text = record[name]
        values[name] = None if text is None else checked(kind, text, what, as_json=True)
    values["rounds_us"] = ()
    if "rounds_us" in record.keys() and record["rounds_us"] is not None:  # noqa: SIM118
        unpacked = _unpacked(record["rounds_us"], what)
        values["rounds_us"] = checked(Rounds, unpacked, what, as_json=True)
    values["effort"] = _effort([record[name] for name in EFFORT_COLUMNS])
    values["provenance"] = _of(provenances, record["provenance_id"])
    return checked(Row, values, what)


def _effort(values: Sequence[Any]) -> dict[str, Any] | None:
    """Of its columns, in their order; checked with the row."""
    if all(value is None for value in values):
        return None
    return dict(zip(EFFORT_COLUMNS.values(), values, strict=True))


def _provenance(record: sqlite3.Row) -> Provenance:
    what = f"provenance {record['provenance_id']}"
    try:
        recipe = Recipe.parse(str(record["recipe"]))
    except RecipeError as error:
        raise damaged(what, str(error)) from error
    values = {
        "device": checked(DeviceInfo, record["device"], what, as_json=True),
        "recipe": recipe,
        **{name: record[name] for name in ("lowering", "threads", "cpus")},
    }
    return checked(Provenance, values, what)


def _unpacked(packed: object, what: str) -> bytes:
    try:
        if not isinstance(packed, bytes):
            raise TypeError("samples are no bytes")
        stream = zlib.decompressobj()
        data = stream.decompress(packed, _MAX_SAMPLES_BYTES)
        if not stream.eof:
            raise ValueError("samples are cut off, or far too many")
        return data
    except (ValueError, TypeError, zlib.error) as error:
        raise damaged(what, str(error)) from error


def _latency(value: object, what: str) -> float:
    if not isinstance(value, float) or not 0 < value < math.inf:
        raise damaged(what, f"{value!r} is no latency")
    return value


def _of(provenances: dict[int, Provenance], number: object) -> Provenance:
    if not isinstance(number, int) or number not in provenances:
        raise damaged(f"provenance {number!r}", "a row refers to it, and it is not there")
    return provenances[number]
