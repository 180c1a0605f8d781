"""Latency tables as older versions wrote them: formats 1, 2 and 3."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from netadapt.profiler.lowering import Recipe
from netadapt.profiler.provenance import flat
from netadapt.profiler.row import Provenance, Row

_PROVENANCE = (
    "device_id TEXT NOT NULL, device_kind TEXT NOT NULL, model TEXT NOT NULL, soc TEXT NOT NULL, "
    "os TEXT NOT NULL, abi TEXT NOT NULL, fingerprint TEXT NOT NULL, "
    "runtime_version TEXT NOT NULL, runner_sha256 TEXT NOT NULL, build_options TEXT NOT NULL, "
    "precision TEXT NOT NULL, threads INTEGER NOT NULL, cpus TEXT NOT NULL"
)
_MEASUREMENTS = (
    "key TEXT NOT NULL, copies INTEGER NOT NULL, kernels TEXT, latency_us REAL NOT NULL, "
    "repeat_dev REAL NOT NULL, spread REAL NOT NULL, quality TEXT NOT NULL, "
    "attempts INTEGER NOT NULL, rounds_us BLOB NOT NULL, calls_per_sample INTEGER NOT NULL, "
    "program_sha256 TEXT NOT NULL, sentinel_us REAL, freq_khz_before INTEGER, "
    "freq_khz_after INTEGER, temperature_c_before REAL, temperature_c_after REAL, "
    "load_avg_before REAL, load_avg_after REAL, measured_at TEXT NOT NULL"
)
_SINCE_2 = (
    "freq_khz_lowest INTEGER, performance TEXT, battery_pct INTEGER, charging BOOLEAN, "
    "screen_on BOOLEAN, thermal_status INTEGER"
)
_MEASUREMENTS_3 = (
    "type TEXT NOT NULL, key TEXT NOT NULL, copies INTEGER NOT NULL, label TEXT, kernels TEXT, "
    "input_shape TEXT, latency_us REAL NOT NULL, repeat_dev REAL, spread REAL, "
    "quality TEXT NOT NULL, attempts INTEGER, calls_per_sample INTEGER, program_sha256 TEXT, "
    "sentinel_us REAL, conditions TEXT NOT NULL"
)
_SAMPLES_3 = """CREATE TABLE samples (
    measurement_id INTEGER PRIMARY KEY REFERENCES measurements,
    rounds_us BLOB NOT NULL
)"""


def _names(columns: str) -> list[str]:
    return [column.split()[0] for column in columns.split(", ")]


def former(row: Row) -> Row:
    """The row as a table of an older format has it: without the versions that lowered, or effort.

    The recipe was always one and the same.
    """
    recipe = Recipe("xnnpack", row.provenance.recipe.precision, 1)
    provenance = dataclasses.replace(row.provenance, recipe=recipe, lowering="")
    return dataclasses.replace(row, provenance=provenance, effort=None)


def write_old(
    path: Path,
    version: int,
    rows: Sequence[Row],
    fingerprints: Mapping[Provenance, str] | None = None,
) -> None:
    """Write `rows` to a new table of an older format; in 1 and 2 a network's label was its key.

    Parameters
    ----------
    fingerprints: other ones than the provenances have today.
    """
    number = "id" if version < 3 else "provenance_id"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(
        f"CREATE TABLE provenance ({number} INTEGER PRIMARY KEY, {_PROVENANCE}, "
        f"UNIQUE ({', '.join(_names(_PROVENANCE))}))"
    )
    provenances = list(dict.fromkeys(row.provenance for row in rows))
    for count, provenance in enumerate(provenances, 1):
        columns = dict(flat(provenance))
        columns["fingerprint"] = (fingerprints or {}).get(provenance, columns["fingerprint"])
        values = (count, *(columns[name] for name in _names(_PROVENANCE)))
        db.execute(f"INSERT INTO provenance VALUES ({', '.join('?' * len(values))})", values)
    numbers = [provenances.index(row.provenance) + 1 for row in rows]
    if version < 3:
        _write_1_or_2(db, version, rows, numbers)
    else:
        _write_3(db, rows, numbers)
    db.execute("PRAGMA application_id = 1851878516")
    db.execute(f"PRAGMA user_version = {version}")
    db.close()


def _write_1_or_2(
    db: sqlite3.Connection, version: int, rows: Sequence[Row], numbers: Sequence[int]
) -> None:
    measurements = _MEASUREMENTS if version == 1 else f"{_MEASUREMENTS}, {_SINCE_2}"
    db.execute(
        "CREATE TABLE measurements (id INTEGER PRIMARY KEY, provenance_id INTEGER NOT NULL "
        f"REFERENCES provenance (id), {measurements}, UNIQUE (key, copies, provenance_id))"
    )
    names = _names(measurements)
    for row, number in zip(rows, numbers, strict=True):
        known = {
            "kernels": None if row.kernels is None else json.dumps(row.kernels),
            "rounds_us": zlib.compress(json.dumps(row.rounds_us).encode()),
            "key": row.label or row.key,
        }
        holders = {name: row if hasattr(row, name) else row.conditions for name in names}
        values = (
            number,
            *(known[name] if name in known else getattr(holders[name], name) for name in names),
        )
        db.execute(
            f"INSERT INTO measurements (provenance_id, {', '.join(names)}) "
            f"VALUES ({', '.join('?' * len(values))})",
            values,
        )


def _write_3(db: sqlite3.Connection, rows: Sequence[Row], numbers: Sequence[int]) -> None:
    db.execute(
        "CREATE TABLE measurements (measurement_id INTEGER PRIMARY KEY, provenance_id INTEGER NOT "
        f"NULL REFERENCES provenance, {_MEASUREMENTS_3}, UNIQUE (key, copies, provenance_id))"
    )
    db.execute(_SAMPLES_3)
    db.execute(
        "CREATE INDEX measurements_by_type ON measurements (provenance_id, type, latency_us)"
    )
    for count, (row, number) in enumerate(zip(rows, numbers, strict=True), 1):
        known = {
            "kernels": None if row.kernels is None else json.dumps(row.kernels),
            "input_shape": None if row.input_shape is None else json.dumps(row.input_shape),
            "conditions": json.dumps(dataclasses.asdict(row.conditions)),
        }
        names = _names(_MEASUREMENTS_3)
        values = (count, number, *(known.get(n) or getattr(row, n) for n in names))
        db.execute(f"INSERT INTO measurements VALUES ({', '.join('?' * len(values))})", values)
        db.execute(
            "INSERT INTO samples VALUES (?, ?)",
            (count, zlib.compress(json.dumps(row.rounds_us).encode())),
        )
