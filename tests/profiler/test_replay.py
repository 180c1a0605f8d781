"""A latency table as a device: every row comes back as it is, and what it lacks is a failure."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from netadapt.android_runner.device import Device, Failure, Measurement, Program, RunSpec
from netadapt.android_runner.errors import DeviceError, InvalidRunError
from netadapt.profiler.errors import TableError
from netadapt.profiler.lowering import ProgramCache
from netadapt.profiler.profile import Profiler
from netadapt.profiler.replay import TableReplay, is_table, open_replay, replay_device
from netadapt.profiler.row import Provenance
from netadapt.profiler.table import Effort, LatencyTable, Row
from netadapt.profiler.timing import Gate, Recording, Timing, time_programs
from tests.contracts.device import DeviceContract
from tests.profiler.test_table import PROVENANCE, row

PROGRAMS = [Program(f"a(x={i})", f"program {i}".encode() * 100) for i in range(4)]
ROWS = [
    row(
        program.name,
        latency_us=10.0,
        rounds_us=((10.0, 11.0), (10.0,), (12.0, 13.0)),
        spread=0.1,
        program_sha256=program.sha256,
        quality=quality,
        attempts=attempts,
        repeat_dev=-0.25,
        effort=effort,
        battery_pct=80,
        screen_on=False,
        thermal_status=2,
        performance="fixed-performance",
        limits_khz_before=(1_500_000, None),
    )
    for program, quality, attempts, effort in zip(
        PROGRAMS,
        ("ok", "unstable", "throttled", "ok"),
        (2, 4, 3, 2),
        (Effort(3, 1.0, 0.5), Effort(24, 3.0, 5.0), Effort(3, 1.0, 0.5), None),
        strict=True,
    )
]
FOUR_THREADS = dataclasses.replace(PROVENANCE, threads=4, cpus="0,1,2,3")


def made(*provenances: Provenance, path: Path | None = None) -> LatencyTable:
    table = LatencyTable(path)
    for provenance in provenances:
        table.add([dataclasses.replace(row, provenance=provenance) for row in ROWS])
    return table


def as_row(timing: Timing, like: Row) -> Row:
    """What the profiler makes of a timing; all of it that comes from the timing."""
    return dataclasses.replace(
        like,
        latency_us=timing.latency_us,
        spread=timing.pooled.spread,
        repeat_dev=timing.repeat_dev,
        quality=timing.quality,
        attempts=timing.attempts,
        effort=timing.effort,
        rounds_us=timing.pooled.rounds_us,
        calls_per_sample=timing.pooled.calls_per_sample,
        program_sha256=timing.pooled.program_sha256,
        conditions=timing.pooled.conditions,
    )


def test_every_row_comes_back_as_it_was_judged() -> None:
    device = replay_device(made(PROVENANCE))
    assert isinstance(device, Recording)
    assert device.info() == dataclasses.replace(PROVENANCE.device, kind="replay")
    found = []
    for timing, recorded in zip(
        time_programs(device, PROGRAMS, RunSpec(rounds=2), Gate()), ROWS, strict=True
    ):
        assert isinstance(timing, Timing)
        found.append(as_row(timing, recorded))
    assert found == ROWS


def test_a_run_gives_samples_and_conditions_as_recorded() -> None:
    device = replay_device(made(PROVENANCE))
    unheard = Program("unheard of", b"data")
    answers = {a.program: a for a in device.run([*PROGRAMS, unheard], RunSpec())}
    failure = answers.pop(unheard.name)
    assert isinstance(failure, Failure)
    assert "must have been recorded" in failure.message
    for program, recorded in zip(PROGRAMS, ROWS, strict=True):
        answer = answers[program.name]
        assert isinstance(answer, Measurement)
        assert answer.rounds_us == recorded.rounds_us
        assert answer.conditions == recorded.conditions
    with pytest.raises(InvalidRunError, match="unique"):
        device.run([unheard, unheard], RunSpec())


def test_threads_and_cores_choose_among_the_rows_of_one_device() -> None:
    device = replay_device(made(PROVENANCE, FOUR_THREADS))
    assert device.cpus(RunSpec()) == (0,)
    assert device.cpus(RunSpec(threads=4)) == (0, 1, 2, 3)
    assert device.cpus(RunSpec(cpus=(0,))) == (0,)
    for wrong in (RunSpec(threads=2), RunSpec(cpus=(7,))):
        with pytest.raises(DeviceError, match=r"1 on cpus 0; 4 on cpus 0,1,2,3"):
            device.cpus(wrong)
    four = replay_device(made(PROVENANCE, FOUR_THREADS), FOUR_THREADS)
    with pytest.raises(DeviceError):
        four.run(PROGRAMS, RunSpec())


def test_a_tables_path_is_a_device(tmp_path: Path) -> None:
    other = dataclasses.replace(PROVENANCE, lowering="another compiler")
    path = tmp_path / "a #1 table.sqlite"
    made(PROVENANCE, other, path=path).close()
    before = path.read_bytes()
    with pytest.raises(TableError, match=r"has rows of 2 \(1: .*; 2: .*another compiler.*#1"):
        open_replay(str(path))
    device = open_replay(f"{path}#2")
    assert isinstance(device, TableReplay)
    assert device.info().id == PROVENANCE.device.id
    for wrong in ("0", "3", "x", ""):
        with pytest.raises(TableError, match="of 2 in"):
            open_replay(f"{path}#{wrong}")
    assert path.read_bytes() == before
    with pytest.raises(TableError, match="found none at"):
        open_replay(str(tmp_path / "none.sqlite"))


@pytest.mark.parametrize(
    ("device", "meant"),
    [
        ("t.sqlite", True),
        ("/a/b c/t.sqlite#12", True),
        ("host", False),
        ("phone", False),
        ("FA6A10305512", False),
        ("host#1", False),
        ("192.168.1.5:5555", False),
    ],
)
def test_what_means_a_table(device: str, meant: bool) -> None:
    assert is_table(device) == meant


def test_a_table_is_not_filled_from_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    with made(PROVENANCE, path=path) as table, pytest.raises(TableError, match="from another one"):
        Profiler(open_replay(str(path)), table, ProgramCache(tmp_path / "programs"))


class TestTableReplay(DeviceContract):
    """Of rows that were measured on cores (0,)."""

    @pytest.fixture
    def programs(self) -> list[Program]:
        return PROGRAMS

    @pytest.fixture
    def device(self) -> Device:
        return replay_device(made(PROVENANCE))


def test_an_empty_table_is_no_device() -> None:
    with pytest.raises(TableError, match="no rows"):
        replay_device(LatencyTable())


def test_rows_without_samples_are_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = made(PROVENANCE)
    table.add([dataclasses.replace(ROWS[0], rounds_us=())])
    with caplog.at_level(logging.WARNING, logger="netadapt.profiler.replay"):
        device = replay_device(table)
    assert "1 row(s) of None have no samples" in caplog.text
    assert isinstance(device.timing(PROGRAMS[0], RunSpec()), Failure)
    assert isinstance(device.timing(PROGRAMS[1], RunSpec()), Timing)
