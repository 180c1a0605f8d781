"""The latency table's SQLite schema: made, checked, and shown as one view.

`FORMAT_VERSION` stands in the file's `user_version`, `APPLICATION_ID` marks a file as ours. What
older formats were is in `netadapt.profiler.migrations`.
"""

from __future__ import annotations

import re
import sqlite3
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import NoneType
from typing import Any

from netadapt.profiler.columns import CONDITION_COLUMNS, DEVICE_COLUMNS, EFFORT_COLUMNS
from netadapt.profiler.errors import TableError
from netadapt.profiler.keys import key_fields
from netadapt.profiler.row import Effort

FORMAT_VERSION = 4
APPLICATION_ID = 0x6E61_6C74  # "nalt": netadapt latency table

_SQL_TYPES = {int: "INTEGER", float: "REAL", str: "TEXT"}
_EFFORT = "".join(
    f"\n    {name} {_SQL_TYPES[kind]}," for name, kind in typing.get_type_hints(Effort).items()
)

TABLES = {
    "provenance": """CREATE TABLE provenance (
    provenance_id INTEGER PRIMARY KEY,
    device TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    recipe TEXT NOT NULL,
    lowering TEXT NOT NULL,
    threads INTEGER NOT NULL,
    cpus TEXT NOT NULL
)""",
    "measurements": f"""CREATE TABLE measurements (
    measurement_id INTEGER PRIMARY KEY,
    provenance_id INTEGER NOT NULL REFERENCES provenance,
    type TEXT NOT NULL,
    key TEXT NOT NULL,
    fields TEXT,
    copies INTEGER NOT NULL,
    label TEXT,
    kernels TEXT,
    input_shape TEXT,
    latency_us REAL NOT NULL,
    repeat_dev REAL,
    spread REAL,
    quality TEXT NOT NULL,
    attempts INTEGER,{_EFFORT}
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
# With the quality, so that what there is of each type is counted without reading the rows.
_INDEX = (
    "CREATE INDEX measurements_by_type ON measurements (provenance_id, type, latency_us, quality)"
)

VIEW = "latencies"
_BEFORE_FIELDS = ("measurement_id", "type", "key")
_AFTER_FIELDS = (
    *("label", "copies", "latency_us", "quality", "repeat_dev", "spread", "attempts"),
    *EFFORT_COLUMNS,
    *("calls_per_sample", "sentinel_us"),
)
_LAST = ("program_sha256", "kernels", "input_shape", "provenance_id")
_OF_PROVENANCE = ("fingerprint", "recipe", "lowering", "threads", "cpus")
_TAKEN = {
    *(*_BEFORE_FIELDS, *_AFTER_FIELDS, *_LAST, *_OF_PROVENANCE),
    *(*CONDITION_COLUMNS, *DEVICE_COLUMNS, "precision", "rounds_us", "freq_khz_lowest"),
}
_NAME = re.compile(r"[a-z0-9_]{1,60}")
_FIELD = re.compile(r"json_extract\(m\.fields, '\$\.([a-z0-9_]{1,60})'\)")
"""A kernel's field in the text of the view, which is not run to learn its columns."""


def kernel_column(field: str) -> str:
    """The column of a kernel's field, in the view and in frames; its name, if that is not taken."""
    return f"kernel_{field}" if field in _TAKEN else field


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
    """The tables and the view, in an empty database."""
    db.execute("PRAGMA journal_mode = WAL")
    with transaction(db):
        if is_empty(db):  # else another process was faster
            make_tables(db)
            show_fields(db, ())
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")


def make_tables(db: sqlite3.Connection, left_out: Collection[str] = ()) -> None:
    """All tables but those `left_out`, and the index; within a transaction."""
    for name, statement in TABLES.items():
        if name not in left_out:
            db.execute(statement)
    db.execute(_INDEX)


def version(db: sqlite3.Connection) -> int:
    """The format's version."""
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    return found


def check(db: sqlite3.Connection, name: object) -> None:
    """See that the database is a latency table of this format or an older one.

    What is called a table must be one: a view, virtual table or computed column could run anything,
    and for ever. Our own view is never read by us. Raises `TableError`.
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
        if found < 3 and table == "samples":
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


def insert(db: sqlite3.Connection, values: Mapping[str, Any], rounds: bytes | None) -> None:
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


def show_fields(db: sqlite3.Connection, keys: Iterable[str]) -> None:
    """See that the view is there and has a column for each field of the kernels of these keys."""
    record = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (VIEW,)).fetchone()
    text = None if record is None else str(record["sql"])
    fields = dict.fromkeys(_FIELD.findall(text or ""))
    fields |= dict.fromkeys(field for key in keys for field in key_fields(key))
    wanted = _view(field for field in fields if _NAME.fullmatch(field))
    if text != wanted:
        db.execute(f"DROP VIEW IF EXISTS {VIEW}")
        db.execute(wanted)


def _view(fields: Iterable[str]) -> str:
    """The view: a line for each row, with every record's fields as columns."""

    def read(record: str, columns: Mapping[str, str]) -> list[str]:
        return [f"json_extract({record}, '$.{f}') AS {column}" for column, f in columns.items()]

    columns = [
        *(f"m.{name}" for name in _BEFORE_FIELDS),
        *read("m.fields", {kernel_column(field): field for field in fields}),
        *(f"m.{name}" for name in _AFTER_FIELDS),
        *read("m.conditions", CONDITION_COLUMNS),
        *(f"m.{name}" for name in _LAST),
        *read("p.device", DEVICE_COLUMNS),
        *(f"p.{name}" for name in _OF_PROVENANCE),
    ]
    return (
        f"CREATE VIEW {VIEW} AS SELECT\n    "
        + ",\n    ".join(columns)
        + "\nFROM measurements m JOIN provenance p ON p.provenance_id = m.provenance_id"
    )


assert all(NoneType not in typing.get_args(kind) for kind in typing.get_type_hints(Effort).values())
