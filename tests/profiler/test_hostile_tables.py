"""Tables that are damaged, or made to do harm, or lie where nothing can be written."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netadapt.profiler.errors import TableError
from netadapt.profiler.table import LatencyTable, Row
from tests.profiler.old_tables import write_old
from tests.profiler.test_table import OLD, ROWS, row

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT "


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "table.sqlite"
    with LatencyTable(made) as table:
        table.add(ROWS)
    return made


def change(path: Path, *statements: str, values: tuple[Any, ...] = ()) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA foreign_keys = OFF")
    for statement in statements:
        db.execute(statement, values if "?" in statement else ())
    db.close()


def check_refused(path: Path, *, must_exist: bool = True) -> str:
    """Every way to read the table is an error of one line; the message."""
    message = read_all(path, must_exist=must_exist)
    assert message
    assert "\n" not in message
    return message


def read_all(path: Path, *, must_exist: bool) -> str:
    """Read the table in every way; the first error's message, empty without one."""
    try:
        with LatencyTable(path, must_exist=must_exist) as table:
            for provenance in table.provenances():
                table.keys(provenance)
                table.sentinels_us(provenance)
            table.rows()
            table.to_frame()
            table.summaries()
    except TableError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("key", b"\xff\xfe"),
        ("key", ""),
        ("copies", "many"),
        ("copies", -3),
        ("kernels", "[" * 100_000),
        ("kernels", '{"a": 1}'),
        ("kernels", b"\x00"),
        ("input_shape", "[0, 3]"),
        ("input_shape", "[1e400]"),
        ("latency_us", "fast"),
        ("latency_us", math.inf),
        ("latency_us", -1.0),
        ("latency_us", b"1"),
        ("repeat_dev", None),
        ("repeat_dev", -math.inf),
        ("spread", "{}"),
        ("quality", "splendid"),
        ("attempts", 0),
        ("attempts", "[2]"),
        ("calls_per_sample", None),
        ("program_sha256", None),
        ("rounds", 0),
        ("rounds", "many"),
        ("visit_ms", None),
        ("visit_ms", math.inf),
        ("warmup_ms", -1.0),
        ("conditions", "no JSON"),
        ("conditions", "[]"),
        ("conditions", 7),
        ("conditions", b"\xff"),
        ("conditions", '{"cpus": [0]}'),
        ("conditions", "NaN"),
    ],
)
def test_values_that_no_row_has_are_refused(path: Path, column: str, value: Any) -> None:
    change(path, f"UPDATE measurements SET {column} = ? WHERE measurement_id = 2", values=(value,))
    check_refused(path)


@pytest.mark.parametrize(
    "conditions",
    [
        {"sentinel_us": [math.nan]},
        {"sentinel_us": [-1.0]},
        {"battery_pct": 2**70},
        {"cpus": "all"},
        {"started_at": {"year": 2026}},
        {"throttled": "perhaps"},
    ],
)
def test_conditions_that_no_device_tells_are_refused(
    path: Path, conditions: dict[str, Any]
) -> None:
    whole = dataclasses.asdict(ROWS[0].conditions) | conditions
    change(path, "UPDATE measurements SET conditions = ?", values=(json.dumps(whole),))
    check_refused(path)


@pytest.mark.parametrize(
    "samples",
    [
        b"",
        "text",
        b"x",
        zlib.compress(b"[[1.0]]")[:-3],
        zlib.compress(b"[[0.0]]"),
        zlib.compress(b"[[1e999]]"),
        zlib.compress(b"[" * 100_000),
        zlib.compress(b"[[" + b" " * (80 << 20) + b"1.0]]"),
    ],
)
def test_samples_that_are_none_are_refused(path: Path, samples: Any) -> None:
    change(path, "UPDATE samples SET rounds_us = ?", values=(samples,))
    check_refused(path)


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP VIEW latencies", "ALTER TABLE measurements DROP COLUMN spread"],
        ["DROP TABLE samples"],
        ["DROP TABLE provenance"],
        ["DELETE FROM provenance"],
        ["UPDATE provenance SET threads = 'all' WHERE provenance_id = 1"],
        ["UPDATE provenance SET lowering = x'ff'"],
        ["UPDATE provenance SET recipe = 'the usual one'"],
        ["UPDATE provenance SET device = 'no JSON'"],
        ["UPDATE provenance SET device = json_remove(device, '$.model')"],
        ["UPDATE provenance SET device = json_set(device, '$.cores', 'all')"],
        ["UPDATE provenance SET device = x'ff'"],
    ],
)
def test_tables_that_lack_something_are_refused(path: Path, statements: list[str]) -> None:
    change(path, *statements)
    check_refused(path)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["measurements", "provenance"])
def test_a_view_that_never_ends_is_not_looked_at(tmp_path: Path, version: int, name: str) -> None:
    path = tmp_path / "table.sqlite"
    if version == 4:
        LatencyTable(path).close()
    else:
        write_old(path, version, OLD)
    db = sqlite3.connect(path)
    columns = [record[1] for record in db.execute(f"PRAGMA table_info({name})")]
    db.close()
    values = ", ".join(f"i AS {column}" for column in columns)
    change(
        path,
        "DROP VIEW IF EXISTS latencies",
        f"DROP TABLE {name}",
        f"CREATE VIEW {name} AS {ENDLESS}{values} FROM n",
    )
    for must_exist in (True, False):
        assert f"its own table '{name}'" in check_refused(path, must_exist=must_exist)


def test_tables_with_triggers_and_computed_columns_are_refused(path: Path, tmp_path: Path) -> None:
    trigger = "CREATE TRIGGER more AFTER INSERT ON measurements BEGIN DELETE FROM samples; END"
    computed = "ALTER TABLE measurements ADD COLUMN more BLOB AS (zeroblob(1000000000))"
    other = tmp_path / "other.sqlite"
    shutil.copy(path, other)
    change(path, trigger)
    assert "triggers" in check_refused(path, must_exist=False)
    change(other, computed)
    assert "another table" in check_refused(other)
    old = tmp_path / "old.sqlite"
    write_old(old, 2, OLD)
    change(old, computed)
    assert "another table" in check_refused(old)


@pytest.mark.parametrize("version", [3, 4])
def test_a_view_of_somebody_else_is_not_run(tmp_path: Path, version: int) -> None:
    path = tmp_path / "table.sqlite"
    if version == 4:
        LatencyTable(path).close()
    else:
        write_old(path, version, OLD)
    endless = f"CREATE VIEW latencies AS {ENDLESS} i AS key, i AS wild, i AS label FROM n"
    change(path, "DROP VIEW IF EXISTS latencies", endless)
    assert read_all(path, must_exist=True) == ""
    with LatencyTable(path) as table:
        table.add(ROWS[:1])
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM latencies").fetchone()[0] == len(table_rows(path))
    db.close()


def table_rows(path: Path) -> list[Row]:
    with LatencyTable(path, must_exist=True) as table:
        return table.rows()


def test_a_damaged_row_of_an_old_table_is_named_and_nothing_changed(tmp_path: Path) -> None:
    damage = [("kernels", "{"), ("kernels", "7"), ("key", b"\xff")]
    for number, (column, value) in enumerate(damage):
        path = tmp_path / f"{number}.sqlite"
        write_old(path, 2, OLD)
        change(path, f"UPDATE measurements SET {column} = ? WHERE id = 3", values=(value,))
        before = path.read_bytes()
        assert "damaged" in check_refused(path, must_exist=False)
        check_refused(path)
        assert path.read_bytes() == before


@given(data=st.data())
@settings(max_examples=30)
def test_mutated_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("mutated") / "table.sqlite"
    with LatencyTable(path) as table:
        table.add(ROWS)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    for must_exist in (True, False):
        assert "\n" not in read_all(path, must_exist=must_exist)


@pytest.mark.parametrize(
    "wrong",
    [
        {"latency_us": math.inf},
        {"copies": -1},
        {"copies": 0},
        {"key": ""},
        {"repeat_dev": math.nan},
        {"spread": math.inf},
        {"calls_per_sample": 0},
        {"attempts": -2},
        {"rounds_us": ((1.0, math.nan),)},
        {"rounds_us": ((0.0,),)},
        {"sentinel_us": (math.nan,)},
        {"sentinel_us": (80.0, math.inf)},
        {"kernels": ("x",), "copies": 2},
        {"input_shape": (1, 0)},
    ],
)
def test_rows_that_no_measurement_gives_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TableError, match="a row of a latency table"):
        row(**wrong)


def test_text_that_is_no_text_is_one_line_and_loses_nothing(path: Path) -> None:
    with LatencyTable(path) as table:
        with pytest.raises(TableError, match="cannot be used"):
            table.add([row("linear(in_features=1, out_features=1)"), row("\ud800")])
        with pytest.raises(TableError, match="cannot be used"):
            table.add([row(attempts=2**64)])
        assert table.rows() == ROWS


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Root writes wherever it likes, so nobody reads instead."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_a_table_is_read_where_nothing_can_be_written(version: int) -> None:
    # Not in pytest's own folder, into which nobody else may look
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "table.sqlite"
        if version == 4:
            with LatencyTable(path) as table:
                table.add(OLD)
        else:
            write_old(path, version, OLD)
        assert read_all(path, must_exist=True) == ""  # what is imported on the way is, now
        path.chmod(0o444)
        folder.chmod(0o555)
        try:
            with as_somebody_else():
                assert not os.access(folder, os.W_OK, effective_ids=True)
                with LatencyTable(path, must_exist=True) as table:
                    assert table.rows() == OLD
            assert [p.name for p in folder.iterdir()] == ["table.sqlite"]
        finally:
            folder.chmod(0o755)


def test_readers_beside_a_writer_see_whole_batches_and_leave_no_files(tmp_path: Path) -> None:
    path = tmp_path / "table.sqlite"
    with LatencyTable(path) as writer:
        writer.add(ROWS[:2])
        with LatencyTable(path, must_exist=True) as reader:
            assert reader.rows() == ROWS[:2]
            writer.add(ROWS[2:])
            assert reader.rows() == ROWS
            with pytest.raises(TableError, match="readonly"):
                reader.add(ROWS[:1])
    assert [p.name for p in tmp_path.iterdir()] == ["table.sqlite"]
