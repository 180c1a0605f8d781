"""The latency table's SQLite schema: made, checked and brought up to date.

`FORMAT_VERSION` stands in the file's `user_version`, `APPLICATION_ID` marks a file as ours. In
formats 1 and 2 each condition had a column of its own (2: those that came with phones, too), raw
samples one of the same table, and networks were keyed by their names. Format 3 keeps conditions as
one JSON record, samples apart, and keys networks by their content.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from netadapt.android_runner.device import Conditions
from netadapt.profiler.errors import ProfilerError, TableError
from netadapt.profiler.keys import NETWORK, network_key
from netadapt.profiler.row import Provenance

FORMAT_VERSION = 3
APPLICATION_ID = 0x6E61_6C74  # "nalt": netadapt latency table

PROVENANCE_FIELDS = tuple(f.name for f in dataclasses.fields(Provenance))

_PROVENANCE_COLUMNS = ",\n    ".join(
    f"{name} {'INTEGER' if name == 'threads' else 'TEXT'} NOT NULL" for name in PROVENANCE_FIELDS
)

TABLES = {
    "provenance": f"""CREATE TABLE provenance (
    provenance_id INTEGER PRIMARY KEY,
    {_PROVENANCE_COLUMNS},
    UNIQUE ({", ".join(PROVENANCE_FIELDS)})
)""",
    "measurements": """CREATE TABLE measurements (
    measurement_id INTEGER PRIMARY KEY,
    provenance_id INTEGER NOT NULL REFERENCES provenance,
    type TEXT NOT NULL,
    key TEXT NOT NULL,
    copies INTEGER NOT NULL,
    label TEXT,
    kernels TEXT,
    input_shape TEXT,
    latency_us REAL NOT NULL,
    repeat_dev REAL,
    spread REAL,
    quality TEXT NOT NULL,
    attempts INTEGER,
    calls_per_sample INTEGER,
    program_sha256 TEXT,
    sentinel_us REAL,
    conditions TEXT NOT NULL,
    UNIQUE (key, copies, provenance_id)
)""",
    # Apart from the rest, so that looking through rows does not read them.
    "samples": """CREATE TABLE samples (
    measurement_id INTEGER PRIMARY KEY REFERENCES measurements,
    rounds_us BLOB NOT NULL
)""",
}
_INDEX = "CREATE INDEX measurements_by_type ON measurements (provenance_id, type, latency_us)"

# Of formats 1 and 2: columns of `measurements` that are now in `conditions`.
_FLAT_CONDITIONS = (
    *("freq_khz_before", "freq_khz_after", "temperature_c_before", "temperature_c_after"),
    *("load_avg_before", "load_avg_after", "performance", "battery_pct", "charging"),
    *("screen_on", "thermal_status"),
)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of what is done within, or nothing; nobody else writes meanwhile."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:  # a full disk has rolled it back already
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether nothing was ever made in the database."""
    return not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def make(db: sqlite3.Connection) -> None:
    """The tables, in an empty database."""
    db.execute("PRAGMA journal_mode = WAL")
    with transaction(db):
        if is_empty(db):  # else another process was faster
            _make_tables(db)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def version(db: sqlite3.Connection) -> int:
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    return found


def check(db: sqlite3.Connection, name: object) -> None:
    """See that the database is a latency table of this format or an older one.

    What is called a table must be one: a view, virtual table or computed column could run anything,
    and for ever. Raises `TableError`.
    """
    db.execute("PRAGMA trusted_schema = OFF")
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise TableError(f"{name} is a database but no latency table; name another file")
    found = version(db)
    if not 1 <= found <= FORMAT_VERSION:
        raise TableError(
            f"this version reads latency tables of format 1 to {FORMAT_VERSION}, {name} has "
            f"{found}; use the netadapt version that wrote it, or profile anew"
        )
    master = {
        str(record[0]): (record[1], record[2])
        for record in db.execute("SELECT name, type, sql FROM sqlite_master")
    }
    for table, sql in TABLES.items():
        if found < FORMAT_VERSION and table == "samples":
            continue
        kind, text = master.get(table, (None, None))
        plain = kind == "table" and str(text).startswith("CREATE TABLE")
        if found == FORMAT_VERSION:
            plain = plain and text == sql
        else:
            columns = db.execute(f"PRAGMA table_xinfo({table})").fetchall()
            plain = plain and not any(column["hidden"] for column in columns)
        if not plain:
            raise TableError(
                f"a latency table of format {found} has its own table {table!r}, {name} has "
                f"{'none' if kind is None else 'another ' + str(kind)}; restore it from a copy, or "
                "profile anew into another file"
            )
    triggers = [trigger for trigger, (kind, _) in master.items() if kind == "trigger"]
    if triggers:
        raise TableError(
            f"a latency table has no triggers, {name} has {triggers[0]!r}; drop it, or profile "
            "anew into another file"
        )


def upgrade(db: sqlite3.Connection) -> None:
    """Bring an older format up to this one. Raises `TableError` for a damaged row."""
    with transaction(db):
        if version(db) < FORMAT_VERSION:  # else another process was faster
            for table in ("measurements", "provenance"):
                db.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
            _make_tables(db)
            names = ", ".join(PROVENANCE_FIELDS)
            db.execute(
                f"INSERT INTO provenance (provenance_id, {names}) "
                f"SELECT id, {names} FROM old_provenance"
            )
            _move_rows(db)
            for table in ("measurements", "provenance"):
                db.execute(f"DROP TABLE old_{table}")


def _make_tables(db: sqlite3.Connection) -> None:
    for statement in (*TABLES.values(), _INDEX, f"PRAGMA user_version = {FORMAT_VERSION}"):
        db.execute(statement)


def insert(db: sqlite3.Connection, values: dict[str, Any], rounds: bytes | None) -> None:
    """Write a row of `measurements` with its samples; one of the same key is replaced."""
    same = (
        "SELECT measurement_id FROM measurements WHERE key = ? AND copies = ? AND provenance_id = ?"
    )
    where = (values["key"], values["copies"], values["provenance_id"])
    db.execute(f"DELETE FROM samples WHERE measurement_id IN ({same})", where)
    marks = ", ".join("?" * len(values))
    cursor = db.execute(
        f"INSERT OR REPLACE INTO measurements ({', '.join(values)}) VALUES ({marks})",
        tuple(values.values()),
    )
    if rounds is not None:
        db.execute("INSERT INTO samples VALUES (?, ?)", (cursor.lastrowid, rounds))


def _move_rows(db: sqlite3.Connection) -> None:
    taken: set[tuple[int, str]] = set()
    old = db.execute(
        "SELECT m.*, p.cpus, p.threads FROM old_measurements m "
        "JOIN old_provenance p ON p.id = m.provenance_id ORDER BY m.id"
    )
    for record in old:
        try:
            values = _moved(dict(record), taken)
        except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
            raise TableError(
                f"row {record['key']!r} of the latency table is damaged ({error}); "
                "delete it and profile again"
            ) from error
        insert(db, values, record["rounds_us"])


def _moved(record: dict[str, Any], taken: set[tuple[int, str]]) -> dict[str, Any]:
    """A row of format 1 or 2 as one of this format; `taken`: networks' keys so far."""
    same = (
        *("provenance_id", "copies", "latency_us", "repeat_dev", "spread", "quality"),
        *("attempts", "calls_per_sample", "program_sha256", "sentinel_us"),
    )
    values = {"measurement_id": record["id"]} | {name: record[name] for name in same}
    if not isinstance(record["key"], str):
        raise TypeError("its key is no text")
    if record["kernels"] is None:
        values |= {"key": record["key"], "type": record["key"].partition("(")[0]}
    else:
        kernels = [str(key) for key in json.loads(record["kernels"])]
        shape = _input_shape(kernels)
        occasion = "" if kernels else str(record["program_sha256"])
        key = network_key(kernels, shape, occasion)
        if (record["provenance_id"], key) in taken:  # as after training: kept, by its name
            key = network_key(kernels, shape, record["key"])
        taken.add((record["provenance_id"], key))
        values |= {
            "key": key,
            "type": NETWORK,
            "label": record["key"],
            "kernels": json.dumps(kernels),
            "input_shape": None if shape is None else json.dumps(shape),
        }
    cpus = [part for part in record["cpus"].split(",") if part.isdecimal()]
    conditions: dict[str, Any] = {name: record.get(name) for name in _FLAT_CONDITIONS}
    for name in ("charging", "screen_on"):
        if conditions[name] is not None:
            conditions[name] = bool(conditions[name])
    sentinel_us, lowest = record["sentinel_us"], record.get("freq_khz_lowest")
    conditions |= {
        "cpus": [int(cpu) for cpu in cpus],
        "threads": record["threads"],
        "sentinel_us": [] if sentinel_us is None else [sentinel_us],
        "round_freqs_khz": [] if lowest is None else [lowest],
        "started_at": record["measured_at"],
    }
    return values | {"conditions": json.dumps(conditions)}


def _input_shape(kernels: Iterable[str]) -> tuple[int, ...] | None:
    """Of a network: its first kernel's, where this version knows that kernel."""
    first = next(iter(kernels), None)
    if first is None:
        return None
    from netadapt.profiler.kernels import Kernel  # here: it brings torch

    try:
        return Kernel.from_key(first).input_shapes[0]
    except ProfilerError:
        return None


assert {f.name for f in dataclasses.fields(Conditions)} >= set(_FLAT_CONDITIONS)
