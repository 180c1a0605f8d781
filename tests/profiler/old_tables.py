"""Latency tables as 0.1 wrote them: formats 1 and 2."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path

from netadapt.profiler.row import Row

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


def _names(columns: str) -> list[str]:
    return [column.split()[0] for column in columns.split(", ")]


def write_old(path: Path, version: int, rows: Sequence[Row]) -> None:
    """Write `rows` to a new table of format 1 or 2; a network's label was its key."""
    measurements = _MEASUREMENTS if version == 1 else f"{_MEASUREMENTS}, {_SINCE_2}"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(
        f"CREATE TABLE provenance (id INTEGER PRIMARY KEY, {_PROVENANCE}, "
        f"UNIQUE ({', '.join(_names(_PROVENANCE))}))"
    )
    db.execute(
        "CREATE TABLE measurements (id INTEGER PRIMARY KEY, provenance_id INTEGER NOT NULL "
        f"REFERENCES provenance (id), {measurements}, UNIQUE (key, copies, provenance_id))"
    )
    db.execute("PRAGMA application_id = 1851878516")
    db.execute(f"PRAGMA user_version = {version}")
    provenances = list(dict.fromkeys(row.provenance for row in rows))
    for number, provenance in enumerate(provenances, 1):
        values = (number, *dataclasses.astuple(provenance))
        db.execute(f"INSERT INTO provenance VALUES ({', '.join('?' * len(values))})", values)
    for row in rows:
        known = {
            "kernels": None if row.kernels is None else json.dumps(row.kernels),
            "rounds_us": zlib.compress(json.dumps(row.rounds_us).encode()),
            "key": row.label or row.key,
        }
        told = {
            name: row if hasattr(row, name) else row.conditions for name in _names(measurements)
        }
        values = (
            provenances.index(row.provenance) + 1,
            *(
                known[name] if name in known else getattr(told[name], name)
                for name in _names(measurements)
            ),
        )
        db.execute(
            f"INSERT INTO measurements (provenance_id, {', '.join(_names(measurements))}) "
            f"VALUES ({', '.join('?' * len(values))})",
            values,
        )
    db.close()
