"""Older formats of the latency table, and how each becomes the next.

Format 1 had a column for each condition, raw samples beside them, and networks keyed by name.
Format 2 had more conditions, those of phones. Format 3 kept conditions as one JSON record, samples
apart, and networks by their content. Format 4 keeps the device as one record too, the recipe and
the versions that lowered, the effort, and a kernel's fields; see `netadapt.profiler.schema`.

A migration is written once, against the formats it is of: it uses none of today's columns. That
to the newest format makes today's tables; whoever makes a format 5 writes those of 4 down here.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from netadapt.profiler import schema
from netadapt.profiler.errors import ProfilerError, TableError
from netadapt.profiler.keys import NETWORK, network_key, parse_key
from netadapt.profiler.provenance import from_flat


def upgrade(db: sqlite3.Connection) -> None:
    """Bring an older format up to today's. Raises `TableError` for a damaged row."""
    # Else renaming a table would also rewrite what other tables say of it.
    db.execute("PRAGMA legacy_alter_table = ON")
    with schema.transaction(db):
        while (version := schema.version(db)) < schema.FORMAT_VERSION:
            MIGRATIONS[version](db)
            db.execute(f"PRAGMA user_version = {version + 1}")
    db.execute("PRAGMA legacy_alter_table = OFF")


_FLAT_PROVENANCE = (
    *("device_id", "device_kind", "model", "soc", "os", "abi", "fingerprint"),
    *("runtime_version", "runner_sha256", "build_options", "precision", "threads", "cpus"),
)
"""Columns of `provenance` in formats 1 to 3."""

_SINCE_2 = {
    "freq_khz_lowest": "INTEGER",
    "performance": "TEXT",
    "battery_pct": "INTEGER",
    "charging": "BOOLEAN",
    "screen_on": "BOOLEAN",
    "thermal_status": "INTEGER",
}
"""Columns of `measurements`."""

_FLAT_CONDITIONS = (
    *("freq_khz_before", "freq_khz_after", "temperature_c_before", "temperature_c_after"),
    *("load_avg_before", "load_avg_after", "performance", "battery_pct", "charging"),
    *("screen_on", "thermal_status"),
)
"""Columns of `measurements` in formats 1 and 2 that are in `conditions` since."""

_PROVENANCE_3 = f"""CREATE TABLE provenance (
    provenance_id INTEGER PRIMARY KEY,
    {", ".join(f"{name} NOT NULL" for name in _FLAT_PROVENANCE)},
    UNIQUE ({", ".join(_FLAT_PROVENANCE)})
)"""
_COLUMNS_3 = (
    *("measurement_id", "provenance_id", "type", "key", "copies", "label", "kernels"),
    *("input_shape", "latency_us", "repeat_dev", "spread", "quality", "attempts"),
    *("calls_per_sample", "program_sha256", "sentinel_us", "conditions"),
)
_MEASUREMENTS_3 = f"""CREATE TABLE measurements (
    measurement_id INTEGER PRIMARY KEY,
    {", ".join(_COLUMNS_3[1:])},
    UNIQUE (key, copies, provenance_id)
)"""


def _to_2(db: sqlite3.Connection) -> None:
    for name, kind in _SINCE_2.items():
        db.execute(f"ALTER TABLE measurements ADD COLUMN {name} {kind}")


def _to_3(db: sqlite3.Connection) -> None:
    with _replaced(db, "measurements", "provenance"):
        for statement in (_PROVENANCE_3, _MEASUREMENTS_3, schema.TABLES["samples"]):
            db.execute(statement)
        names = ", ".join(_FLAT_PROVENANCE)
        db.execute(
            f"INSERT INTO provenance (provenance_id, {names}) "
            f"SELECT id, {names} FROM old_provenance"
        )
        taken: set[tuple[int, str]] = set()
        old = db.execute(
            "SELECT m.*, p.cpus, p.threads FROM old_measurements m "
            "JOIN old_provenance p ON p.id = m.provenance_id ORDER BY m.id"
        )
        for record in old:
            try:
                values = _moved_to_3(dict(record), taken)
            except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
                raise TableError(
                    f"row {record['key']!r} of the latency table is damaged ({error}); "
                    "delete it and profile again"
                ) from error
            schema.insert(db, values, record["rounds_us"])


def _moved_to_3(record: dict[str, Any], taken: set[tuple[int, str]]) -> dict[str, Any]:
    """A row of format 2 as one of format 3; `taken`: networks' keys so far."""
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


def _to_4(db: sqlite3.Connection) -> None:
    db.execute("DROP INDEX IF EXISTS measurements_by_type")
    db.create_function("kernel_fields", 1, _fields)
    with _replaced(db, "measurements", "provenance"):
        schema.make_tables(db, left_out=("samples",))
        for record in db.execute("SELECT * FROM old_provenance").fetchall():
            _move_provenance_to_4(db, dict(record))
        names = ", ".join(_COLUMNS_3)
        db.execute(
            f"INSERT INTO measurements ({names}, fields) "
            f"SELECT {names}, kernel_fields(key) FROM old_measurements"
        )
    ends = db.execute(
        "SELECT min(key), max(key) FROM measurements WHERE fields IS NOT NULL GROUP BY type"
    )
    schema.show_fields(db, [str(key) for pair in ends.fetchall() for key in pair])


def _move_provenance_to_4(db: sqlite3.Connection, record: Mapping[str, Any]) -> None:
    number = record["provenance_id"]
    kept = db.execute(
        "SELECT DISTINCT json_extract(conditions, '$.performance') FROM old_measurements "
        "WHERE provenance_id = ? AND json_valid(conditions)",
        (number,),
    )
    performances = [performance for (performance,) in kept if isinstance(performance, str)]
    values = {name: record[name] for name in _FLAT_PROVENANCE}
    moved = from_flat(values, f"provenance {number}", performances=performances)
    db.execute(
        "INSERT INTO provenance VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            json.dumps(dataclasses.asdict(moved.device)),
            record["fingerprint"],
            str(moved.recipe),
            moved.lowering,
            moved.threads,
            moved.cpus,
        ),
    )


def _fields(key: object) -> str | None:
    """A kernel's fields as JSON; None for a network and for what is no key."""
    parsed = parse_key(key) if isinstance(key, str) else None
    return json.dumps(parsed[1]) if parsed is not None and parsed[0] != NETWORK else None


@contextmanager
def _replaced(db: sqlite3.Connection, *names: str) -> Iterator[None]:
    """Within, tables of these names are called `old_...`; at the end they are gone."""
    for name in names:
        db.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
    yield
    for name in names:
        db.execute(f"DROP TABLE old_{name}")


MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = {1: _to_2, 2: _to_3, 3: _to_4}
"""By format, what brings it to the next."""
