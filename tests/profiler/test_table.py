"""The latency table: what goes in comes out; bad files are one clear line."""

from __future__ import annotations

import dataclasses
import itertools
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netadapt.profiler.columns import CONDITION_COLUMNS, EFFORT_COLUMNS
from netadapt.profiler.errors import MissingLatencyError, TableError
from netadapt.profiler.keys import network_key
from netadapt.profiler.provenance import PROVENANCE_COLUMNS
from netadapt.profiler.table import Effort, LatencyTable, Provenance, Row, Standing
from tests.killed import Child, Say
from tests.profiler.old_tables import former, write_old
from tests.provenance import MADE_UP, NOTHING_TOLD

PHONE = dataclasses.replace(
    MADE_UP.device,
    model="a model, with a comma",
    kind="adb",
    cores=4,
    runtime_version="1.4.1",
    runner_sha256="ab" * 32,
    performance="fixed-performance",
)
PROVENANCE = dataclasses.replace(MADE_UP, device=PHONE)
CONDITIONS = {field.name for field in dataclasses.fields(NOTHING_TOLD)}
OTHER_PHONE = dataclasses.replace(
    PROVENANCE, device=dataclasses.replace(PHONE, id="another serial of the same model")
)


def row(
    key: str = "linear(in_features=8, out_features=8)",
    latency_us: float = 10.0,
    provenance: Provenance = PROVENANCE,
    kernels: tuple[str, ...] | None = None,
    **changes: object,
) -> Row:
    values: dict[str, object] = {
        "copies": 1,
        "repeat_dev": 0.01,
        "spread": 0.02,
        "quality": "ok",
        "attempts": 2,
        "rounds_us": ((latency_us, latency_us * 1.1), (latency_us,)),
        "calls_per_sample": 3,
        "program_sha256": "cd" * 32,
        "effort": Effort(rounds=2, visit_ms=3.0, warmup_ms=5.0),
    }
    conditions = {
        "sentinel_us": (79.0, 80.0, 82.5),
        "freq_khz_before": 1_600_000,
        "temperature_c_after": 31.5,
        "load_avg_before": 0.1,
        "load_avg_after": 0.2,
    }
    conditions |= {name: changes.pop(name) for name in list(changes) if name in CONDITIONS}
    values |= changes
    return Row(
        key=key,
        latency_us=latency_us,
        kernels=kernels,
        conditions=dataclasses.replace(NOTHING_TOLD, **conditions),  # type: ignore[arg-type]
        provenance=provenance,
        **values,  # type: ignore[arg-type]
    )


ROWS = [
    row(),
    row("linear(in_features=8, out_features=16)", 0.1 + 0.2, sentinel_us=()),
    row(copies=3, quality="unstable", effort=None),
    row(
        network_key(("linear(in_features=8, out_features=8)", "x"), (1, 8)),
        99.0,
        kernels=("linear(in_features=8, out_features=8)", "x"),
        label="network a",
        input_shape=(1, 8),
    ),
    row(network_key((), (1, 3, 8, 8), "a program"), 98.0, kernels=(), label="unknown layers"),
    row(
        "linear(in_features=8, out_features=32)",
        quality="throttled",
        round_freqs_khz=(1_363_200, None, 1_401_600),
        limits_khz_before=(1_593_600, None),
        throttled=True,
        performance="fixed-performance",
        battery_pct=84,
        charging=True,
        screen_on=False,
        thermal_status=1,
    ),
    row(provenance=OTHER_PHONE, latency_us=20.0),
]


@pytest.fixture
def table(tmp_path: Path) -> LatencyTable:
    made = LatencyTable(tmp_path / "table.sqlite")
    made.add(ROWS)
    return made


def test_rows_come_back_as_they_were_written(table: LatencyTable) -> None:
    assert table.rows() == ROWS
    assert table.path is not None
    with LatencyTable(table.path, must_exist=True) as again:
        assert again.rows() == ROWS
        assert len(again) == len(ROWS)


def test_provenances_never_mix(table: LatencyTable) -> None:
    assert table.provenances() == [PROVENANCE, OTHER_PHONE]
    assert table.rows(OTHER_PHONE) == ROWS[-1:]
    assert table.keys(OTHER_PHONE) == {(ROWS[0].key, 1)}
    assert table.latency_us(ROWS[0].key, PROVENANCE) == 10.0
    assert table.latency_us(ROWS[0].key, OTHER_PHONE) == 20.0


def test_a_missing_latency_names_kernel_and_remedy(table: LatencyTable) -> None:
    with pytest.raises(MissingLatencyError, match=r"linear\(in_features=9.*profile it"):
        table.latency_us("linear(in_features=9, out_features=9)", PROVENANCE)


def test_measuring_again_replaces(table: LatencyTable) -> None:
    table.add([row(latency_us=11.0)])
    assert len(table) == len(ROWS)
    assert table.latency_us(ROWS[0].key, PROVENANCE) == 11.0


def test_frames_and_files_carry_everything(table: LatencyTable, tmp_path: Path) -> None:
    frame = table.to_frame()
    assert list(frame["type"]) == ["linear"] * 3 + ["network"] * 2 + ["linear"] * 2
    assert LatencyTable.from_frame(frame).rows() == ROWS
    table.export(tmp_path / "out" / "table.parquet")
    table.export(tmp_path / "out" / "table.csv")
    for read in (
        pd.read_parquet(tmp_path / "out" / "table.parquet"),
        pd.read_csv(tmp_path / "out" / "table.csv"),
    ):
        assert LatencyTable.from_frame(read).rows() == ROWS
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["table.csv", "table.parquet"]


@given(st.floats(1e-3, 1e6), st.floats(-0.5, 0.5), st.text(max_size=20))
def test_any_value_survives_the_frame(latency_us: float, repeat_dev: float, model: str) -> None:
    # A table stores text as UTF-8, which has no lone surrogates; hypothesis's text() has none.
    odd = row(
        latency_us=latency_us,
        repeat_dev=repeat_dev,
        provenance=dataclasses.replace(PROVENANCE, device=dataclasses.replace(PHONE, model=model)),
    )
    table = LatencyTable()
    table.add([odd])
    assert LatencyTable.from_frame(table.to_frame()).rows() == table.rows() == [odd]


def test_an_unknown_ending_writes_nothing(table: LatencyTable, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"\.csv or \.parquet"):
        table.export(tmp_path / "table.xlsx")
    assert not (tmp_path / "table.xlsx").exists()


def test_frames_of_something_else_are_refused(table: LatencyTable) -> None:
    with pytest.raises(TableError, match="latency_us"):
        LatencyTable.from_frame(table.to_frame().drop(columns="latency_us"))
    broken = table.to_frame()
    broken["measured_at"] = None
    with pytest.raises(TableError, match="measured_at is empty"):
        LatencyTable.from_frame(broken)


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"x" * 4096]
)
def test_corrupt_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.sqlite"
    path.write_bytes(content)
    with pytest.raises(TableError) as caught:
        LatencyTable(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content, "a file that is not ours stays as it is"


def test_pages_lost_from_a_table_are_noticed(table: LatencyTable) -> None:
    assert table.path is not None
    table.add([row(f"linear(in_features={i}, out_features=1)") for i in range(1, 300)])
    table.close()
    data = bytearray(table.path.read_bytes())
    data[4096:-4096] = b"\xff" * (len(data) - 8192)
    table.path.write_bytes(data)
    with pytest.raises(TableError), LatencyTable(table.path) as damaged:
        damaged.rows()


def test_a_damaged_row_is_named(table: LatencyTable) -> None:
    assert table.path is not None
    db = sqlite3.connect(table.path)
    db.execute("UPDATE samples SET rounds_us = x'00' WHERE measurement_id = 3")
    db.commit()
    db.close()
    with pytest.raises(TableError, match="damaged"):
        table.rows()


def test_other_databases_and_newer_formats_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE t (x)")
    with pytest.raises(TableError, match="no latency table"):
        LatencyTable(foreign)
    newer = tmp_path / "newer.sqlite"
    LatencyTable(newer).close()
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(TableError, match="has 99"):
        LatencyTable(newer)


def old_row(*values: Any, **changes: Any) -> Row:
    """One figure of the sentinel was kept."""
    return former(row(*values, **{"sentinel_us": (80.0,), **changes}))


OLD_KERNELS = ("linear(in_features=8, out_features=4)", "linear(in_features=4, out_features=2)")
OLD = [
    old_row(),
    old_row("linear(in_features=1, out_features=1)", 3.5, sentinel_us=(), copies=3),
    old_row(
        network_key(OLD_KERNELS, (1, 8)), kernels=OLD_KERNELS, label="arch", input_shape=(1, 8)
    ),
    old_row(
        network_key(OLD_KERNELS, (1, 8), "trained found"),
        kernels=OLD_KERNELS,
        label="trained found",
        input_shape=(1, 8),
        latency_us=11.0,
    ),
    old_row(network_key(("new(x=1)",), None), kernels=("new(x=1)",), label="of a newer version"),
    old_row(network_key((), None, "cd" * 32), kernels=(), label="unknown layers"),
    old_row(provenance=OTHER_PHONE, latency_us=20.0),
]
OF_A_PHONE = old_row(
    "linear(in_features=2, out_features=2)",
    round_freqs_khz=(1_363_200,),
    performance="fixed-performance",
    battery_pct=84,
    charging=True,
    screen_on=False,
    thermal_status=1,
)


OLD_3 = [former(one) for one in ROWS]


@pytest.mark.parametrize(
    ("version", "rows"), [(1, OLD), (2, [*OLD, OF_A_PHONE]), (3, [*OLD, OF_A_PHONE]), (3, OLD_3)]
)
def test_old_tables_are_brought_up_to_date(tmp_path: Path, version: int, rows: list[Row]) -> None:
    path = tmp_path / "old.sqlite"
    write_old(path, version, rows)
    before = path.read_bytes()
    for _ in range(2):
        with LatencyTable(path, must_exist=True) as table:
            assert table.rows() == rows
    assert path.read_bytes() == before, "a reader leaves it as it is"
    for _ in range(2):
        with LatencyTable(path) as table:
            assert table.rows() == rows
    with LatencyTable(path) as table:
        new = row("linear(in_features=3, out_features=2)", battery_pct=50)
        table.add([new])
        assert table.rows() == [*rows, new]
    assert [p.name for p in tmp_path.iterdir()] == ["old.sqlite"]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_provenances_that_only_their_fingerprint_told_apart_stay_apart(
    tmp_path: Path, version: int
) -> None:
    """Of old formats: the clock was kept in another way, or nobody knows what differed."""
    device = dataclasses.replace(PHONE, performance="governor=performance freq=1190400kHz")
    governed = old_row(
        provenance=dataclasses.replace(PROVENANCE, device=device),
        performance="governor=performance freq=1190400kHz",
    )
    strange = old_row(provenance=dataclasses.replace(PROVENANCE, threads=2))
    path = tmp_path / "old.sqlite"
    write_old(path, version, [OLD[0], governed, strange], {strange.provenance: "beef"})
    with LatencyTable(path) as table:
        first, second, third = table.provenances()
        assert first == OLD[0].provenance
        assert len(table) == 3
        if version > 1:  # which did not say how the clock was kept
            assert second == governed.provenance
        assert third.device.cores == 0
        assert "beef" in third.device.performance
        assert len({str(p) for p in (first, second, third)}) == 3


def test_a_new_field_of_a_device_leaves_old_rows_where_they_are(table: LatencyTable) -> None:
    assert table.path is not None
    with sqlite3.connect(table.path) as db:  # as a version without the field would have written
        db.execute("UPDATE provenance SET device = json_remove(device, '$.machine')")
    db.close()
    table.add([row("linear(in_features=9, out_features=9)")])
    assert table.provenances() == [PROVENANCE, OTHER_PHONE]


def test_frames_of_old_tables_are_read(table: LatencyTable) -> None:
    frame = table.to_frame()
    later = ["label", "input_shape", "throttled", "limits_khz_before", "limits_khz_after"]
    later += ["sentinel_rounds_us", "round_freqs_khz", "run_cpus", "run_threads"]
    rows = LatencyTable.from_frame(frame.drop(columns=later)).rows()
    assert [r.sentinel_us for r in rows] == [r.sentinel_us for r in ROWS]
    assert [r.freq_khz_lowest for r in rows] == [r.freq_khz_lowest for r in ROWS]
    later += ["performance", "battery_pct", "charging", "screen_on", "thermal_status"]
    rows = LatencyTable.from_frame(frame.drop(columns=[*later, "freq_khz_lowest"])).rows()
    assert [r.conditions.battery_pct for r in rows] == [None] * len(ROWS)
    assert [r.conditions.cpus for r in rows] == [(0,)] * len(ROWS)
    later += ["cores", "device_performance", "machine", "recipe", "lowering"]
    later += ["rounds", "visit_ms", "warmup_ms"]
    rows = LatencyTable.from_frame(frame.drop(columns=later)).rows()
    assert [r.provenance for r in rows] == [former(r).provenance for r in ROWS]
    assert [r.effort for r in rows] == [None] * len(ROWS)


def test_columns_are_read_without_decoding_samples(table: LatencyTable) -> None:
    expected_keys = {(r.key, r.copies) for r in table.rows(PROVENANCE)}
    sentinels = [r.sentinel_us for r in table.rows(PROVENANCE) if r.sentinel_us is not None]
    assert table.path is not None
    with sqlite3.connect(table.path) as db:
        db.execute("UPDATE samples SET rounds_us = x'00'")
    db.close()
    assert table.keys(PROVENANCE) == expected_keys
    assert table.sentinels_us(PROVENANCE) == sentinels
    assert table.latency_us(ROWS[3].key, PROVENANCE) == 99.0
    assert [r.latency_us for r in table.rows(samples=False)] == [r.latency_us for r in ROWS]


def test_reading_what_is_not_there_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="netadapt profile"):
        LatencyTable(tmp_path / "none.sqlite", must_exist=True)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_loses_nothing(table: LatencyTable) -> None:
    pages = table._db.execute("PRAGMA page_count").fetchone()[0]
    table._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(TableError, match="full"):
        table.add([row(f"linear(in_features={i}, out_features=1)") for i in range(1, 300)])
    assert table.rows() == ROWS


def test_latencies_are_positive() -> None:
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(TableError, match="above 0"):
            row(latency_us=wrong)


def write_batches(say: Say, path: Path) -> None:
    """Seven rows at a time, for ever."""
    table = LatencyTable(path)
    for batch in itertools.count():
        table.add([row(f"b{batch} k{i}", 1.0 + i) for i in range(7)])
        say(batch)


def test_a_killed_writer_leaves_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "table.sqlite"
    for wait_s in (0.02, 0.11, 0.23):
        before = len(LatencyTable(path)) if path.exists() else 0
        child = Child(write_batches, path)
        child.told()
        time.sleep(wait_s)
        told = child.kill()
        rows = LatencyTable(path).rows()
        assert len(rows) % 7 == 0, "a batch is there whole or not at all"
        assert len(rows) >= max(before, 7 * (len(told) + 1)), "what was committed is there"
        assert len({r.key for r in rows}) == len(rows)


def test_the_view_shows_every_kernels_fields_and_conditions(table: LatencyTable) -> None:
    assert table.path is not None
    table.add([row("depthwise_conv(channels=8, kernel_size=3, activation=relu)", battery_pct=70)])
    table.add([row("odd(threads=3, key=9)")])
    with sqlite3.connect(table.path) as db:
        db.row_factory = sqlite3.Row
        records = db.execute("SELECT * FROM latencies ORDER BY measurement_id").fetchall()
        wide = db.execute("SELECT key FROM latencies WHERE out_features > 16").fetchall()
        counts = db.execute("SELECT recipe, count(*) FROM latencies GROUP BY recipe").fetchall()
    db.close()
    rows = table.rows()
    assert [record["key"] for record in records] == [r.key for r in rows]
    assert [record["latency_us"] for record in records] == [r.latency_us for r in rows]
    assert [record["battery_pct"] for record in records] == [r.conditions.battery_pct for r in rows]
    assert [record["device_id"] for record in records] == [r.provenance.device.id for r in rows]
    efforts = [r.effort.rounds if r.effort else None for r in rows]
    assert [record["rounds"] for record in records] == efforts
    assert [record["key"] for record in wide] == [ROWS[5].key]
    assert [tuple(record) for record in counts] == [("made_up-fp32-1", len(rows))]
    depthwise, odd = records[-2:]
    assert (depthwise["channels"], depthwise["activation"], depthwise["in_features"]) == (
        8, "relu", None,
    )  # fmt: skip
    assert (odd["kernel_threads"], odd["kernel_key"], odd["threads"]) == (3, 9, 1)
    frame = table.to_frame().iloc[-1]
    assert (frame["kernel_threads"], frame["kernel_key"], frame["threads"]) == (3, 9, 1)


def test_the_view_of_another_version_is_made_again_with_the_fields_it_had(
    table: LatencyTable,
) -> None:
    assert table.path is not None
    with sqlite3.connect(table.path) as db:
        (text,) = db.execute("SELECT sql FROM sqlite_master WHERE type = 'view'").fetchone()
        db.execute("DROP VIEW latencies")
        db.execute(text.replace("m.quality,", ""))
    db.close()
    with LatencyTable(table.path) as again:
        again.add([row("pooling(channels=8)")])
    with sqlite3.connect(table.path) as db:
        line = db.execute("SELECT quality, in_features, channels FROM latencies").fetchone()
    db.close()
    assert line == ("ok", 8, None)


HASTY, CAREFUL = Effort(2, 1.0, 0.0), Effort(12, 3.0, 5.0)


def test_efforts_are_ordered_by_rounds_then_time_then_warm_up() -> None:
    assert HASTY < Effort(2, 1.0, 5.0) < Effort(2, 3.0, 0.0) < CAREFUL
    for wrong in ((0, 1.0, 1.0), (1, -1.0, 0.0), (1, 1.0, float("inf")), (1, float("nan"), 0.0)):
        with pytest.raises(TableError, match="an effort"):
            Effort(*wrong)


def test_what_is_settled_and_what_is_better() -> None:
    ok = Standing("ok", 0.01, CAREFUL)
    assert ok.settles(HASTY)
    assert ok.settles(CAREFUL)
    assert not ok.settles(Effort(24, 3.0, 5.0))
    assert not Standing("unstable", 0.01, CAREFUL).settles(HASTY)
    assert not Standing("ok", 0.01, None).settles(HASTY)
    worse_first = [
        Standing("throttled", 0.0, CAREFUL),
        Standing("drifted", 0.0, CAREFUL),
        Standing("unstable", -0.3, None),
        Standing("unstable", 0.5, CAREFUL),
        Standing("unstable", -0.1, CAREFUL),
        Standing("ok", 0.01, None),
        Standing("ok", 0.03, HASTY),
        ok,
    ]
    for i, worse in enumerate(worse_first):
        assert not worse.beats(worse)
        for better in worse_first[i + 1 :]:
            assert better.beats(worse)
            assert not worse.beats(better)


def test_settled_rows_are_those_that_are_believed_and_careful_enough() -> None:
    table = LatencyTable()
    rows = [
        row("a(x=1)", effort=CAREFUL),
        row("a(x=2)", effort=HASTY),
        row("a(x=3)", effort=None),
        row("a(x=4)", effort=CAREFUL, quality="drifted"),
        row("a(x=1)", effort=HASTY, provenance=OTHER_PHONE),
    ]
    table.add(rows)
    assert set(table.settled(PROVENANCE, CAREFUL)) == {("a(x=1)", 1)}
    assert set(table.settled(PROVENANCE, HASTY)) == {("a(x=1)", 1), ("a(x=2)", 1)}
    assert table.settled(OTHER_PHONE, CAREFUL) == set()
    assert table.standings(PROVENANCE) == {(r.key, r.copies): r.standing for r in rows[:4]}


def test_steady_rows_beside_a_slow_sentinel_are_flagged() -> None:
    table = LatencyTable()
    table.add(
        [
            row("a(x=1)", sentinel_us=(80.0,)),
            row("a(x=2)", sentinel_us=(88.0,)),
            row("a(x=3)", sentinel_us=(88.0,), quality="throttled"),
            row("a(x=4)", sentinel_us=()),
            row("a(x=1)", sentinel_us=(88.0,), provenance=OTHER_PHONE),
        ]
    )
    assert table.flag_drifted(PROVENANCE, 84.8) == 1
    assert [r.quality for r in table.rows()] == ["ok", "drifted", "throttled", "ok", "ok"]
    assert table.flag_drifted(PROVENANCE, 84.8) == 0
    assert table.flag_drifted(dataclasses.replace(PROVENANCE, threads=7), 1.0) == 0


def test_no_two_records_have_a_column_of_one_name() -> None:
    """A field that is added to one of them must not hide another's."""
    of_rows = [field.name for field in dataclasses.fields(Row)]
    columns = [*of_rows, *CONDITION_COLUMNS, *EFFORT_COLUMNS, *PROVENANCE_COLUMNS]
    assert len(set(columns)) == len(columns)


def test_a_device_of_no_kind_is_refused() -> None:
    toy = dataclasses.replace(PHONE, kind="toy")  # type: ignore[arg-type]
    with pytest.raises(TableError, match=r"got 'toy' .* one of your own is a plug-in"):
        dataclasses.replace(PROVENANCE, device=toy)


PAGE = (Path(__file__).parents[2] / "docs" / "table.md").read_text()


def test_the_page_names_every_column(table: LatencyTable) -> None:
    columns = [
        record["name"]
        for name in ("measurements", "samples", "provenance")
        for record in table._db.execute(f"PRAGMA table_info({name})")
    ]
    columns += [*PROVENANCE_COLUMNS, "run_cpus", "run_threads", "sentinel_rounds_us", "measured_at"]
    derived = {"precision", "device_id", "device_kind", "device_performance"}
    for name in set(columns) - derived:
        assert f"`{name}`" in PAGE, name
    for name in CONDITIONS:
        assert f"`{name.replace('_after', '_before')}`" in PAGE, name


def test_the_pages_queries_can_be_asked(table: LatencyTable) -> None:
    queries = re.findall(r'"(SELECT .*?)"', PAGE, re.DOTALL)
    assert len(queries) >= 2
    assert table.path is not None
    table.add([row("depthwise_conv(channels=8, kernel_size=7, stride=1, height=5, width=5)")])
    with sqlite3.connect(table.path) as db:
        answers = [db.execute(query).fetchall() for query in queries]
    db.close()
    assert len(answers[0]) == 1
