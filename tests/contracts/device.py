"""What every device must do, for those of this project and for anybody's own.

    class TestMyDevice(DeviceContract):
        @pytest.fixture
        def device(self) -> Device:
            return MyDevice()

The programs are copies of one that comes with the package; a device that knows only some programs
(a recording) overrides the fixture `programs` as well.
"""

from __future__ import annotations

import dataclasses

import pytest

from netadapt.android_runner import (
    Device,
    Failure,
    InvalidRunError,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
)
from netadapt.android_runner.runner.check import known_program

QUICK = RunSpec(rounds=3, warmup_ms=0.2, visit_ms=0.2, timeout_s=60.0)

UGLY_NAMES = ("$(reboot) `x` ; 'a\" \\", "line\nbreak\r\t\0", "größe/../层 %s")
"""Names that no shell, path or line should ever see."""


def answers_of(
    device: Device, programs: list[Program], spec: RunSpec = QUICK
) -> dict[str, Measurement | Failure]:
    """Time programs; the answer to each by its name, and only one."""
    answers = list(device.run(programs, spec))
    by_name = {answer.program: answer for answer in answers}
    assert len(by_name) == len(answers), "one answer for each program"
    return by_name


class DeviceContract:
    """Subclass with a fixture ``device`` that can time the fixture ``programs``."""

    @pytest.fixture
    def device(self) -> Device:
        raise NotImplementedError("a contract's subclass has a fixture `device`")

    @pytest.fixture
    def programs(self) -> list[Program]:
        """Good programs, at least two, under different names."""
        data = known_program().data
        return [Program(name, data) for name in UGLY_NAMES]

    def test_it_is_a_device(self, device: Device) -> None:
        assert isinstance(device, Device)

    def test_info_is_stable_and_complete(self, device: Device) -> None:
        info = device.info()
        assert info == device.info()
        assert info.fingerprint == device.info().fingerprint
        assert info.cores >= 1
        assert all((info.id, info.model, info.os, info.abi, info.runtime_version))
        assert len(info.runner_sha256) == 64

    def test_cores_are_chosen_once_and_those_named_are_taken(
        self, device: Device, programs: list[Program]
    ) -> None:
        chosen = device.cpus(QUICK)
        assert chosen
        assert chosen == device.cpus(QUICK)
        named = dataclasses.replace(QUICK, cpus=chosen)
        assert device.cpus(named) == chosen
        for answer in answers_of(device, programs, named).values():
            assert isinstance(answer, Measurement)
            assert answer.conditions.cpus == chosen

    def test_every_program_is_answered_once(self, device: Device, programs: list[Program]) -> None:
        answers = answers_of(device, programs)
        assert set(answers) == {program.name for program in programs}
        for program in programs:
            answer = answers[program.name]
            assert isinstance(answer, Measurement)
            assert answer.program_sha256 == program.sha256
            assert answer.latency_us > 0
            assert answer.conditions.cpus
            assert answer.conditions.threads == 1

    def test_a_bad_program_fails_by_name_and_the_rest_go_on(
        self, device: Device, programs: list[Program]
    ) -> None:
        good = programs[0].data
        bad = [
            Program("noise", b"\xa5" * 4096),
            Program("short", b"x"),
            Program("cut", good[:700]),
            Program("no such method", good, method="backward"),
        ]
        answers = answers_of(device, [bad[0], *programs, *bad[1:]])
        for program in bad:
            answer = answers[program.name]
            assert isinstance(answer, Failure)
            assert answer.kind == "load"
            assert answer.message
            assert "\n" not in answer.message
        assert all(isinstance(answers[program.name], Measurement) for program in programs)

    def test_duplicate_names_are_refused_at_once(
        self, device: Device, programs: list[Program]
    ) -> None:
        with pytest.raises(InvalidRunError, match="unique"):
            device.run([programs[0], programs[0]], QUICK)

    def test_the_same_bytes_may_have_two_names(
        self, device: Device, programs: list[Program]
    ) -> None:
        again = Program("again", programs[0].data)
        answers = answers_of(device, [programs[0], again])
        assert set(answers) == {programs[0].name, "again"}

    def test_nothing_to_do(self, device: Device) -> None:
        assert list(device.run([], QUICK)) == []

    def test_progress_goes_forward(self, device: Device, programs: list[Program]) -> None:
        seen: list[RunProgress] = []
        list(device.run(programs, QUICK, seen.append))
        assert seen
        assert [p.done for p in seen] == sorted(p.done for p in seen)
        assert all(0 <= p.done <= p.total for p in seen)
        assert {p.program for p in seen} <= {program.name for program in programs}
