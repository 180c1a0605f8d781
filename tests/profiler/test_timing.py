"""The quality gate on scripted devices: what agrees is taken, what does not is run again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from netadapt.android_runner.device import (
    DeviceInfo,
    Failure,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
)
from netadapt.profiler.timing import Gate, Timing, judge, time_programs
from tests.provenance import NOTHING_TOLD

CONDITIONS = dataclasses.replace(NOTHING_TOLD, sentinel_us=(80.0, 80.0))
SPEC = RunSpec(rounds=6)


class ScriptedDevice:
    """Gives each program the latencies written down for it, one a run; None is a failure."""

    def __init__(
        self, script: dict[str, list[float | None]], sentinel_us: list[float] | None = None
    ) -> None:
        self.script = script
        self.sentinel_us = sentinel_us or []
        self.runs: list[list[str]] = []
        self.seeds: list[int] = []

    def info(self) -> DeviceInfo:
        raise NotImplementedError

    def cpus(self, spec: RunSpec) -> tuple[int, ...]:
        return (0,)

    def run(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> Iterator[Measurement | Failure]:
        self.runs.append([p.name for p in programs])
        self.seeds.append(spec.seed)
        sentinel = self.sentinel_us[len(self.runs) - 1] if self.sentinel_us else 80.0
        for program in programs:
            latency = self.script[program.name].pop(0)
            if latency is None:
                yield Failure(program.name, "crash", "scripted")
                continue
            yield Measurement(
                program=program.name,
                program_sha256=program.sha256,
                rounds_us=((latency,),) * spec.rounds,
                calls_per_sample=1,
                conditions=dataclasses.replace(CONDITIONS, sentinel_us=(sentinel,) * spec.rounds),
            )


def time_all(
    device: ScriptedDevice, gate: Gate | None = None, course_us: float | None = None
) -> dict[str, Timing | Failure]:
    programs = [Program(name, name.encode()) for name in device.script]
    answers = time_programs(device, programs, SPEC, gate or Gate(), sentinel_course_us=course_us)
    return {answer.program: answer for answer in answers}


def runs_of(device: ScriptedDevice) -> list[Measurement]:
    """All that it has to say of its first program, run by run."""
    (name, latencies), *_ = device.script.items()
    runs = [
        answer for _ in range(len(latencies)) for answer in device.run([Program(name, b"a")], SPEC)
    ]
    return [run for run in runs if isinstance(run, Measurement)]


def test_agreeing_runs_are_pooled() -> None:
    device = ScriptedDevice({"a": [10.0, 10.2]})
    timing = time_all(device)["a"]
    assert isinstance(timing, Timing)
    assert timing.quality == "ok"
    assert timing.attempts == 2
    assert timing.repeat_dev == pytest.approx(0.02)
    assert timing.latency_us == 10.0, "the lower quartile of the rounds"
    assert timing.pooled.rounds_us == ((10.0,),) * 3 + ((10.2,),) * 3
    assert len(set(device.seeds)) == 2, "the second run has another order"


def test_only_what_disagrees_runs_again_and_the_odd_run_is_not_averaged_in() -> None:
    device = ScriptedDevice({"steady": [10.0, 10.0], "odd": [20.0, 10.0, 10.1]})
    answers = time_all(device)
    assert device.runs == [["steady", "odd"], ["steady", "odd"], ["odd"]]
    odd = answers["odd"]
    assert isinstance(odd, Timing)
    assert (odd.quality, odd.attempts) == ("ok", 3)
    assert set(odd.pooled.rounds_us) == {(10.0,), (10.1,)}


def test_a_sentinel_that_is_no_number_is_off_its_course() -> None:
    for wrong in (math.nan, math.inf):
        device = ScriptedDevice({"a": [10.0] * 4}, sentinel_us=[wrong] * 4)
        timing = time_all(device, course_us=80.0)["a"]
        assert isinstance(timing, Timing)
        assert timing.quality == "drifted"


def test_pooled_conditions_begin_with_the_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    device = ScriptedDevice({"a": [10.0, 10.0]})
    answers = device.run

    def run(*arguments: Any) -> Iterator[Measurement | Failure]:
        for answer in answers(*arguments):
            assert isinstance(answer, Measurement)
            limits = {"limits_khz_before": (len(device.runs),), "limits_khz_after": (9,)}
            conditions = dataclasses.replace(answer.conditions, **limits)
            yield dataclasses.replace(answer, conditions=conditions)

    monkeypatch.setattr(device, "run", run)
    timing = time_all(device)["a"]
    assert isinstance(timing, Timing)
    assert timing.pooled.conditions.limits_khz_before == (1,)


def test_what_never_agrees_is_flagged() -> None:
    device = ScriptedDevice({"a": [10.0, 20.0, 40.0, 80.0]})
    timing = time_all(device)["a"]
    assert isinstance(timing, Timing)
    assert (timing.quality, timing.attempts) == ("unstable", 4)


def test_two_slow_runs_that_agree_do_not_outvote_a_fast_one() -> None:
    device = ScriptedDevice({"a": [10.0, 13.0, 13.1, 10.1]})
    timing = time_all(device)["a"]
    assert isinstance(timing, Timing)
    assert (timing.quality, timing.latency_us, timing.attempts) == ("ok", 10.0, 4)

    never_again = ScriptedDevice({"a": [10.0, 13.0, 13.0, 13.2]})
    timing = time_all(never_again)["a"]
    assert isinstance(timing, Timing)
    assert (timing.quality, timing.latency_us) == ("unstable", 13.0)


def test_a_fast_run_beside_a_sentinel_off_its_course_speaks_against_nobody() -> None:
    device = ScriptedDevice({"a": [10.0, 13.0, 13.1]}, sentinel_us=[60.0, 80.0, 80.0])
    timing = judge(runs_of(device), Gate(), course_us=80.0)
    assert (timing.quality, timing.latency_us) == ("ok", 13.0)


def test_a_run_with_the_sentinel_off_course_is_not_believed() -> None:
    throttled = ScriptedDevice({"a": [15.0, 15.0, 10.0, 10.0]}, [120.0, 120.0, 80.0, 80.0])
    timing = time_all(throttled, course_us=80.0)["a"]
    assert isinstance(timing, Timing)
    assert (timing.quality, timing.latency_us, timing.attempts) == ("ok", 10.0, 4)

    beside_a_neighbour = ScriptedDevice({"a": [13.0, 13.1, 10.0, 10.0]}, [87.0, 87.0, 80.0, 80.0])
    timing = time_all(beside_a_neighbour)["a"]
    assert isinstance(timing, Timing)
    assert (timing.quality, timing.latency_us) == ("ok", 13.0), "nothing tells it yet"
    timing = time_all(
        ScriptedDevice({"a": [13.0, 13.1, 10.0, 10.0]}, [87.0, 87.0, 80.0, 80.0]), course_us=80.0
    )["a"]
    assert isinstance(timing, Timing)
    assert (timing.quality, timing.latency_us) == ("ok", 10.0)

    for_good = ScriptedDevice({"a": [15.0] * 4}, [120.0] * 4)
    timing = time_all(for_good, course_us=80.0)["a"]
    assert isinstance(timing, Timing)
    assert timing.quality == "drifted"


def test_a_throttled_run_counts_only_where_there_is_no_other() -> None:
    class Throttling(ScriptedDevice):
        def __init__(self, latencies_us: list[float | None], throttled: list[bool]) -> None:
            super().__init__({"a": latencies_us})
            self.throttled = throttled

        def run(
            self,
            programs: Sequence[Program],
            spec: RunSpec,
            on_progress: Callable[[RunProgress], None] | None = None,
        ) -> Iterator[Measurement | Failure]:
            throttled = self.throttled[len(self.runs)]
            for answer in super().run(programs, spec, on_progress):
                assert isinstance(answer, Measurement)
                conditions = dataclasses.replace(answer.conditions, throttled=throttled)
                yield dataclasses.replace(answer, conditions=conditions)

    passing = Throttling([15.0, 15.0, 10.0, 10.1], [True, True, False, False])
    timing = time_all(passing)["a"]
    assert isinstance(timing, Timing)
    assert (timing.quality, timing.latency_us, timing.attempts) == ("ok", 10.0, 4)

    for_good = Throttling([15.0] * 4, [True, False, True, True])
    timing = time_all(for_good)["a"]
    assert isinstance(timing, Timing)
    assert (timing.quality, timing.attempts) == ("throttled", 4)
    assert timing.pooled.conditions.throttled


def test_a_failing_program_is_answered_once_and_others_go_on() -> None:
    device = ScriptedDevice({"bad": [None], "good": [5.0, 5.0], "later": [5.0, None]})
    answers = time_all(device)
    assert isinstance(answers["bad"], Failure)
    assert isinstance(answers["later"], Failure)
    assert isinstance(answers["good"], Timing)
    assert device.runs == [["bad", "good", "later"], ["good", "later"]]


def test_a_gate_that_cannot_judge_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 attempts"):
        Gate(max_attempts=1)


def test_a_disturbed_first_run_does_not_judge_the_others() -> None:
    device = ScriptedDevice({"a": [13.0, 10.0, 10.1]}, sentinel_us=[100.0, 80.0, 80.5])
    timing = time_all(device)["a"]
    assert isinstance(timing, Timing)
    assert (timing.quality, timing.attempts) == ("ok", 3)
    assert timing.latency_us == pytest.approx(10.0, rel=0.02)
