"""The check of a runner finds one that computes other values, and passes this machine's."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from netadapt.android_runner import (
    Device,
    DeviceError,
    DeviceInfo,
    Failure,
    HostDevice,
    Measurement,
    OutputTensor,
    Program,
    RunProgress,
    RunSpec,
)
from netadapt.android_runner.building.elf import this_machine
from netadapt.android_runner.runner.check import TOLERANCE, check_runner, device_of, known_program
from netadapt.android_runner.runner.program_format import read_format
from tests.android_runner import known_program as recipe


class Altered:
    """This machine, with an answer changed on its way."""

    def __init__(
        self, host: HostDevice, alter: Callable[[Measurement], Measurement | Failure]
    ) -> None:
        self._host = host
        self._alter = alter

    def info(self) -> DeviceInfo:
        return self._host.info()

    def cpus(self, spec: RunSpec) -> tuple[int, ...]:
        return self._host.cpus(spec)

    def run(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> Iterator[Measurement | Failure]:
        for answer in self._host.run(programs, spec, on_progress):
            assert isinstance(answer, Measurement)
            yield self._alter(answer)


def _shifted(by: float) -> Callable[[Measurement], Measurement]:
    """The last value of the last output changed by this share."""

    def alter(measurement: Measurement) -> Measurement:
        assert measurement.outputs is not None
        *others, last = measurement.outputs
        value = last.values[-1]
        value += by * (1 + abs(value))
        changed = dataclasses.replace(last, values=(*last.values[:-1], value))
        return dataclasses.replace(measurement, outputs=(*others, changed))

    return alter


def test_this_machine_passes(host: HostDevice) -> None:
    report = check_runner(host)
    assert report.values == 5 + 8 * 6 * 6
    assert report.max_deviation == 0
    assert report.latency_us > 0
    assert report.device == host.info()


def test_rounding_passes_and_other_values_do_not(host: HostDevice) -> None:
    device: Device = Altered(host, _shifted(TOLERANCE / 10))
    assert 0 < check_runner(device, host).max_deviation < TOLERANCE
    for by in (10 * TOLERANCE, -1.0, float("nan"), float("inf")):
        with pytest.raises(DeviceError, match="deviate by up to") as error:
            check_runner(Altered(host, _shifted(by)), host)
        assert "\n" not in str(error.value)


def test_other_outputs_do_not_pass(host: HostDevice) -> None:
    def fewer(measurement: Measurement) -> Measurement:
        assert measurement.outputs is not None
        return dataclasses.replace(measurement, outputs=measurement.outputs[:1])

    def none(measurement: Measurement) -> Measurement:
        return dataclasses.replace(measurement, outputs=None)

    for alter in (fewer, none):
        with pytest.raises(DeviceError, match="same outputs"):
            check_runner(Altered(host, alter), host)


def test_a_program_that_fails_is_said(host: HostDevice) -> None:
    def fail(measurement: Measurement) -> Failure:
        return Failure(measurement.program, "load", "no such operator")

    with pytest.raises(DeviceError, match=r"did not \(load: no such operator\)"):
        check_runner(Altered(host, fail), host)


def test_a_runner_for_another_processor_needs_its_emulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "aarch64" if this_machine() != "aarch64" else "x86_64"
    number = {"aarch64": 183, "x86_64": 62}[other]
    file = tmp_path / "runner"
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, number) + bytes(44)
    file.write_bytes(header)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match=f"qemu-{other} is not there"):
        device_of(file)
    # It is started by the emulator, whatever that makes of it: here nothing.
    emulator = tmp_path / f"qemu-{other}"
    emulator.write_text('#!/bin/sh\necho "emulating $1" >&2\n')
    emulator.chmod(0o755)
    with pytest.raises(DeviceError, match=f"emulating {file}"):
        check_runner(device_of(file))


def test_the_known_program_is_what_its_recipe_makes(host: HostDevice) -> None:
    kept = known_program()
    found = read_format(kept.data)
    assert found is not None
    assert found.backends == {"XnnpackBackend"}
    assert b"_to_dim_order_copy" in kept.data, "it must use an operator beside XNNPACK"
    spec = RunSpec(rounds=1, visit_ms=0, warmup_ms=0, seed=3, outputs=True)
    answers = {a.program: a for a in host.run([kept, Program("new", recipe.lower())], spec)}
    outputs: list[tuple[OutputTensor, ...] | None] = []
    for answer in answers.values():
        assert isinstance(answer, Measurement)
        outputs.append(answer.outputs)
    assert outputs[0]
    assert outputs[0] == outputs[1]
    assert len(set(outputs[0][0].values)) == 5, "values that are all the same tell nothing"
